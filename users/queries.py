"""Every read of users and keys that answers a request."""

from collections.abc import Sequence
from uuid import UUID

from users.handlers import UserNotFound
from users.models import ApiKey, User


def get_user(*, user_id: UUID) -> User:
    """Return the user; raise `UserNotFound` when the user is gone."""
    user = User.objects.filter(id=user_id).first()
    if user is None:
        raise UserNotFound("There is no such user.")
    return user


def list_api_keys(*, user_id: UUID, after: str | None, limit: int) -> Sequence[ApiKey]:
    """Return a user's keys that are not revoked, newest first.

    Args:
        user_id: whose keys.
        after: the id of the last key of the page before; None for the first page.
        limit: how many at most.
    """
    keys = ApiKey.objects.filter(user_id=user_id, revoked_at=None)
    if after is not None:
        keys = keys.filter(id__lt=UUID(after))
    return list(keys.order_by("-id")[:limit])
