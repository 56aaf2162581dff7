"""What comes from the network arrives whole, and what leaves ends as it should."""

import asyncio
import contextlib
import json
import resource
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from platform_site.gateway import server
from platform_site.gateway.messages import Handle, Request, Response
from platform_site.gateway.pipeline import build_refusal
from platform_site.gateway.server import Disconnected, asgi, raise_open_files
from tests.gateway.chain import Answer, Message, ask, exchange, no_upkeep, scope

WAIT_S = 20.0


def app(handle: Handle) -> Callable[..., Any]:
    """Return an application that answers by `handle`."""
    return asgi(handle, turn_away=build_refusal(), upkeep=no_upkeep())


def seen(
    *headers: tuple[str, str], method: str = "GET", target: str = "/", **more: Any
) -> tuple[Request, Answer]:
    """Return the request that the gateway sees, and what is answered to it."""
    requests: list[Request] = []

    async def handle(request: Request) -> Response:
        requests.append(request)
        return Response(status=200, body=b"body")

    answer = ask(app(handle), scope(method, target, headers=headers, **more))
    return requests[0], answer


class Parts:
    """The parts of a stream, and what became of it.

    Args:
        parts: given one by one; an exception is raised.
        given: called before each part.
    """

    def __init__(self, *parts: bytes | Exception, given: Callable[[], None] = lambda: None) -> None:
        self._parts = list(parts)
        self._given = given
        self.closed = 0
        self.asked = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        self._given()
        self.asked += 1
        await asyncio.sleep(0)
        if not self._parts:
            raise StopAsyncIteration
        part = self._parts.pop(0)
        if isinstance(part, Exception):
            raise part
        return part

    async def aclose(self) -> None:
        self.closed += 1


def streaming(parts: Parts) -> Callable[..., Any]:
    """Return an application that answers with these parts."""

    async def handle(_: Request) -> Response:
        return Response(status=200, body=parts)

    return app(handle)


class Client:
    """A client whose doings a test decides on: it stays until it is told to go."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.answer = Answer()
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        """Give the end of an empty body, then that the client went away."""
        if not self.sent:
            self.sent.append({"type": "http.request", "body": b"", "more_body": False})
            return self.sent[0]
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Note the message."""
        self.answer.note(message)


def test_a_request_arrives_as_it_was_sent() -> None:
    request, _ = seen(
        ("Host", "a"),
        ("X-Odd", "caf\xe9"),
        method="PATCH",
        target="/api/accounts/a%2Fb?x=%20&y=%zz",
        peer="192.0.2.7",
        scheme="https",
    )
    assert (request.method, request.raw_path) == ("PATCH", "/api/accounts/a%2Fb")
    assert (request.path, request.service) == ("/api/accounts/a/b", "accounts")
    assert request.query == "x=%20&y=%zz"
    assert (request.peer, request.scheme) == ("192.0.2.7", "https")
    assert request.headers == {"host": "a", "x-odd": "caf\xe9"}


def test_a_local_socket_has_no_address() -> None:
    given = scope()
    given["client"] = None
    peers: list[str] = []

    async def handle(request: Request) -> Response:
        peers.append(request.peer)
        return Response(status=200)

    ask(app(handle), given)
    assert peers == [""]


def test_fields_of_one_name_are_joined_cookies_by_semicolons() -> None:
    request, _ = seen(
        ("Accept", "a"), ("Cookie", "a=1"), ("accept", "b"), ("COOKIE", "b=2"), ("If-Match", '"1"')
    )
    assert request.headers == {"accept": "a, b", "cookie": "a=1; b=2", "if-match": '"1"'}


@pytest.mark.parametrize("name", ["X_Forwarded_For", "x_request-id", "Authorization_"])
def test_a_name_with_an_underscore_cannot_pass_for_another(name: str) -> None:
    request, _ = seen((name, "forged"), ("X-Request-Id", "mine"))
    assert request.headers == {"x-request-id": "mine"}


def test_a_whole_body_is_sent_with_its_length() -> None:
    _, answer = seen()
    assert (answer.status, answer.body, answer.is_complete) == (200, b"body", True)
    assert answer["Content-Length"] == "4"


def test_head_gets_the_headers_of_get_and_no_body() -> None:
    _, answer = seen(method="HEAD")
    assert (answer.body, answer.is_complete) == (b"", True)
    assert answer["Content-Length"] == "4"


