"""Bodies are bounded, each and all together, and read before a service is troubled."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client
from pytest_django.fixtures import Settings

from platform_site.gateway import services
from platform_site.gateway.messages import Request, Response
from platform_site.gateway.server import Disconnected
from platform_site.gateway.steps import bodies as step
from platform_site.gateway.steps.bodies import (
    BodyTooLarge,
    Held,
    IncompleteBody,
    SlowBody,
    TooManyBodies,
    bodies,
)
from tests.gateway.chain import Answer, ask, scope, site

ECHO = "/api/payments/echo"
LIMIT = django_settings.REQUEST_BODY_BYTES_MAX


class Body:
    """The body of a request as a server gives it, part by part, and what was taken of it.

    Args:
        parts: what comes; an exception is raised, and behind the last part nothing comes.
        ends: whether the end comes behind the last part, or the client stays silent.
        watch: called before each part.
    """

    def __init__(
        self,
        parts: Iterable[bytes | Exception],
        *,
        ends: bool = True,
        watch: Callable[[], None] = lambda: None,
    ) -> None:
        self._parts: Iterator[bytes | Exception] = iter(parts)
        self._ends = ends
        self._watch = watch
        self.taken = 0

    async def read(self) -> bytes:
        """Return the next part."""
        self._watch()
        part = next(self._parts, b"")
        if isinstance(part, Exception):
            raise part
        if not part and not self._ends:
            await asyncio.Event().wait()
        self.taken += len(part)
        return part


@pytest.fixture(autouse=True)
def _nothing_leaks() -> Iterator[None]:
    """However a request ends, what its body took is free again."""
    assert Held.of_all == 0
    yield
    assert Held.of_all == 0


@pytest.fixture
def remote(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process answers for `payments`."""
    settings.SERVICE_URLS = {**settings.SERVICE_URLS, "payments": "http://127.0.0.1:9"}
    monkeypatch.setattr(services, "SERVICES", services.build_services())


