"""What a remote service and its client see of each other's messages."""

from collections.abc import AsyncIterator

import pytest

from platform_site.gateway.exchange import BadTarget
from platform_site.gateway.messages import Request
from platform_site.gateway.services import REQUEST_TIMEOUT_S
from tests.gateway.stub import OK, Stub, run, says, stub, way_to, whole

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def passed_on(request: Request, monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Pass one request on, and return what has received it."""
    async with stub(says(OK)) as remote, way_to(remote.url, monkeypatch) as way:
        response = await way.send(request)
        assert (response.status, response.body) == (200, b"ok")
        return remote


@pytest.mark.parametrize(
    "target",
    [
        "/api/users/a%2Fb",
        "/api/users/%2e%2e/x;y=1",
        "/api/users//double///slashes/",
        "/api/users/../accounts",
        "/api/users/%E2%82%ac",
        "/api/users/x?a=%2F&b=+&c;d&e=%zz&&=",
        "/api/users/x?q=a?b/c",
        "/%61pi/users/me",
    ],
)
def test_path_and_query_arrive_byte_for_byte(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _, query = target.partition("?")
    request = Request(method="GET", raw_path=path, query=query)
    remote = run(passed_on(request, monkeypatch))
    assert remote.received[0].line == f"GET {target} HTTP/1.1"


def test_bytes_that_should_have_been_encoded_are(monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(method="GET", raw_path="/api/users/\xc3\xa9", query="q=\xc3\xa9")
    remote = run(passed_on(request, monkeypatch))
    assert remote.received[0].line == "GET /api/users/%C3%A9?q=%C3%A9 HTTP/1.1"


def test_what_concerns_one_connection_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {
        "host": "pay.example",
        "connection": "close, X-Mine, Host, X-Forwarded-For, Authorization",
        "x-mine": "1",
        "x-forwarded-for": "192.0.2.1",
        "authorization": "Bearer abc",
        "keep-alive": "timeout=5",
        "proxy-authorization": "Basic eA==",
        "proxy-connection": "keep-alive",
        "te": "trailers",
        "trailer": "Expires",
        "transfer-encoding": "chunked",
        "upgrade": "websocket",
        "expect": "100-continue",
        "content-length": "99",
        "accept": "application/json",
    }
    remote = run(
        passed_on(Request(method="GET", raw_path="/api/users/me", headers=headers), monkeypatch)
    )
    ours = {"x-request-id", "x-request-timeout-ms", "x-evenkeel-gateway"}
    assert {name for name, _ in remote.received[0].fields} - ours == {
        "host",
        "x-forwarded-for",
        "authorization",
        "accept",
    }
    assert remote.received[0].field("host") == "pay.example"


def test_names_of_the_request_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(
        method="GET",
        raw_path="/api/users/me",
        headers={"x-request-timeout-ms": "4000", "traceparent": "nonsense", "x-name": "\xc3\xa9"},
    )
    request.request_id, request.traceparent = "abc", PARENT
    received = run(passed_on(request, monkeypatch)).received[0]
    assert received.field("x-request-id") == "abc"
    assert received.field("traceparent") == PARENT
    assert 3000 < int(received.field("x-request-timeout-ms") or "") <= 4000
    assert received.field("x-name") == "é"


def test_a_trace_that_is_none_is_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(method="GET", raw_path="/api/users/me", headers={"traceparent": "nonsense"})
    received = run(passed_on(request, monkeypatch)).received[0]
    assert received.field("traceparent") is None
    assert int(received.field("x-request-timeout-ms") or "") > (REQUEST_TIMEOUT_S - 1) * 1000


async def _parts(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.mark.parametrize(
    ("method", "headers", "body", "rest", "framing"),
    [
        ("GET", {}, b"", None, (None, None)),
        ("POST", {"content-length": "0"}, b"", None, ("0", None)),
        ("POST", {"content-length": "3"}, b"abc", None, ("3", None)),
        ("POST", {"transfer-encoding": "chunked"}, b"abc", None, ("3", None)),
        ("PATCH", {"content-length": "6"}, b"abc", [b"de", b"f"], ("6", None)),
        ("POST", {"transfer-encoding": "chunked"}, b"abc", [b"de", b"f"], (None, "chunked")),
    ],
)
def test_a_body_arrives_whole_and_in_one_framing(
    method: str,
    headers: dict[str, str],
    body: bytes,
    rest: list[bytes] | None,
    framing: tuple[str | None, str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        request = Request(method=method, raw_path="/api/users/me", headers=headers)
        request.body = body
        request.rest = None if rest is None else _parts(*rest)
        received = (await passed_on(request, monkeypatch)).received[0]
        assert received.body == body + b"".join(rest or [])
        assert (received.field("content-length"), received.field("transfer-encoding")) == framing

    run(test())


async def answered(
    answer: bytes, monkeypatch: pytest.MonkeyPatch, *, method: str = "GET"
) -> tuple[int, dict[str, str], list[str], bytes]:
    """Return what becomes of an answer: its status, fields, cookies and body."""
    async with stub(says(answer)) as remote, way_to(remote.url, monkeypatch) as way:
        response = await way.send(Request(method=method, raw_path="/api/users/me"))
        body = await whole(response)
        assert way.active == 0
        return response.status, response.headers, response.cookies, body


def test_an_answer_comes_back_without_what_concerned_one_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = (
        b"HTTP/1.1 404 Nothing Here\r\nConnection: keep-alive, X-Theirs\r\nX-Theirs: 1\r\n"
        b"Keep-Alive: timeout=5\r\nTrailer: X\r\nUpgrade: h2c\r\nProxy-Authenticate: Basic\r\n"
        b"Set-Cookie: a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT\r\nSet-Cookie: b=2\r\n"
        b"Vary: Accept\r\nVary: Origin\r\nContent-Encoding: br\r\nX-Text: caf\xc3\xa9\r\n"
        b"Content-Length: 5\r\n\r\nhello"
    )
    status, headers, cookies, body = run(answered(answer, monkeypatch))
    assert (status, body) == (404, b"hello")
    assert headers == {
        "vary": "Accept, Origin",
        "content-encoding": "br",
        "x-text": "caf\xc3\xa9",
        "content-length": "5",
    }
    assert cookies == ["a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2"]


def test_a_field_over_two_lines_comes_back_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = b"HTTP/1.1 200 OK\r\nX-A: a\r\n b\r\nContent-Length: 2\r\n\r\nok"
    assert run(answered(answer, monkeypatch))[1]["x-a"] == "a b"


def test_a_redirect_is_the_clients_to_follow_and_no_cookie_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = (
        b"HTTP/1.1 302 Found\r\nLocation: /api/users/other\r\nSet-Cookie: secret=1\r\n"
        b"Content-Length: 0\r\n\r\n"
    )

    async def test() -> None:
        async with stub(says(answer)) as remote, way_to(remote.url, monkeypatch) as way:
            for _ in range(2):
                response = await way.get()
                assert (response.status, response.headers["location"]) == (302, "/api/users/other")
            assert len(remote.received) == 2
            assert remote.received[1].field("cookie") is None
            assert remote.connections == 1

    run(test())


@pytest.mark.parametrize(
    ("method", "answer", "expected"),
    [
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", (204, None)),
        (
            "GET",
            b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nContent-Length: 70\r\n\r\n',
            (304, "70"),
        ),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\n", (200, "70")),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", (200, None)),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", (200, "0")),
    ],
)
def test_an_answer_without_a_body_needs_no_more_than_its_head(
    method: str,
    answer: bytes,
    expected: tuple[int, str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    status, headers, _, body = run(answered(answer, monkeypatch, method=method))
    assert (status, headers.get("content-length"), body) == (*expected, b"")


@pytest.mark.parametrize(
    "before",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n",
    ],
)
def test_what_comes_before_an_answer_is_not_the_answer(
    before: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, headers, _, body = run(answered(before + OK, monkeypatch))
    assert (status, headers, body) == (200, {"content-length": "2"}, b"ok")


@pytest.mark.parametrize("size", [64 * 1024, 64 * 1024 + 1, 1024 * 1024])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_an_answer_of_any_length_comes_back_whole(
    size: int, is_chunked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    if is_chunked:
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer += b"%x\r\n%b\r\n0\r\n\r\n" % (len(sent), sent)
    else:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(sent), sent)
    _, headers, _, body = run(answered(answer, monkeypatch))
    assert body == sent
    assert headers.get("content-length") == (None if is_chunked else str(size))


def test_connections_are_kept_and_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with stub(says(OK)) as remote, way_to(remote.url, monkeypatch) as way:
            for _ in range(5):
                await way.get()
            assert (len(remote.received), remote.connections) == (5, 1)
            await way.remote.close()
            await remote.ended.wait()

    run(test())


def test_a_path_cannot_lead_to_another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with stub(says(OK)) as remote, way_to(remote.url, monkeypatch) as way:
            with pytest.raises(BadTarget):
                await way.get("%2Fapi/users/me")
            assert (remote.connections, way.active, way.failures) == (0, 0, (0, 0))

    run(test())
