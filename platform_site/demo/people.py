"""The people of a demo, remembered from one run to the next in `demo.json`."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from platform_site.demo.stage import Person
from users import key_handlers
from users.identity import InvalidCredentials, identify
from users.models import ApiKey, User
from users.scopes import ALL_SCOPES

ADMIN_EMAIL = "admin@evenkeel.example"
KEY_NAME = "quickstart"
PASSWORD_BYTES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """The demo's administrator: a superuser, with an API key that may do everything."""

    email: str
    password: str
    api_key: str


def ensure_admin(remembered: Mapping[str, Any], *, now: datetime) -> Admin:
    """Return an administrator who can log in, and whose API key works.

    What is `remembered` is kept if the database still agrees with it, and made new otherwise.

    Args:
        remembered: `password` and `api_key` of an earlier run, or nothing.
        now: the present instant, aware.
    """
    user = User.objects.filter(email=ADMIN_EMAIL).first()
    password = remembered.get("password") or _new_password()
    if user is None:
        user = User.objects.create_superuser(ADMIN_EMAIL, password, name="Demo administrator")
    elif not (user.is_active and user.is_superuser and user.check_password(password)):
        user.is_active = user.is_staff = user.is_superuser = True
        user.set_password(password)
        user.save()
    api_key = remembered.get("api_key", "")
    if not _opens_everything(api_key, user, now=now):
        api_key = _new_key(user, now=now)
    return Admin(email=ADMIN_EMAIL, password=password, api_key=api_key)


def person(name: str, remembered: Mapping[str, Any]) -> Person:
    """Return a user of the story: the `remembered` one, or a new one with an address of its own.

    A new address has a random part, since somebody may be registered under a plain one.
    """
    if remembered:
        return Person(
            name=name, email=remembered["email"], password=remembered["password"], known=True
        )
    email = f"{name.lower()}-{secrets.token_hex(3)}@evenkeel.example"
    return Person(name=name, email=email, password=_new_password(), known=False)


def _new_password() -> str:
    return secrets.token_urlsafe(PASSWORD_BYTES)


def _opens_everything(api_key: str, user: User, *, now: datetime) -> bool:
    if not api_key:
        return False
    try:
        caller = identify(f"Bearer {api_key}", now=now)
    except InvalidCredentials:
        return False
    return caller.user_id == user.id and caller.scopes == ALL_SCOPES and caller.tier == "unlimited"


def _new_key(user: User, *, now: datetime) -> str:
    """Create a key, and revoke those of earlier runs, whose secrets nobody knows any more."""
    forgotten = ApiKey.objects.filter(user=user, name=KEY_NAME, revoked_at=None)
    with transaction.atomic():
        key_handlers.revoke_api_keys(key_ids=[key.id for key in forgotten], now=now)
        _, secret = key_handlers.grant_api_key(
            email=user.email, name=KEY_NAME, scopes=ALL_SCOPES, tier="unlimited", now=now
        )
    return secret
