"""What a request carries once it has passed the gateway, and what its address says."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from eventstore.errors import PlatformError
from platform_site.gateway.services import NAMES
from users.identity import Caller

API = "/api/"
ADMIN = "/admin/"
# First segments under /api/ that the gateway answers itself.
OWN = frozenset({"discovery", "docs", "schema"})
# Of these, the ones that read like a manual: they are neither limited nor counted.
_MANUAL = frozenset({"docs", "schema"})
_OPERATIONS = ("/health", "/metrics")


class GatewayRequest(HttpRequest):
    """A request as a view sees it; names the attributes that the middleware adds.

    Attributes:
        request_id: the id under which the log and the client know this request.
        traceparent: the caller's W3C trace context, if it sent a valid one.
        caller: who is calling; anonymous when the credentials were absent or bad.
        credentials_error: why the credentials were refused, if they were.
    """

    request_id: str
    traceparent: str | None
    caller: Caller
    credentials_error: PlatformError | None


Handler = Callable[[GatewayRequest], HttpResponseBase]


def api_segment(request: HttpRequest) -> str | None:
    """Return the first segment under /api/ of the address, or None outside of it.

    The path is the decoded one that Django resolves too, so that no spelling of an address
    reaches a view past the service it belongs to.
    """
    if not request.path_info.startswith(API):
        return None
    return request.path_info[len(API) :].split("/", 1)[0]


def label(request: HttpRequest) -> str:
    """Return a name for the address out of a small fixed set, for metrics."""
    segment = api_segment(request)
    if segment in OWN or request.path_info.startswith(_OPERATIONS):
        return "gateway"
    if segment in NAMES:
        return str(segment)
    first = request.path_info[1:].partition("/")[0]
    return first if first in {"admin", "static"} else "unknown"


def is_counted(request: HttpRequest) -> bool:
    """Say whether the rate limit counts this request: all of /api/ apart from its manual."""
    segment = api_segment(request)
    return segment is not None and segment not in _MANUAL
