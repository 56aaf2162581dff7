"""Access tokens (JWT, minutes) and the secrets of refresh tokens (opaque, days).

Access tokens are signed with HMAC-SHA256 under a key derived from `SECRET_KEY` for this one
purpose, so nothing else that is signed with `SECRET_KEY` can pass for a token. The algorithm is
fixed here and never read from a token (RFC 8725, section 3.1).
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import jwt
from django.conf import settings
from django.utils.crypto import get_random_string, salted_hmac
from uuid_utils.compat import uuid7

from users.errors import InvalidCredentials
from users.scopes import in_order

ALGORITHM = "HS256"
ISSUER = "evenkeel"
AUDIENCE = "evenkeel-api"
_CLAIMS = ["iss", "aud", "sub", "scope", "iat", "exp", "jti"]
# Servers' clocks differ a little; a token from further in the future is not ours.
CLOCK_SKEW_MAX_S = 60


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What a valid access token says: whose it is, and what it was issued for."""

    user_id: UUID
    scopes: frozenset[str]


def new_access_token(*, user_id: UUID, scopes: frozenset[str], now: datetime) -> str:
    """Return a signed token that is valid for `settings.ACCESS_TOKEN_LIFETIME_S` from `now`."""
    issued_at = int(now.timestamp())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(user_id),
        "scope": " ".join(in_order(scopes)),
        "iat": issued_at,
        "exp": issued_at + settings.ACCESS_TOKEN_LIFETIME_S,
        "jti": str(uuid7()),
    }
    return jwt.encode(claims, _signing_key(), algorithm=ALGORITHM)


def read_access_token(token: str, *, now: datetime) -> AccessToken:
    """Return what `token` says.

    Raises:
        InvalidCredentials: it is not a token of ours, was changed, or has expired.
    """
    refusal = InvalidCredentials("The access token is not valid, or it has expired.")
    try:
        claims = jwt.decode(
            token,
            _signing_key(),
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            audience=AUDIENCE,
            # Times are compared with `now` below; PyJWT would ask the clock of the machine.
            options={
                "require": _CLAIMS,
                "strict_aud": True,
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
        present = now.timestamp()
        if not claims["iat"] - CLOCK_SKEW_MAX_S <= present < claims["exp"]:
            raise refusal
        return AccessToken(user_id=UUID(claims["sub"]), scopes=frozenset(claims["scope"].split()))
    except (jwt.InvalidTokenError, UnicodeError):
        raise refusal from None


def new_refresh_secret() -> str:
    """Return the secret of a new refresh token: 256 random bits."""
    return f"rt_{get_random_string(43)}"


def refresh_hash(secret: str) -> str:
    """Return what is stored of a refresh token: its SHA-256 in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _signing_key() -> bytes:
    return salted_hmac("users.tokens.access", "signing key", algorithm="sha256").digest()
