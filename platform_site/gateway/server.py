"""The gateway as an ASGI application: what any server of that interface can run.

Source: ASGI specification 3.0, HTTP and lifespan protocols.
"""

import asyncio
import contextlib
import logging
import resource
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from platform_site.gateway.addresses import OPERATIONS
from platform_site.gateway.messages import Handle, Request, Response, joined, no_body

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
# How long a client may take to accept one part of a streamed answer.
SEND_TIMEOUT_S = 60.0
# Requests that are worked on at once, waiting ones, bodies that come slowly and answers that are
# read slowly among them. About as many as the queues before the services and before the admission
# hold together: one more could only wait for a place in a queue.
REQUESTS_MAX = 1_024
# Beyond these, for those who look after the platform: they must see what it suffers from.
OPERATIONS_MAX = 64


# Files and connections that a web process may have open, where the system allows as many.
OPEN_FILES_MAX = 65_536


class Disconnected(ConnectionError):
    """The client went away before it had sent the whole body."""


def asgi(
    handle: Handle, *, turn_away: Handle, upkeep: AbstractAsyncContextManager[None]
) -> Callable[..., Any]:
    """Return the ASGI application that answers by `handle`.

    Args:
        handle: answers a request; it raises nothing.
        turn_away: answers a request beyond `REQUESTS_MAX`, and reads no body.
        upkeep: entered when the server starts, left when it stops.
    """
    busy = 0

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal busy
        if scope["type"] == "lifespan":
            await _live(receive, send, upkeep)
        if scope["type"] != "http":
            return
        body = _Body(receive)
        request = _request(scope, body)
        for_operations = request.path.startswith(OPERATIONS)
        has_room = busy < REQUESTS_MAX + (OPERATIONS_MAX if for_operations else 0)
        busy += 1
        try:
            response = await (handle if has_room else turn_away)(request)
            if request.read is not no_body and not body.ended:
                # What is left of the body stands before the next request: there can be none.
                response.headers["connection"] = "close"
            await _send(response, receive, send, with_body=request.method != "HEAD")
        except Disconnected:
            return
        finally:
            busy -= 1

    return application


def _request(scope: Scope, body: "_Body") -> Request:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        # `X_Request_Id` and `X-Request-Id` are one name to what reads CGI variables.
        if "_" not in name:
            headers[name] = joined(headers, name, value) if name in headers else value
    has_body = "content-length" in headers or "transfer-encoding" in headers
    client = scope.get("client")
    return Request(
        method=scope["method"],
        raw_path=scope["raw_path"].decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        headers=headers,
        peer=client[0] if client else "",
        scheme=scope["scheme"],
        read=body.read if has_body else no_body,
    )


class _Body:
    """The body of a request, as it comes."""

    __slots__ = ("_receive", "ended")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = False

    async def read(self) -> bytes:
        """Return the next part, nothing at the end; raise `Disconnected`."""
        while not self.ended:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Disconnected("the client went away")
            self.ended = not message.get("more_body", False)
            part: bytes = message.get("body", b"")
            if part:
                return part
        return b""


async def _send(response: Response, receive: Receive, send: Send, *, with_body: bool) -> None:
    body = response.body
    if isinstance(body, bytes):
        response.headers.setdefault("content-length", str(len(body)))
    headers = [(name.encode(), value.encode("latin-1")) for name, value in response.headers.items()]
    headers += [(b"set-cookie", value.encode("latin-1")) for value in response.cookies]
    start = {"type": "http.response.start", "status": response.status, "headers": headers}
    if isinstance(body, bytes):
        await send(start)
        await send({"type": "http.response.body", "body": body if with_body else b""})
        return
    try:
        await send(start)
        if with_body:
            await _send_parts(body, receive, send)
    finally:
        aclose = getattr(body, "aclose", None)
        if aclose is not None:
            with contextlib.suppress(Exception):
                await aclose()
    await send({"type": "http.response.body", "body": b""})


async def _send_parts(body: AsyncIterator[bytes], receive: Receive, send: Send) -> None:
    """Send a body part by part; if it breaks off, so does the connection.

    Raises:
        Disconnected: the client has gone. Not every server says so to who sends, and an answer
            that nobody reads would be made to its end.
    """
    gone = asyncio.create_task(_disconnect(receive))
    try:
        while (part := await _part_unless(gone, body)) is not None:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await send({"type": "http.response.body", "body": part, "more_body": True})
    finally:
        gone.cancel()


async def _part_unless(gone: "asyncio.Task[None]", body: AsyncIterator[bytes]) -> bytes | None:
    """Return the next part, None at the end; do not wait for it once the client has gone."""
    making = asyncio.ensure_future(anext(body, None))
    try:
        await asyncio.wait((making, gone), return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            raise Disconnected("the client went away")
        return await making
    finally:
        if not making.done():
            making.cancel()
            # Whoever makes the part gives back what it holds before this goes on.
            await asyncio.wait((making,))
        elif not making.cancelled():
            making.exception()  # Looked at: one that came as the client went is nobody's.


async def _disconnect(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def raise_open_files() -> None:
    """Let this process have `OPEN_FILES_MAX` files open, or as many as its hard limit allows.

    Many systems begin with 256 or 1,024, for programs that cannot count further; each connection
    is one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(OPEN_FILES_MAX, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # macOS promises more than it gives.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _live(receive: Receive, send: Send, upkeep: AbstractAsyncContextManager[None]) -> None:
    await receive()
    async with upkeep:
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})