def test_cookies_are_sent_one_by_one() -> None:
    async def handle(_: Request) -> Response:
        return Response(status=200, headers={"vary": "Cookie"}, cookies=["a=1; Path=/", "b=2"])

    answer = ask(app(handle), scope())
    assert [value for name, value in answer.headers if name == "set-cookie"] == [
        "a=1; Path=/",
        "b=2",
    ]


def test_the_parts_of_a_body_arrive_in_order_and_end() -> None:
    async def handle(request: Request) -> Response:
        parts = [await request.read() for _ in range(4)]
        return Response(status=200, body=b"|".join(parts))

    chunked = scope("POST", headers=[("Transfer-Encoding", "chunked")])
    assert ask(app(handle), chunked, [b"a", b"", b"bc"]).body == b"a|bc||"


def test_a_request_that_announces_no_body_has_none() -> None:
    async def handle(request: Request) -> Response:
        return Response(status=200, body=b"<" + await request.read() + b">")

    assert ask(app(handle), scope("POST"), [b"smuggled"]).body == b"<>"


def test_a_client_that_goes_away_within_its_body_is_noticed() -> None:
    met: list[Exception] = []

    async def handle(request: Request) -> Response:
        try:
            await request.read()
            await request.read()
        except Disconnected as error:
            met.append(error)
        return Response(status=400)

    async def main() -> None:
        messages: list[Message] = [
            {"type": "http.request", "body": b"a", "more_body": True},
            {"type": "http.disconnect"},
        ]

        async def receive() -> Message:
            return messages.pop(0)

        await app(handle)(scope("POST", headers=[("Content-Length", "9")]), receive, Client().send)

    asyncio.run(main())
    assert len(met) == 1


@pytest.mark.parametrize(("read", "closes"), [(0, True), (1, True), (3, False)])
def test_behind_a_body_that_was_not_read_no_other_request_can_come(read: int, closes: bool) -> None:
    async def handle(request: Request) -> Response:
        for _ in range(read):
            await request.read()
        return Response(status=200)

    answer = ask(app(handle), scope("POST", headers=[("Content-Length", "2")]), [b"a", b"b"])
    assert (("connection", "close") in answer.headers) is closes


def test_a_stream_is_sent_part_by_part_and_closed() -> None:
    parts = Parts(b"a", b"b", b"c")
    answer = ask(streaming(parts), scope())
    assert (answer.body, answer.is_complete, parts.closed) == (b"abc", True, 1)
    assert "content-length" not in dict(answer.headers)


def test_head_of_a_stream_asks_for_no_part_and_closes_it() -> None:
    parts = Parts(b"a")
    answer = ask(streaming(parts), scope("HEAD"))
    assert (answer.body, answer.is_complete) == (b"", True)
    assert (parts.asked, parts.closed) == (0, 1)


def test_a_stream_that_breaks_off_has_no_end_that_could_be_taken_for_one() -> None:
    parts = Parts(b"a", ValueError("no"), b"c")
    client = Answer()

    async def main() -> None:
        async def receive() -> Message:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            client.note(message)

        # A server breaks the connection off when its application fails.
        with pytest.raises(ValueError, match="no"):
            await streaming(parts)(scope(), receive, send)

    asyncio.run(main())
    assert (client.body, client.is_complete, parts.closed) == (b"a", False, 1)


def test_nothing_more_is_made_for_a_client_that_went_away() -> None:
    async def main() -> None:
        client = Client()
        parts = Parts(*[b"a"] * 1_000, given=client.gone.set)
        await streaming(parts)(scope(), client.receive, client.send)
        assert parts.asked < 10
        assert parts.closed == 1
        assert not client.answer.is_complete

    asyncio.run(main())


def test_a_part_that_does_not_come_is_not_waited_for_once_the_client_has_gone() -> None:
    class Silent(Parts):
        async def __anext__(self) -> bytes:
            client.gone.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.append(True)
            raise AssertionError

    client, cancelled = Client(), list[bool]()
    parts = Silent()

    async def main() -> None:
        async with asyncio.timeout(20):
            await streaming(parts)(scope(), client.receive, client.send)

    asyncio.run(main())
    assert (cancelled, parts.closed, client.answer.is_complete) == ([True], 1, False)


