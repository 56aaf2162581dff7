"""Who is calling: from the header `Authorization` to a `Caller`."""

from dataclasses import dataclass
from datetime import datetime
from typing import cast
from uuid import UUID

from eventstore.tables import Table
from users import api_keys, tokens
from users.errors import InvalidCredentials
from users.models import User
from users.scopes import ADMIN, DEFAULT_TIER, Tier, key_scopes, token_scopes

__all__ = ["ANONYMOUS", "Caller", "InvalidCredentials", "identify"]

AUTHORIZATION_LENGTH_MAX = 4096

# See Note [Fixed statements]: every request comes by here.
_USERS = Table(User, columns=("id", "is_active", "is_superuser"))


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request, and what they may do with it.

    Args:
        user_id: whose credentials they are; None for an anonymous caller.
        scopes: what these credentials allow now.
        tier: how often they may call.
        key_id: the API key, when it is one.
    """

    user_id: UUID | None
    scopes: frozenset[str] = frozenset()
    tier: Tier = DEFAULT_TIER
    key_id: UUID | None = None

    @property
    def is_authenticated(self) -> bool:
        """Whether anybody is known to call."""
        return self.user_id is not None

    @property
    def known_id(self) -> UUID:
        """The user's id, for code that anonymous callers do not reach."""
        if self.user_id is None:
            raise InvalidCredentials("Nobody is known to call: log in, or send an API key.")
        return self.user_id

    @property
    def is_admin(self) -> bool:
        """Whether everything is allowed, including what belongs to others."""
        return ADMIN in self.scopes

    def has(self, scope: str) -> bool:
        """Say whether `scope` is allowed; `admin` implies all."""
        return scope in self.scopes or self.is_admin


ANONYMOUS = Caller(user_id=None)


def identify(authorization: str, *, now: datetime) -> Caller:
    """Return who sends `authorization`, the value of that header; empty is anonymous.

    Every call reads the user by primary key, a key with it: a user who is made inactive or loses
    a right, and a key that is revoked, lose it with the next request, whatever the credential
    once said.

    Args:
        authorization: `Bearer` and an access token or an API key.
        now: the present instant, aware.

    Raises:
        InvalidCredentials: malformed, unknown, changed, expired or revoked, or the user is gone
            or inactive.
    """
    if not authorization:
        return ANONYMOUS
    scheme, _, credential = authorization.partition(" ")
    credential = credential.strip()
    if (
        scheme.lower() != "bearer"
        or not credential
        or len(authorization) > AUTHORIZATION_LENGTH_MAX
    ):
        raise InvalidCredentials("Send the header as: Authorization: Bearer TOKEN_OR_API_KEY")
    if credential.startswith(api_keys.MARK):
        return _key_caller(credential, now=now)
    return _token_caller(credential, now=now)


def _key_caller(secret: str, *, now: datetime) -> Caller:
    key = api_keys.key_with_secret(secret, now=now)
    allowed = key_scopes(is_superuser=key.is_superuser, granted=key.granted_scopes)
    return Caller(
        user_id=key.user_id,
        scopes=allowed & key.scopes,
        # A constraint of the table admits no others.
        tier=cast("Tier", key.tier),
        key_id=key.id,
    )


def _token_caller(token: str, *, now: datetime) -> Caller:
    access = tokens.read_access_token(token, now=now)
    found = _USERS.rows([access.user_id])
    if not found or not found[0][1]:
        raise InvalidCredentials("The access token's user is not active any more.")
    ((user_id, _, is_superuser),) = found
    return Caller(
        user_id=user_id, scopes=access.scopes & token_scopes(is_superuser=bool(is_superuser))
    )
