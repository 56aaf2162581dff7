"""The secrets of API keys: how they look, how they are stored, how they are recognised.

A key reads `ek_<12 characters>_<43 characters>`. Up to the second underscore it is its prefix,
which is stored, shown and searched for; the rest carries 256 random bits. Only the SHA-256 of the
whole is kept: with that much randomness a slow hash would add nothing, and it would cost every
request. Nothing is cached, so a revoked key is refused from its revocation on.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.utils.crypto import constant_time_compare, get_random_string

from eventstore.tables import Table
from users.errors import InvalidCredentials
from users.models import ApiKey

MARK = "ek_"
_SECRET = re.compile(r"(?P<prefix>ek_[a-z0-9]{12})_[A-Za-z0-9]{43}", re.ASCII)
_PREFIX_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


class _Found(NamedTuple):
    """What is read of a key and of its user, in the order of the columns."""

    id: UUID
    user_id: UUID
    secret_hash: str
    scopes: list[str]
    tier: str
    expires_at: datetime | None
    revoked_at: datetime | None
    is_active: bool
    is_superuser: bool
    granted_scopes: list[str]


# See Note [Fixed statements]: every request comes by here.
_WITH_USER = Table(
    ApiKey,
    columns=(
        "id",
        "user",
        "secret_hash",
        "scopes",
        "tier",
        "expires_at",
        "revoked_at",
        "user__is_active",
        "user__is_superuser",
        "user__granted_scopes",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveKey:
    """A key that may be used, and what its user may do.

    Args:
        scopes: those that it was given.
        granted_scopes: those that its user's keys may carry beyond everybody's.
    """

    id: UUID
    user_id: UUID
    scopes: frozenset[str]
    tier: str
    is_superuser: bool
    granted_scopes: frozenset[str]


def new_secret() -> tuple[str, str]:
    """Return a new (prefix, secret); the secret begins with the prefix."""
    prefix = MARK + get_random_string(12, _PREFIX_ALPHABET)
    return prefix, f"{prefix}_{get_random_string(43)}"


def secret_hash(secret: str) -> str:
    """Return what is stored of `secret`: its SHA-256 in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def key_with_secret(secret: str, *, now: datetime) -> LiveKey:
    """Return the live key with this secret, in one query.

    Raises:
        InvalidCredentials: no such key, or it is expired, revoked or of an inactive user.
    """
    match = _SECRET.fullmatch(secret)
    found = _WITH_USER.where("prefix = %s", [match["prefix"]]) if match else []
    if found:
        key = _Found(*found[0])
        if (
            constant_time_compare(key.secret_hash, secret_hash(secret))
            and key.revoked_at is None
            and (key.expires_at is None or key.expires_at > now)
            and key.is_active
        ):
            return LiveKey(
                id=key.id,
                user_id=key.user_id,
                scopes=frozenset(key.scopes),
                tier=key.tier,
                is_superuser=bool(key.is_superuser),
                granted_scopes=frozenset(key.granted_scopes),
            )
    raise InvalidCredentials("The API key is unknown, expired or revoked.")
