"""Who wants to be told of what, and where."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from users.models import User


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """A user as somebody to write to.

    Args:
        event_types: the types of events of which the user wants an e-mail; empty for none.
    """

    id: UUID
    email: str
    name: str
    event_types: frozenset[str]


def recipients(user_ids: Iterable[UUID]) -> dict[UUID, Recipient]:
    """Return the active users among `user_ids`, with what they want to be told, by id."""
    users = User.objects.filter(pk__in=set(user_ids), is_active=True)
    return {user.pk: _recipient(user) for user in users}


def _recipient(user: User) -> Recipient:
    preferences = user.notification_preferences
    wanted = preferences.get("events", []) if preferences.get("email") else []
    return Recipient(id=user.pk, email=user.email, name=user.name, event_types=frozenset(wanted))