def test_a_client_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SEND_TIMEOUT_S", 0.0)
    parts = Parts(b"a", b"b")

    async def main() -> None:
        client = Client()

        async def send(message: Message) -> None:
            if message.get("body"):
                await asyncio.Event().wait()

        with pytest.raises(TimeoutError):
            await streaming(parts)(scope(), client.receive, send)

    asyncio.run(main())
    assert parts.closed == 1


def test_a_stream_is_closed_when_even_its_head_cannot_be_sent() -> None:
    parts = Parts(b"a")

    async def main() -> None:
        async def send(_: Message) -> None:
            raise OSError("gone")

        with pytest.raises(OSError, match="gone"):
            await streaming(parts)(scope(), Client().receive, send)

    asyncio.run(main())
    assert (parts.asked, parts.closed) == (0, 1)


def test_beyond_its_bound_a_process_turns_requests_away_without_reading_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "REQUESTS_MAX", 3)
    monkeypatch.setattr(server, "OPERATIONS_MAX", 1)

    async def main() -> None:
        go_on = asyncio.Event()

        async def handle(_: Request) -> Response:
            await go_on.wait()
            return Response(status=200)

        site = app(handle)
        working = [asyncio.ensure_future(exchange(site, scope())) for _ in range(3)]
        await asyncio.sleep(0)
        refused = await exchange(
            site, scope("POST", "/api/payments/x", headers=[("Content-Length", "5")]), [b"a", b"b"]
        )
        assert (refused.status, json.loads(refused.body)["code"]) == (503, "overloaded")
        assert (refused["Retry-After"], refused["Connection"]) == ("1", "close")
        assert refused["X-Request-Id"]
        assert refused["X-Content-Type-Options"] == "nosniff"
        looking = asyncio.ensure_future(exchange(site, scope(target="/health/ready")))
        await asyncio.sleep(0)
        assert not looking.done()
        assert (await exchange(site, scope(target="/metrics"))).status == 503
        go_on.set()
        assert [(await each).status for each in (*working, looking)] == [200] * 4
        assert (await exchange(site, scope())).status == 200

    asyncio.run(main())


def test_requests_that_are_cancelled_or_fail_leave_their_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "REQUESTS_MAX", 1)

    async def main() -> None:
        async def handle(request: Request) -> Response:
            if request.path == "/fails":
                raise ValueError("no")
            if request.path == "/waits":
                await asyncio.Event().wait()
            return Response(status=200)

        site = app(handle)
        waiting = asyncio.ensure_future(exchange(site, scope(target="/waits")))
        await asyncio.sleep(0)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        with pytest.raises(ValueError, match="no"):
            await exchange(site, scope(target="/fails"))
        assert (await exchange(site, scope())).status == 200

    asyncio.run(main())


def test_what_the_process_keeps_up_lives_as_long_as_it_serves() -> None:
    told: list[str] = []

    @contextlib.asynccontextmanager
    async def upkeep() -> AsyncIterator[None]:
        told.append("kept up")
        yield
        told.append("given back")

    async def handle(_: Request) -> Response:
        raise AssertionError

    async def main() -> None:
        messages: asyncio.Queue[Message] = asyncio.Queue()

        async def send(message: Message) -> None:
            told.append(message["type"])

        site = asgi(handle, turn_away=handle, upkeep=upkeep())
        living = asyncio.ensure_future(site({"type": "lifespan"}, messages.get, send))
        messages.put_nowait({"type": "lifespan.startup"})
        while len(told) < 2:
            await asyncio.sleep(0)
        assert told == ["kept up", "lifespan.startup.complete"]
        messages.put_nowait({"type": "lifespan.shutdown"})
        await living

    asyncio.run(main())
    assert told[2:] == ["given back", "lifespan.shutdown.complete"]


@pytest.mark.parametrize(
    ("limits", "raised"),
    [
        ((256, 4_096), (4_096, 4_096)),
        ((1_024, 1_000_000), (65_536, 1_000_000)),
        ((256, resource.RLIM_INFINITY), (65_536, resource.RLIM_INFINITY)),
        ((100_000, 1_000_000), None),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None),
    ],
)
def test_a_web_process_may_open_as_many_connections_as_the_system_allows(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], raised: tuple[int, int] | None
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: asked.append(wanted))
    raise_open_files()
    assert asked == ([raised] if raised else [])
