"""Read the body of a call to the API at once, and no more of it than is allowed.

Here, because a service guards its slots further in: a client that sends its body slowly holds
up itself and not a slot.
"""

from io import BytesIO

from django.conf import settings
from django.http.response import HttpResponseBase

from eventstore.errors import PlatformError
from platform_site.gateway.errors import refusal
from platform_site.gateway.requests import API, GatewayRequest, Handler


class BodyTooLarge(PlatformError):
    """The body is larger than `REQUEST_BODY_BYTES_MAX`."""

    code = "body_too_large"


class IncompleteBody(PlatformError):
    """The client went away, or sent less than it had announced."""

    code = "incomplete_body"


def body_limit(get_response: Handler) -> Handler:
    """Refuse bodies that are too large, announced or chunked; keep the others in memory."""

    def middleware(request: GatewayRequest) -> HttpResponseBase:
        try:
            _check_announced(request)
            if request.path_info.startswith(API):
                _read(request)
        except PlatformError as error:
            answer = refusal(request, error)
            # The server closes the connection with the rest of the body unread. A client that
            # was not told would lose its next request on it.
            answer["Connection"] = "close"
            return answer
        return get_response(request)

    return middleware


def _announced(request: GatewayRequest) -> int:
    """Return the length in bytes that the request announces; zero without a valid one."""
    header = request.META.get("CONTENT_LENGTH") or "0"
    return int(header) if header.isascii() and header.isdigit() else 0


def _check_announced(request: GatewayRequest) -> None:
    if _announced(request) > settings.REQUEST_BODY_BYTES_MAX:
        raise _too_large()


def _read(request: GatewayRequest) -> None:
    """Read the whole body into memory, where Django and REST framework find it again.

    Django's own stream ends at the announced length, so it takes a chunked body, which
    announces none, for an empty one; that is why the server's stream is read here.
    """
    chunked = "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower()
    announced = 0 if chunked else _announced(request)
    if not chunked and announced == 0:
        return
    stream = request.META.get("wsgi.input", request) if chunked else request
    body = BytesIO()
    try:
        while body.tell() <= settings.REQUEST_BODY_BYTES_MAX:
            chunk = stream.read(settings.REQUEST_BODY_BYTES_MAX + 1 - body.tell())
            if not chunk:
                break
            body.write(chunk)
    except OSError:
        raise IncompleteBody("The body ended early; send the request again.") from None
    if body.tell() > settings.REQUEST_BODY_BYTES_MAX:
        raise _too_large()
    if not chunked and body.tell() < announced:
        raise IncompleteBody("The body is shorter than its Content-Length says.")
    request.META["CONTENT_LENGTH"] = str(body.tell())
    request.META.pop("HTTP_TRANSFER_ENCODING", None)
    body.seek(0)
    request._body = body.getvalue()
    request._stream = body


def _too_large() -> BodyTooLarge:
    limit = settings.REQUEST_BODY_BYTES_MAX
    return BodyTooLarge(f"The body is larger than {limit} bytes; send less at once.")
