"""The gateway as an ASGI application: what any server of that interface can run.

Source: ASGI specification 3.0, HTTP and lifespan protocols.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from platform_site.gateway.messages import Handle, Request, Response, joined, no_body

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
# How long a client may take to accept one part of a streamed answer.
SEND_TIMEOUT_S = 60.0


class Disconnected(ConnectionError):
    """The client went away before it had sent the whole body."""


def asgi(handle: Handle, *, upkeep: AbstractAsyncContextManager[None]) -> Callable[..., Any]:
    """Return the ASGI application that answers by `handle`.

    Args:
        handle: answers a request; it raises nothing.
        upkeep: entered when the server starts, left when it stops.
    """

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            response = await handle(_request(scope, receive))
            await _send(response, send, with_body=scope["method"] != "HEAD")
        elif scope["type"] == "lifespan":
            await _live(receive, send, upkeep)

    return application


def _request(scope: Scope, receive: Receive) -> Request:
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
        read=_reader(receive) if has_body else no_body,
    )


def _reader(receive: Receive) -> Callable[[], Awaitable[bytes]]:
    """Return what gives the parts of the body; it raises `Disconnected`."""
    ended = False

    async def read() -> bytes:
        nonlocal ended
        while not ended:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected("the client went away")
            ended = not message.get("more_body", False)
            part: bytes = message.get("body", b"")
            if part:
                return part
        return b""

    return read


async def _send(response: Response, send: Send, *, with_body: bool) -> None:
    body = response.body
    if isinstance(body, bytes):
        response.headers.setdefault("content-length", str(len(body)))
    headers = [(name.encode(), value.encode("latin-1")) for name, value in response.headers.items()]
    headers += [(b"set-cookie", value.encode("latin-1")) for value in response.cookies]
    start = {"type": "http.response.start", "status": response.status, "headers": headers}
    await send(start)
    if isinstance(body, bytes):
        await send({"type": "http.response.body", "body": body if with_body else b""})
    else:
        await _send_parts(body, send, with_body=with_body)


async def _send_parts(body: AsyncIterator[bytes], send: Send, *, with_body: bool) -> None:
    """Send a body part by part; if it breaks off, so does the connection."""
    try:
        if with_body:
            async for part in body:
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
    finally:
        aclose = getattr(body, "aclose", None)
        if aclose is not None:
            with contextlib.suppress(Exception):
                await aclose()
    await send({"type": "http.response.body", "body": b""})


async def _live(receive: Receive, send: Send, upkeep: AbstractAsyncContextManager[None]) -> None:
    await receive()
    async with upkeep:
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})
