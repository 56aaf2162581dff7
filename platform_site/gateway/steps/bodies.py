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

# All that is buffered of a body has to be here within `REQUEST_BODY_TIMEOUT_S`, and what is passed
# on as it comes, while a slot of a service is held, within this time.
REST_TIMEOUT_S = 10.0
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


class Held:
    """What one request takes of the memory for bodies; for the thread of one event loop."""

    of_all = 0

    def __init__(self) -> None:
        self._bytes = 0

    def take(self, count: int) -> None:
        """Take `count` bytes more; raise `TooManyBodies` when all bodies together have too many."""
        self._bytes += count
        Held.of_all += count
        if Held.of_all > BYTES_MAX:
            raise TooManyBodies("The gateway is busy; try again.", retry_after_s=1.0)

    def give_back(self) -> None:
        """Give everything back."""
        Held.of_all -= self._bytes
        self._bytes = 0


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
    held = Held()
    try:
        request.body = await _read(request, announced, held)
        return await handle(request)
    finally:
        held.give_back()


async def _read(request: Request, announced: int, held: Held) -> bytes:
    """Return the body, or its beginning when it is long and goes to another process."""
    service = services.SERVICES.get(request.service)
    is_passed_on = service is not None and bool(service.url)
    # Not a list of parts: a body that comes byte by byte would take forty times its length.
    body = bytearray()
    try:
        async with asyncio.timeout(settings.REQUEST_BODY_TIMEOUT_S):
            while part := await request.read():
                body += part
                held.take(len(part))
                if len(body) > settings.REQUEST_BODY_BYTES_MAX:
                    raise _too_large()
                if is_passed_on and len(body) > BUFFER_BYTES:
                    request.rest = _rest(request, len(body), announced)
                    return bytes(body)
    except TimeoutError:
        raise _slow(settings.REQUEST_BODY_TIMEOUT_S) from None
    except Disconnected:
        raise _incomplete() from None
    if len(body) < announced:
        raise _incomplete()
    return bytes(body)


async def _rest(request: Request, read: int, announced: int) -> AsyncIterator[bytes]:
    """Give what follows the beginning; while it does, a slot of the service is held."""
    ends_at_s = asyncio.get_running_loop().time() + REST_TIMEOUT_S
    while True:
        try:
            async with asyncio.timeout_at(ends_at_s):
                part = await request.read()
        except TimeoutError:
            raise _slow(REST_TIMEOUT_S) from None
        except Disconnected:
            raise _incomplete() from None
        if not part:
            break
        read += len(part)
        if read > settings.REQUEST_BODY_BYTES_MAX:
            raise _too_large()
        yield part
    if read < announced:
        raise _incomplete()


def _announced(request: Request) -> int:
    """Return the length in bytes that the request announces; zero without a valid one."""
    header = request.headers.get("content-length", "")
    if not (header.isascii() and header.isdigit()):
        return 0
    # Python refuses to read numbers of thousands of digits.
    return int(header) if len(header) <= 20 else settings.REQUEST_BODY_BYTES_MAX + 1


def _too_large() -> BodyTooLarge:
    limit = settings.REQUEST_BODY_BYTES_MAX
    return BodyTooLarge(f"The body is larger than {limit} bytes; send less at once.")


def _incomplete() -> IncompleteBody:
    return IncompleteBody("The body ended before its end; send the request again.")


def _slow(timeout_s: float) -> SlowBody:
    return SlowBody(f"The body did not arrive within {timeout_s:.0f} seconds.")
