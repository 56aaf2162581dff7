"""Read the body of a request before anything is taken for it, and no more than is allowed.

The event loop reads, so a client that sends slowly holds up itself: no thread and no slot of a
service waits for it. What all bodies that are being read take together is bounded too.

A body for another process of ours is passed on as it comes once it is longer than
`BUFFER_BYTES`, so that no more than that of it is ever held here.
"""

import asyncio
from collections.abc import AsyncIterator

from django.conf import settings

from eventstore.errors import PlatformError
from platform_site.gateway import services
from platform_site.gateway.messages import Handle, Request, Response
from platform_site.gateway.server import Disconnected

# All of a body has to be here within this time, and each part of a longer one within the other.
BODY_TIMEOUT_S = 30.0
PART_TIMEOUT_S = 5.0
BUFFER_BYTES = 64 * 1024
# Of all bodies that this process is reading; beyond, requests are turned away.
BYTES_MAX = 64 * 1024 * 1024


class BodyTooLarge(PlatformError):
    """The body is larger than `REQUEST_BODY_BYTES_MAX`."""

    code = "body_too_large"


class IncompleteBody(PlatformError):
    """The client went away, or sent less than it had announced."""

    code = "incomplete_body"


class SlowBody(PlatformError):
    """The client took too long to send its body."""

    code = "body_timeout"
    retryable = True


class TooManyBodies(PlatformError):
    """The bodies that are being read take all the memory that they may."""

    code = "overloaded"
    retryable = True


class _Held:
    """How many bytes of bodies this process holds; changed by the event loop's thread alone."""

    bytes = 0


async def bodies(request: Request, handle: Handle) -> Response:
    """Read the body into `request.body`, and leave what is too long for a buffer to `rest`.

    Raises:
        BodyTooLarge: it is longer than allowed, announced or not.
        IncompleteBody: it ended early.
        SlowBody: it did not arrive in time.
        TooManyBodies: there is no room for it now.
    """
    announced = _announced(request)
    if announced > settings.REQUEST_BODY_BYTES_MAX:
        raise _too_large()
    if announced == 0 and "transfer-encoding" not in request.headers:
        return await handle(request)
    service = services.SERVICES.get(request.service)
    bytes_max = BUFFER_BYTES if service is not None and service.url else None
    held = 0
    try:
        parts: list[bytes] = []
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while part := await request.read():
                parts.append(part)
                held += len(part)
                _Held.bytes += len(part)
                if held > settings.REQUEST_BODY_BYTES_MAX:
                    raise _too_large()
                if _Held.bytes > BYTES_MAX:
                    raise TooManyBodies("The gateway is busy; try again.", retry_after_s=1.0)
                if bytes_max is not None and held > bytes_max:
                    request.rest = _rest(request, held, announced)
                    break
        request.body = b"".join(parts)
        if request.rest is None and held < announced:
            raise IncompleteBody("The body is shorter than its Content-Length says.")
        return await handle(request)
    except TimeoutError:
        raise SlowBody(f"The body did not arrive within {BODY_TIMEOUT_S:.0f} seconds.") from None
    except Disconnected:
        raise IncompleteBody("The body ended early; send the request again.") from None
    finally:
        _Held.bytes -= held


async def _rest(request: Request, held: int, announced: int) -> AsyncIterator[bytes]:
    while True:
        async with asyncio.timeout(PART_TIMEOUT_S):
            part = await request.read()
        if not part:
            break
        held += len(part)
        if held > settings.REQUEST_BODY_BYTES_MAX:
            raise _too_large()
        yield part
    if held < announced:
        raise IncompleteBody("The body is shorter than its Content-Length says.")


def _announced(request: Request) -> int:
    """Return the length in bytes that the request announces; zero without a valid one."""
    header = request.headers.get("content-length", "")
    return int(header) if header.isascii() and header.isdigit() else 0


def _too_large() -> BodyTooLarge:
    limit = settings.REQUEST_BODY_BYTES_MAX
    return BodyTooLarge(f"The body is larger than {limit} bytes; send less at once.")