def request_with(body: Body, **headers: str) -> Request:
    """Return a request with this body; `content_length` is its header `Content-Length`."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(method="POST", raw_path=ECHO, headers=given, read=body.read)


def passed(
    request: Request, handle: Callable[[Request], Awaitable[Response]] | None = None
) -> Request:
    """Return the request as it leaves the step."""

    async def ok(_: Request) -> Response:
        return Response(status=200)

    asyncio.run(_as_coroutine(bodies(request, handle or ok)))
    return request


async def _as_coroutine(awaitable: Awaitable[Response]) -> Response:
    return await awaitable


def post(parts: Iterable[bytes], *, length: int | None, kind: str = "application/json") -> Answer:
    """Send a body in these parts, announcing `length` bytes; None: chunked."""
    announced = ("Transfer-Encoding", "chunked")
    if length is not None:
        announced = ("Content-Length", str(length))
    headers = [("Host", "testserver"), ("Content-Type", kind), announced]
    return ask(site(), scope("POST", ECHO, headers=headers), parts)


def told(answer: Answer) -> tuple[int, str]:
    """Return the status and the code of a problem."""
    return answer.status, json.loads(answer.body)["code"]


def json_of(size: int) -> bytes:
    """Return a JSON body of exactly `size` bytes."""
    return b'"' + b"a" * (size - 2) + b'"'


def test_a_body_announced_as_too_large_is_not_even_read() -> None:
    body = Body([json_of(LIMIT + 1)])
    with pytest.raises(BodyTooLarge):
        passed(request_with(body, content_length=str(LIMIT + 1)))
    assert body.taken == 0


@pytest.mark.parametrize("length", ["9" * 20, "9" * 5_000])
def test_no_announced_length_is_too_large_to_be_refused(length: str) -> None:
    with pytest.raises(BodyTooLarge):
        passed(request_with(Body([]), content_length=length))


def test_a_body_without_end_is_read_only_up_to_the_limit() -> None:
    body = Body(b"a" * 65_536 for _ in range(1_000))
    with pytest.raises(BodyTooLarge):
        passed(request_with(body, transfer_encoding="chunked"))
    assert LIMIT < body.taken <= LIMIT + 65_536


def test_a_body_that_is_too_large_is_told_so_and_its_connection_is_closed() -> None:
    answer = post([b"a" * LIMIT, b"a", b"a"], length=None)
    assert told(answer) == (413, "body_too_large")
    assert answer["Connection"] == "close"
    assert answer["X-RateLimit-Limit"]


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_of_exactly_the_limit_passes(chunked: bool) -> None:
    answer = post([json_of(LIMIT)], length=None if chunked else LIMIT)
    assert answer.status == 200
    assert len(json.loads(answer.body)["data"]) == LIMIT - 2


def test_a_body_in_parts_reaches_the_view_whole_and_keeps_its_connection() -> None:
    answer = post([b'{"a"', b": ", b"[1]}", b""], length=None)
    assert json.loads(answer.body) == {"data": {"a": [1]}}
    assert "connection" not in dict(answer.headers)


def test_an_empty_chunked_body_is_an_empty_body() -> None:
    assert json.loads(post([b""], length=None).body) == {"data": {}}


def test_a_body_shorter_than_announced_is_refused_rather_than_parsed() -> None:
    with pytest.raises(IncompleteBody):
        passed(request_with(Body([b'{"a": 1}']), content_length="100"))


def test_a_client_that_goes_away_is_no_bug() -> None:
    body = Body([b"{", Disconnected("reset")])
    with pytest.raises(IncompleteBody):
        passed(request_with(body, content_length="100"))


def test_a_body_that_does_not_come_is_given_up(settings: Settings) -> None:
    settings.REQUEST_BODY_TIMEOUT_S = 0
    with pytest.raises(SlowBody):
        passed(request_with(Body([b"{"], ends=False), content_length="100"))


def test_a_service_that_times_out_is_not_taken_for_a_slow_body() -> None:
    async def time_out(_: Request) -> Response:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        passed(request_with(Body([b"{}"]), content_length="2"), time_out)


def test_all_bodies_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "BYTES_MAX", 10)
    first = Held()
    first.take(8)
    with pytest.raises(TooManyBodies) as refused:
        passed(request_with(Body([b"abc"]), content_length="3"))
    assert refused.value.extra["retry_after_s"] == 1.0
    assert passed(request_with(Body([b"ab"]), content_length="2")).body == b"ab"
    first.give_back()
    assert passed(request_with(Body([b"abc"]), content_length="3")).body == b"abc"


def test_a_body_is_held_until_its_service_has_answered() -> None:
    async def look(_: Request) -> Response:
        assert Held.of_all == 3
        return Response(status=200)

    passed(request_with(Body([b"a", b"bc"]), content_length="3"), look)


def test_a_cancelled_request_gives_the_room_for_its_body_back() -> None:
    async def cancelled() -> None:
        request = request_with(Body([b"abc"], ends=False), content_length="100")
        waiting = asyncio.ensure_future(bodies(request, _never))
        while Held.of_all == 0:
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(cancelled())


async def _never(_: Request) -> Response:
    raise AssertionError("it was not to come as far as this")


def test_a_slow_body_holds_no_slot_of_its_service() -> None:
    payments = services.SERVICES["payments"].bulkhead
    active: list[int] = []
    body = Body([b"{", b"}"], watch=lambda: active.append(payments.snapshot().active))
    passed(request_with(body, transfer_encoding="chunked"))
    assert active == [0, 0, 0]


def test_a_body_that_is_too_large_is_refused_outside_of_the_api_too(client: Client) -> None:
    answer = client.post("/health", data=json_of(LIMIT + 1), content_type="application/json")
    assert answer.status_code == 413


@pytest.mark.usefixtures("remote")
def test_of_a_long_body_for_another_process_only_a_buffer_is_held() -> None:
    body = Body([b"a" * step.BUFFER_BYTES, b"b", b"c", b"d"])

    async def look(request: Request) -> Response:
        assert body.taken == step.BUFFER_BYTES + 1
        assert request.body == b"a" * step.BUFFER_BYTES + b"b"
        assert request.rest is not None
        assert [part async for part in request.rest] == [b"c", b"d"]
        assert Held.of_all == step.BUFFER_BYTES + 1
        return Response(status=200)

    passed(request_with(body, content_length=str(step.BUFFER_BYTES + 3)), look)


@pytest.mark.usefixtures("remote")
def test_a_short_body_for_another_process_is_held_whole() -> None:
    request = passed(request_with(Body([b"ab"]), content_length="2"))
    assert (request.body, request.rest) == (b"ab", None)


@pytest.mark.usefixtures("remote")
@pytest.mark.parametrize(
    ("end", "length", "error"),
    [
        ([Disconnected("reset")], None, IncompleteBody),
        ([b"b"], step.BUFFER_BYTES + 100, IncompleteBody),
        ([b"b" * LIMIT], None, BodyTooLarge),
    ],
)
def test_what_is_wrong_with_the_rest_of_a_body_is_told_to_whoever_reads_it(
    end: list[Any], length: int | None, error: type[Exception]
) -> None:
    headers = (
        {"transfer_encoding": "chunked"} if length is None else {"content_length": str(length)}
    )
    request = request_with(Body([b"a" * (step.BUFFER_BYTES + 1), *end]), **headers)
    with pytest.raises(error):
        passed(request, _read_on)


@pytest.mark.usefixtures("remote")
def test_the_rest_of_a_body_has_to_come_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "REST_TIMEOUT_S", 0.0)
    body = Body([b"a" * (step.BUFFER_BYTES + 1)], ends=False)
    with pytest.raises(SlowBody):
        passed(request_with(body, transfer_encoding="chunked"), _read_on)


async def _read_on(request: Request) -> Response:
    rest: AsyncIterator[bytes] | None = request.rest
    assert rest is not None
    async for _ in rest:
        pass
    return Response(status=200)


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed_json"),
        (b"{}", "text/plain", 415, "unsupported_media_type"),
        (b"a=1", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"{}", "application/json; charset=latin-1", 415, "unsupported_media_type"),
        (b"{}", "", 415, "unsupported_media_type"),
    ],
)
def test_what_is_not_json_is_refused(
    client: Client, body: bytes, content_type: str, status: int, code: str
) -> None:
    answer = client.generic("POST", ECHO, body, content_type=content_type)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
def test_no_body_is_an_empty_object_whatever_type_it_claims(
    client: Client, content_type: str
) -> None:
    assert client.generic("POST", ECHO, b"", content_type=content_type).json() == {"data": {}}


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf8"'])
def test_json_that_says_it_is_utf_8_is_read(client: Client, charset: str) -> None:
    kind = f"application/json; charset={charset}"
    assert client.generic("POST", ECHO, b"[1]", content_type=kind).json() == {"data": [1]}
