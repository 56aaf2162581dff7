"""Every change to users and tokens: one function an operation, its transaction inside.

Those to API keys are in `users.key_handlers`.

Passwords are hashed and checked outside the transaction: that takes long, and on SQLite a
transaction that may write keeps every other writer waiting.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.crypto import constant_time_compare
from uuid_utils.compat import uuid7

from eventstore.errors import InvalidInput, PlatformError
from users import tokens
from users.errors import InvalidCredentials
from users.models import RefreshToken, User
from users.passwords import user_with_password
from users.scopes import token_scopes


class EmailTaken(PlatformError):
    """Somebody is registered under this e-mail address."""

    code = "email_taken"


class WeakPassword(InvalidInput):
    """The password does not meet the rules of `settings.AUTH_PASSWORD_VALIDATORS`."""

    code = "weak_password"


class UserNotFound(PlatformError):
    """No active user has this id."""

    code = "user_not_found"


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a log-in or a refresh gives: two secrets, which are stored nowhere."""

    access_token: str
    refresh_token: str
    expires_in_s: int


def register_user(*, email: str, password: str, name: str = "") -> User:
    """Create a user who can log in.

    Args:
        email: a valid address, in any case.
        password: as typed; it is checked against the site's rules here.
        name: what to call the person; may be empty.

    Raises:
        EmailTaken: also when two register the same address at once.
        WeakPassword: with one entry for each rule that is broken.
    """
    user = User(email=User.objects.normalize_email(email), name=name)
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise WeakPassword(
            "The password is too easy to guess; see errors.",
            errors=[
                {"pointer": "/password", "code": fault.code or "weak_password", "detail": text}
                for fault, text in zip(error.error_list, error.messages, strict=True)
            ],
        ) from None
    taken = EmailTaken("This e-mail address is registered already: log in instead.")
    if User.objects.filter(email=user.email).exists():
        raise taken
    user.set_password(password)
    try:
        with transaction.atomic():
            user.save(force_insert=True)
    except IntegrityError:
        if User.objects.filter(email=user.email).exists():
            raise taken from None
        raise
    return user


def log_in(*, email: str, password: str, address: str, now: datetime) -> TokenPair:
    """Check a password and start a new family of refresh tokens.

    Raises:
        InvalidCredentials, RateLimited: as `users.passwords.user_with_password` says.
    """
    user = user_with_password(email=email, password=password, address=address, now=now)
    with transaction.atomic():
        RefreshToken.objects.filter(user=user, expires_at__lte=now).delete()
        return _issue_tokens(user=user, family=uuid7(), now=now)


def refresh_tokens(*, refresh_token: str, now: datetime) -> TokenPair:
    """Exchange a refresh token for new tokens, once.

    A token that comes a second time was copied by somebody, and nobody can say who of the two
    is the owner: its whole family is revoked (RFC 9700, section 4.14.2). Of two simultaneous
    calls one is the second.

    Raises:
        InvalidCredentials: the token is unknown, used, revoked or expired, the user is inactive,
            or the password was changed since the log-in.
    """
    refusal = InvalidCredentials("The refresh token is not valid any more: log in again.")
    with transaction.atomic():
        token = (
            # Of two simultaneous calls the second waits here, and then sees a used token.
            RefreshToken.objects.select_for_update()
            .filter(token_hash=tokens.refresh_hash(refresh_token))
            .first()
        )
        if token is None:
            raise refusal
        if token.used_at is None and token.revoked_at is None:
            if token.expires_at <= now or not token.user.is_active:
                raise refusal
            if constant_time_compare(token.session_hash, token.user.get_session_auth_hash()):
                token.used_at = now
                token.save(update_fields=["used_at"])
                return _issue_tokens(user=token.user, family=token.family, now=now)
        # The family is revoked inside the transaction and the refusal raised after it, because
        # raising would roll the revocation back.
        RefreshToken.objects.filter(family=token.family, revoked_at=None).update(revoked_at=now)
    raise refusal


def update_profile(*, user_id: UUID, changes: Mapping[str, Any]) -> User:
    """Change a user's `name` and members of `notification_preferences`; others stay as they are.

    Raises:
        UserNotFound: the user is gone, or not active any more: nothing may be told of somebody
            who is just being forgotten.
    """
    with transaction.atomic():
        user = User.objects.select_for_update().filter(id=user_id, is_active=True).first()
        if user is None:
            raise UserNotFound("There is no such user.")
        user.name = changes.get("name", user.name)
        user.notification_preferences = {
            **user.notification_preferences,
            **changes.get("notification_preferences", {}),
        }
        user.save(update_fields=["name", "notification_preferences"])
    return user


def _issue_tokens(*, user: User, family: UUID, now: datetime) -> TokenPair:
    secret = tokens.new_refresh_secret()
    RefreshToken.objects.create(
        user=user,
        family=family,
        token_hash=tokens.refresh_hash(secret),
        session_hash=user.get_session_auth_hash(),
        issued_at=now,
        expires_at=now + timedelta(seconds=settings.REFRESH_TOKEN_LIFETIME_S),
    )
    scopes = token_scopes(is_superuser=user.is_superuser)
    return TokenPair(
        access_token=tokens.new_access_token(user_id=user.id, scopes=scopes, now=now),
        refresh_token=secret,
        expires_in_s=settings.ACCESS_TOKEN_LIFETIME_S,
    )
