"""Who may call which view: the default permission of every endpoint."""

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from users.identity import Caller
from users.scopes import MissingScope

__all__ = ["HasScope", "MissingScope"]


class HasScope(BasePermission):
    """Asks for the scope that the view's table `scopes` names for the method.

    A view says `scopes: ClassVar = {"GET": "accounts:read"}`, or `public = True` where anybody
    may call. A view without an entry for one of its methods is a mistake that would leave it
    open, so it fails loudly.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        """Say whether the caller is known; REST framework answers 401 where not.

        Raises:
            MissingScope: the caller is known but lacks the scope.
        """
        if getattr(view, "public", False):
            return True
        method = "GET" if request.method == "HEAD" else str(request.method)
        if method.lower() not in view.http_method_names or not hasattr(view, method.lower()):
            # What the view does not do is answered 405, whoever asks.
            return True
        if not isinstance(request.user, Caller):
            return False
        if method != "OPTIONS" and not request.user.has(view.scopes[method]):
            raise MissingScope(view.scopes[method])
        return True
