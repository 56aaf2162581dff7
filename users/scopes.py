"""What a caller may be allowed to do, and how often: the tables of scopes and of tiers."""

from collections.abc import Iterable, Mapping
from typing import Literal

from eventstore.errors import PlatformError

Tier = Literal["default", "trusted", "unlimited"]

ADMIN = "admin"
PROFILE = "profile"

# In the order in which answers list them.
SCOPES: Mapping[str, str] = {
    "transactions:read": "Read transactions.",
    "transactions:write": "Move money: create, capture, void and reverse transactions.",
    "accounts:read": "Read accounts, entries and statements.",
    "accounts:write": "Open and change accounts.",
    PROFILE: "One's own user, API keys and webhooks.",
    "audit:read": "Read every event, and prove it.",
    ADMIN: "Everything, including what belongs to others.",
}
ALL_SCOPES = frozenset(SCOPES)
# Everybody holds these; the others have to be granted.
USER_SCOPES = ALL_SCOPES - {"audit:read", ADMIN}

# How many requests a client may make; the numbers are the gateway's.
TIERS: tuple[Tier, ...] = ("default", "trusted", "unlimited")
DEFAULT_TIER: Tier = "default"


class MissingScope(PlatformError):
    """The caller is known, but lacks the scope for this."""

    code = "missing_scope"

    def __init__(self, scope: str) -> None:
        super().__init__(f"This needs the scope {scope}, which your credentials do not have.")


def in_order(scopes: Iterable[str]) -> list[str]:
    """Return `scopes` once each, in the order of `SCOPES`; unknown ones are left out."""
    wanted = frozenset(scopes)
    return [scope for scope in SCOPES if scope in wanted]


def token_scopes(*, is_superuser: bool) -> frozenset[str]:
    """Return what an access token of a user carries: a superuser's everything."""
    return ALL_SCOPES if is_superuser else USER_SCOPES


def key_scopes(*, is_superuser: bool, granted: Iterable[str]) -> frozenset[str]:
    """Return the most that an API key of a user may carry.

    Args:
        is_superuser: superusers may hold everything.
        granted: what an administrator or operator has granted to this user beyond
            `USER_SCOPES`, for keys only: an access token never carries it.
    """
    held = USER_SCOPES | frozenset(granted)
    return ALL_SCOPES if is_superuser or ADMIN in held else held
