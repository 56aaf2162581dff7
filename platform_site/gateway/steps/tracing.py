"""Give every request an id, and keep the caller's trace context.

First of the steps, so that every answer, every log line and every event has the id.
"""

import re

from uuid_utils import uuid7

from platform_site.gateway.messages import Handle, Request, Response
from platform_site.logs import request_id_of_context

# One to 128 visible ASCII characters; anything else could forge log lines.
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
# W3C Trace Context, section 3.2: version, trace id, parent id, flags. Version 00 has no more;
# later versions may append members behind a dash.
_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
    r"(?P<more>-.*)?"
)


async def tracing(request: Request, handle: Handle) -> Response:
    """Accept the caller's `X-Request-Id` or make one; set it on the request and the answer."""
    request.request_id = accepted_id(request.headers.get("x-request-id", ""))
    request.traceparent = valid_traceparent(request.headers.get("traceparent", ""))
    token = request_id_of_context.set(request.request_id)
    try:
        response = await handle(request)
    finally:
        request_id_of_context.reset(token)
    response.headers["x-request-id"] = request.request_id
    return response


def accepted_id(given: str) -> str:
    """Return the id that a caller gives its request, when it will do, and else a new one."""
    return given if _REQUEST_ID.fullmatch(given) else str(uuid7())


def valid_traceparent(header: str) -> str | None:
    """Return `header` when it is a valid W3C `traceparent`, else None."""
    if not header:
        return None
    match = _TRACEPARENT.fullmatch(header)
    if match is None or (match["version"] == "00" and match["more"] is not None):
        return None
    return header
