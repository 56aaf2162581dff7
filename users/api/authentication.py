"""The caller, whom the gateway has identified already, as REST framework's user."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from users.identity import ANONYMOUS, Caller


class CallerAuthentication(BaseAuthentication):
    """Makes `request.user` the `Caller` that the gateway's middleware has set."""

    def authenticate(self, request: Request) -> tuple[Caller, None] | None:
        """Return the caller, or None for an anonymous one.

        Raises:
            InvalidCredentials: the credentials were refused and the view is not public.
        """
        if getattr(request.parser_context.get("view"), "public", False):
            return None
        # The middleware puts these on Django's request; its type does not know them.
        known: Any = request._request
        if known.credentials_error is not None:
            raise known.credentials_error
        caller: Caller = known.caller
        return (caller, None) if caller.is_authenticated else None

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002
        """Return how to authenticate, for `WWW-Authenticate`."""
        return 'Bearer realm="evenkeel"'


def caller_of(request: Request) -> Caller:
    """Return who calls a view that is not public.

    REST framework's type for the user is Django's; `CallerAuthentication` makes it a `Caller`.
    """
    user: Any = request.user
    return user if isinstance(user, Caller) else ANONYMOUS


class CallerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the OpenAPI document describes `CallerAuthentication`."""

    target_class = "users.api.authentication.CallerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:  # noqa: ARG002
        """Return the security scheme object."""
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An access token, or an API key (`ek_...`).",
        }
