"""The secrets of API keys: how they look, how they are stored, how they are recognised.

A key reads `ek_<12 characters>_<43 characters>`. Up to the second underscore it is its prefix,
which is stored, shown and searched for; the rest carries 256 random bits. Only the SHA-256 of the
whole is kept: with that much randomness a slow hash would add nothing, and it would cost every
request. Nothing is cached, so a revoked key is refused from its revocation on.
"""

import hashlib
import re
from datetime import datetime

from django.utils.crypto import constant_time_compare, get_random_string

from users.errors import InvalidCredentials
from users.models import ApiKey

MARK = "ek_"
_SECRET = re.compile(r"(?P<prefix>ek_[a-z0-9]{12})_[A-Za-z0-9]{43}", re.ASCII)
_PREFIX_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def new_secret() -> tuple[str, str]:
    """Return a new (prefix, secret); the secret begins with the prefix."""
    prefix = MARK + get_random_string(12, _PREFIX_ALPHABET)
    return prefix, f"{prefix}_{get_random_string(43)}"


def secret_hash(secret: str) -> str:
    """Return what is stored of `secret`: its SHA-256 in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def key_with_secret(secret: str, *, now: datetime) -> ApiKey:
    """Return the live key, its user loaded with it, in one query.

    Raises:
        InvalidCredentials: no such key, or it is expired, revoked or of an inactive user.
    """
    match = _SECRET.fullmatch(secret)
    key = (
        ApiKey.objects.select_related("user").filter(prefix=match["prefix"]).first()
        if match
        else None
    )
    if (
        key is None
        or not constant_time_compare(key.secret_hash, secret_hash(secret))
        or key.revoked_at is not None
        or (key.expires_at is not None and key.expires_at <= now)
        or not key.user.is_active
    ):
        raise InvalidCredentials("The API key is unknown, expired or revoked.")
    return key
