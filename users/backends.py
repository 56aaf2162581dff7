"""Django's log-in, as used by the admin, under the same lock-out as the API's."""

from typing import Any

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest
from django.utils import timezone

from users.addresses import UNKNOWN, client_address
from users.errors import InvalidCredentials, RateLimited
from users.models import User
from users.passwords import user_with_password


class PasswordBackend(ModelBackend):
    """Django's permissions, with the password checked by `users.passwords`."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        """Return the user, or None; raise `RateLimited` while the account is locked."""
        email = username if username is not None else kwargs.get(User.USERNAME_FIELD)
        if email is None or password is None:
            return None
        address = client_address(request) if request is not None else UNKNOWN
        try:
            return user_with_password(
                email=email, password=password, address=address, now=timezone.now()
            )
        except InvalidCredentials:
            return None


class LoginForm(AdminAuthenticationForm):
    """The admin's log-in form, which says so when the account is locked."""

    def clean(self) -> dict[str, Any]:
        """Check the password; see `AdminAuthenticationForm`."""
        try:
            return super().clean()
        except RateLimited as error:
            raise forms.ValidationError(error.detail, code=error.code) from None
