"""Another process, as a test wants it to behave: it speaks plain bytes over a real socket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import pytest

from platform_site.gateway import services
from platform_site.gateway.messages import Request, Response
from platform_site.gateway.remote import Remote
from platform_site.gateway.services import Service, build_service
from platform_site.gateway.steps.guard import Guard
from tests.gateway.chain import Here

T = TypeVar("T")

WAIT_S = 10.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(slots=True)
class Received:
    """One request as it came."""

    head: bytes
    body: bytes = b""
    is_whole: bool = False

    @property
    def line(self) -> str:
        """The request line."""
        return self.head.split(b"\r\n", 1)[0].decode()

    @property
    def fields(self) -> list[tuple[str, str]]:
        """The header fields, one a line, names in lower case."""
        lines = self.head.rstrip(b"\r\n").split(b"\r\n")[1:]
        pairs = (line.decode().split(": ", 1) for line in lines)
        return [(name.lower(), value) for name, value in pairs]

    def field(self, name: str) -> str | None:
        """The only field of this name, if there is one."""
        values = [value for each, value in self.fields if each == name]
        assert len(values) <= 1
        return values[0] if values else None


Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Stub:
    """What listens, and what it has received.

    Args:
        behave: what it does with each request after it has read it, in turn; the last for ever.
        reads_bodies: whether it reads more than the head of a request.
    """

    behave: list[Behave]
    reads_bodies: bool = True
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    serving: set[asyncio.Task[None]] = field(default_factory=set)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests."""
        self.connections += 1
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self.serving.add(task)
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                received = Received(head)
                self.received.append(received)
                if self.reads_bodies:
                    await _read_body(reader, received)
                turn = min(len(self.received), len(self.behave)) - 1
                await self.behave[turn](reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.ended.set()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            self.serving.discard(task)

    async def stop(self) -> None:
        """End all connections."""
        await asyncio.sleep(0)  # One that was just accepted begins.
        for task in list(self.serving):
            task.cancel()
        await asyncio.gather(*self.serving, return_exceptions=True)


def says(answer: bytes, *, then_closes: bool = False) -> Behave:
    """Answer with these bytes."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        if then_closes:
            writer.close()

    return behave


async def hangs(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Say nothing for as long as the connection lives."""
    await reader.read()


async def resets(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End the connection without a goodbye."""
    transport: Any = writer.transport
    transport.abort()


@contextlib.asynccontextmanager
async def stub(*behave: Behave, port: int = 0, reads_bodies: bool = True) -> AsyncIterator[Stub]:
    """Run another process that behaves like this."""
    made = Stub(list(behave), reads_bodies)
    server = await asyncio.start_server(made.serve, "127.0.0.1", port)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        await made.stop()


@dataclass(slots=True)
class Way:
    """The way from the gateway to a remote service."""

    service: Service
    remote: Remote

    async def send(self, request: Request) -> Response:
        """Pass a request through breaker and bulkhead to the other process."""
        async with asyncio.timeout(WAIT_S):
            return await Guard(Here(), self.remote)(request)

    async def get(self, path: str = "/api/users/me", **headers: str) -> Response:
        """Pass a GET on."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.send(Request(method="GET", raw_path=path, headers=named))

    @property
    def active(self) -> int:
        """How many slots are taken."""
        return self.service.bulkhead.snapshot().active

    @property
    def failures(self) -> tuple[int, float]:
        """How many calls the breaker has counted, and which part of them failed."""
        snapshot = self.service.breaker.snapshot()
        return snapshot.calls, snapshot.failure_rate


@contextlib.asynccontextmanager
async def way_to(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Way]:
    """Make `users` a remote service at `url`."""
    service = build_service("users", url=url)
    monkeypatch.setattr(services, "SERVICES", {**services.SERVICES, "users": service})
    remote = Remote()
    try:
        yield Way(service, remote)
    finally:
        await remote.close()


async def whole(response: Response) -> bytes:
    """Return the body of an answer, its stream read to the end."""
    if isinstance(response.body, bytes):
        return response.body
    return b"".join([part async for part in response.body])


def run(test: Coroutine[Any, Any, T]) -> T:
    """Run a test's coroutine in an event loop of its own."""
    with asyncio.Runner() as runner:
        return runner.run(test)


async def _read_body(reader: asyncio.StreamReader, received: Received) -> None:
    length = received.field("content-length")
    coding = received.field("transfer-encoding")
    assert length is None or coding is None, "two framings"
    if length is not None:
        received.body = await reader.readexactly(int(length))
    elif coding == "chunked":
        while size := int(await reader.readuntil(b"\r\n"), 16):
            received.body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    received.is_whole = True
