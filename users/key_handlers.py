"""Every change to API keys: one function an operation, its transaction inside."""

from collections.abc import Collection, Iterable
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet

from eventstore.errors import InvalidInput, PlatformError
from users import api_keys
from users.handlers import UserNotFound
from users.identity import Caller
from users.models import ApiKey, User
from users.scopes import ADMIN, DEFAULT_TIER, MissingScope, Tier, in_order, key_scopes

LIVE_KEYS_MAX = 20


class ApiKeyNotFound(PlatformError):
    """No live key of the caller's has this id."""

    code = "api_key_not_found"


class TooManyKeys(PlatformError):
    """The user has `LIVE_KEYS_MAX` live keys."""

    code = "too_many_keys"


class ScopeEscalation(PlatformError):
    """Somebody asks for a key that may do more than they may."""

    code = "scope_escalation"


def create_api_key(
    *,
    caller: Caller,
    name: str,
    scopes: Collection[str],
    tier: Tier = DEFAULT_TIER,
    expires_at: datetime | None = None,
    user_id: UUID | None = None,
    now: datetime,
) -> tuple[ApiKey, str]:
    """Create a key for the caller, or for another user, and return it with its secret.

    Args:
        caller: who asks; a key can create only keys with scopes that it has itself.
        name: what the key is for, in the user's words.
        scopes: known ones.
        tier: a higher one than `default` only for `admin`.
        expires_at: from when on the key is refused; None for never.
        user_id: whose key it will be; another user only for `admin`.
        now: the present instant, aware.

    Raises:
        ScopeEscalation: the caller lacks one of `scopes`.
        MissingScope: the caller is not `admin`, and asks for what only `admin` may.
        InvalidInput: `expires_at` has passed.
        UserNotFound: `user_id` is nobody active.
        TooManyKeys: the user has `LIVE_KEYS_MAX` live keys.
    """
    for scope in in_order(scopes):
        if not caller.has(scope):
            raise ScopeEscalation(
                f"Your credentials do not have the scope {scope}, so they cannot give it to a key."
            )
    owner_id = user_id or caller.known_id
    if (owner_id != caller.user_id or tier != DEFAULT_TIER) and not caller.is_admin:
        raise MissingScope(ADMIN)
    if expires_at is not None and expires_at <= now:
        fault = "A key must expire in the future."
        raise InvalidInput(
            "The request has values that are not acceptable; see errors.",
            errors=[{"pointer": "/expires_at", "code": "not_in_future", "detail": fault}],
        )
    with transaction.atomic():
        return _add_key(
            owner=User.objects.filter(id=owner_id),
            name=name,
            scopes=scopes,
            tier=tier,
            expires_at=expires_at,
            now=now,
        )


def grant_api_key(
    *,
    email: str,
    name: str,
    scopes: Collection[str],
    tier: Tier = DEFAULT_TIER,
    create_user: bool = False,
    now: datetime,
) -> tuple[ApiKey, str]:
    """Create a key on behalf of the operator, who may grant everything.

    Args:
        email: whose key it will be.
        name: what the key is for.
        scopes: known ones; those beyond everybody's are granted to the user for keys.
        tier: any.
        create_user: whether to create a missing user, without a password.
        now: the present instant, aware.

    Raises:
        UserNotFound: there is no active user with this address, and none is to be created.
        TooManyKeys: the user has `LIVE_KEYS_MAX` live keys.
    """
    email = User.objects.normalize_email(email)
    with transaction.atomic():
        if create_user and not User.objects.filter(email=email).exists():
            User.objects.create_user(email)
        return _add_key(
            owner=User.objects.filter(email=email),
            name=name,
            scopes=scopes,
            tier=tier,
            expires_at=None,
            now=now,
        )


def revoke_api_key(*, caller: Caller, key_id: UUID, now: datetime) -> None:
    """Revoke one of the caller's keys at once; any user's for `admin`.

    Raises:
        ApiKeyNotFound: there is no such live key, or it is another user's.
    """
    keys = ApiKey.objects.filter(id=key_id, revoked_at=None)
    if not caller.is_admin:
        keys = keys.filter(user_id=caller.known_id)
    if not keys.update(revoked_at=now):
        raise ApiKeyNotFound("You have no live API key with this id.")


def revoke_api_keys(*, key_ids: Iterable[UUID], now: datetime) -> int:
    """Revoke these keys at once, for the admin; return how many were live."""
    return ApiKey.objects.filter(id__in=list(key_ids), revoked_at=None).update(revoked_at=now)


def _add_key(
    *,
    owner: QuerySet[User],
    name: str,
    scopes: Collection[str],
    tier: Tier,
    expires_at: datetime | None,
    now: datetime,
) -> tuple[ApiKey, str]:
    # The lock on the user's row makes simultaneous calls count one after the other.
    user = owner.select_for_update().filter(is_active=True).first()
    if user is None:
        raise UserNotFound("There is no active user of this description.")
    live = ApiKey.objects.filter(user=user, revoked_at=None).filter(
        Q(expires_at=None) | Q(expires_at__gt=now)
    )
    if live.count() >= LIVE_KEYS_MAX:
        raise TooManyKeys(f"A user has at most {LIVE_KEYS_MAX} live API keys: revoke one first.")
    held = key_scopes(is_superuser=user.is_superuser, granted=user.granted_scopes)
    if not held.issuperset(scopes):
        # Whoever got this far may give these scopes; without the grant the key could not use them.
        user.granted_scopes = in_order({*user.granted_scopes, *(set(scopes) - held)})
        user.save(update_fields=["granted_scopes"])
    prefix, secret = api_keys.new_secret()
    key = ApiKey.objects.create(
        user=user,
        name=name,
        prefix=prefix,
        secret_hash=api_keys.secret_hash(secret),
        scopes=in_order(scopes),
        tier=tier,
        expires_at=expires_at,
        created_at=now,
    )
    return key, secret
