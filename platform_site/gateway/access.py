"""Who may see how the platform is doing: anyone, unless `OPERATIONS_TOKEN` is set."""

import hmac

from django.conf import settings
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from eventstore.errors import PlatformError


class OperationsTokenRequired(PlatformError):
    """The call wants the operations token and has none, or another."""

    code = "not_authenticated"


class HasOperationsToken(BasePermission):
    """Lets a caller through that sends `Authorization: Bearer <OPERATIONS_TOKEN>`."""

    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002
        """Return True, or raise `OperationsTokenRequired`."""
        token = settings.OPERATIONS_TOKEN
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        # Compared in constant time, so that a wrong token does not tell how wrong it is.
        matches = hmac.compare_digest(given.strip().encode(), token.encode())
        if token and not (scheme.lower() == "bearer" and matches):
            raise OperationsTokenRequired(
                "Send the operations token of this installation as Authorization: Bearer TOKEN."
            )
        return True


class OperationsView(APIView):
    """A page of the gateway itself: no user's credentials, JSON by default, no other formats."""

    authentication_classes = []
    permission_classes = [HasOperationsToken]
