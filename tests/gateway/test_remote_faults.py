"""A remote service that is away, slow or mad costs its caller a clear answer, and nothing else."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from eventstore.errors import PlatformError
from platform_site.gateway import services
from platform_site.gateway.messages import Request
from platform_site.gateway.remote import ServiceUnreachable
from platform_site.gateway.steps.bodies import IncompleteBody
from resilience import BreakerState, DeadlineExceeded
from tests.conftest import free_port
from tests.gateway.stub import OK, Behave, hangs, resets, run, says, stub, way_to, whole

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
NO_ANSWERS = {
    "garbage": b"\x00\x01\x02 this is no HTTP\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "no status": b"HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
    "a length that is none": HEAD + b"Content-Length: 2x\r\n\r\nok",
    "a negative length": HEAD + b"Content-Length: -2\r\n\r\nok",
    "two framings": HEAD
    + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "no framing": HEAD + b"\r\nok",
    "a coding that nobody asked for": HEAD + b"Transfer-Encoding: gzip\r\n\r\nok",
    "a control character": HEAD + b"X-A: a\x01b\r\nContent-Length: 2\r\n\r\nok",
    "a bare line break": HEAD + b"X-A: a\rX-B: b\r\nContent-Length: 2\r\n\r\nok",
    "a huge field": HEAD + b"X-A: " + b"a" * 70_000 + b"\r\nContent-Length: 2\r\n\r\nok",
    "a thousand fields": HEAD + b"X-A: a\r\n" * 10_000 + b"Content-Length: 2\r\n\r\nok",
    "a change of the protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "a chunk that is none": CHUNKED + b"zz\r\nok\r\n0\r\n\r\n",
    "half a small answer": HEAD + b"Content-Length: 10\r\n\r\nhalf",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
}


@pytest.mark.parametrize("answer", NO_ANSWERS.values(), ids=list(NO_ANSWERS))
def test_what_is_no_answer_is_a_503_and_a_failure(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        behave = says(answer, then_closes=True)
        async with stub(behave) as remote, way_to(remote.url, monkeypatch) as way:
            with pytest.raises(ServiceUnreachable):
                await whole(await way.send(Request(method="POST", raw_path="/api/users/token")))
            assert (way.active, way.failures) == (0, (1, 1.0))
            assert len(remote.received) == 1

    run(test())


def test_a_service_that_nobody_runs_is_a_503_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with way_to(f"http://127.0.0.1:{free_port()}", monkeypatch) as way:
            async with asyncio.timeout(2):
                with pytest.raises(ServiceUnreachable) as caught:
                    await way.get()
            assert isinstance(caught.value, PlatformError)
            assert (caught.value.code, caught.value.retryable) == ("service_unavailable", True)
            assert (way.active, way.failures) == (0, (1, 1.0))

    run(test())


def test_a_service_that_hangs_is_given_up_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with stub(hangs) as remote, way_to(remote.url, monkeypatch) as way:
            with pytest.raises(DeadlineExceeded):
                await way.get(x_request_timeout_ms="1100")
            assert (way.active, way.failures) == (0, (1, 1.0))
            await asyncio.wait_for(remote.ended.wait(), 5)

    run(test())


def test_a_client_without_patience_does_not_make_a_service_look_ill(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        async with stub(hangs) as remote, way_to(remote.url, monkeypatch) as way:
            for _ in range(20):
                with pytest.raises(DeadlineExceeded):
                    await way.get(x_request_timeout_ms="5")
            assert (way.active, way.service.breaker.state) == (0, BreakerState.CLOSED)

    run(test())


def test_an_answer_whose_body_never_comes_is_given_up_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def head_then_hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        await hangs(reader, writer)

    async def test() -> None:
        async with stub(head_then_hangs) as remote, way_to(remote.url, monkeypatch) as way:
            with pytest.raises(DeadlineExceeded):
                await way.get(x_request_timeout_ms="100")
            assert way.active == 0
            await asyncio.wait_for(remote.ended.wait(), 5)

    run(test())


@pytest.mark.parametrize("status", [500, 502, 503])
def test_an_error_of_the_service_is_passed_on_and_counted(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        answer = b"HTTP/1.1 %d Bad\r\nContent-Length: 2\r\n\r\nno" % status
        async with stub(says(answer)) as remote, way_to(remote.url, monkeypatch) as way:
            response = await way.get()
            assert (response.status, response.body) == (status, b"no")
            assert (len(remote.received), way.failures) == (1, (1, 1.0))

    run(test())


def test_a_service_that_keeps_breaking_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with stub(resets) as remote, way_to(remote.url, monkeypatch) as way:
            for _ in range(way.service.breaker.config.calls_min):
                with pytest.raises(ServiceUnreachable):
                    await way.send(Request(method="POST", raw_path="/api/users/token"))
            assert way.service.breaker.state is BreakerState.OPEN
            asked = len(remote.received)
            with pytest.raises(Exception, match="unavailable"):
                await way.get()
            assert len(remote.received) == asked

    run(test())


BREAKS: dict[str, Behave] = {
    "resets": resets,
    "closes": says(b"", then_closes=True),
    "half": says(HEAD + b"Content-Length: 10\r\n\r\nhalf", then_closes=True),
}


@pytest.mark.parametrize("breaks", BREAKS.values(), ids=list(BREAKS))
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_a_safe_request_is_sent_again_when_its_connection_broke(
    method: str, breaks: Behave, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with stub(breaks, says(OK)) as remote, way_to(remote.url, monkeypatch) as way:
            response = await way.send(Request(method=method, raw_path="/api/users/me"))
            assert (response.status, response.body) == (200, b"ok")
            assert (len(remote.received), way.active, way.failures) == (2, 0, (1, 0.0))

    run(test())


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_what_changes_something_is_never_sent_twice(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        # The second request finds a connection that is kept, and loses it.
        async with stub(says(OK), resets) as remote, way_to(remote.url, monkeypatch) as way:
            await way.get()
            request = Request(method=method, raw_path="/api/users/token")
            request.body = b"{}"
            with pytest.raises(ServiceUnreachable):
                await way.send(request)
            assert len(remote.received) == 2

    run(test())


def test_what_was_never_sent_is_tried_again_whatever_it_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        port = free_port()
        async with way_to(f"http://127.0.0.1:{port}", monkeypatch) as way:
            sending = asyncio.create_task(
                way.send(Request(method="POST", raw_path="/api/users/token"))
            )
            # In the time between two attempts the process is back.
            while way.active == 0:
                await asyncio.sleep(0)
            async with stub(says(OK), port=port) as remote:
                response = await sending
                assert (response.status, len(remote.received)) == (200, 1)

    run(test())


def test_retries_stop_when_their_budget_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with stub(resets) as remote, way_to(remote.url, monkeypatch) as way:
            way.service.breaker.disable()

            async def fails() -> None:
                with pytest.raises(ServiceUnreachable):
                    await way.get()

            await asyncio.gather(*(fails() for _ in range(60)))
            # Two retries each would be 180; the budget holds ten, and a fifth of the calls more.
            assert 60 < len(remote.received) < 90

    run(test())


def test_a_second_answer_in_one_connection_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        poison = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        async with (
            stub(says(OK + poison), says(OK)) as remote,
            way_to(remote.url, monkeypatch) as way,
        ):
            assert [(await way.get()).body for _ in range(3)] == [b"ok"] * 3
            assert remote.connections == 2

    run(test())


def test_a_body_behind_an_answer_that_has_none_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        empty = b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        async with stub(says(empty), says(OK)) as remote, way_to(remote.url, monkeypatch) as way:
            assert [(await way.get()).status for _ in range(3)] == [204, 200, 200]
            assert (await way.get()).body == b"ok"

    run(test())


async def _ends_early() -> AsyncIterator[bytes]:
    yield b"more"
    raise IncompleteBody("The body ended early; send the request again.")


@pytest.mark.parametrize("framing", [{"content-length": "100"}, {"transfer-encoding": "chunked"}])
def test_a_client_that_stops_sending_is_told_so_and_its_request_is_not_completed(
    framing: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with stub(says(OK)) as remote, way_to(remote.url, monkeypatch) as way:
            request = Request(method="POST", raw_path="/api/users/token", headers=framing)
            request.body, request.rest = b"begin", _ends_early()
            with pytest.raises(IncompleteBody):
                await way.send(request)
            await asyncio.wait_for(remote.ended.wait(), 5)
            assert remote.received[0].body in {b"", b"begin", b"beginmore"}
            assert (way.active, way.failures) == (0, (0, 0.0))

    run(test())


def test_a_client_that_sends_its_body_slowly_does_not_make_a_service_look_ill(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def drips() -> AsyncIterator[bytes]:
        yield b"more"
        await asyncio.Event().wait()

    monkeypatch.setattr(services, "TELLING_S", 0.0)

    async def test() -> None:
        async with stub(says(OK)) as remote, way_to(remote.url, monkeypatch) as way:
            request = Request(
                method="POST",
                raw_path="/api/users/token",
                headers={"transfer-encoding": "chunked", "x-request-timeout-ms": "50"},
            )
            request.body, request.rest = b"begin", drips()
            with pytest.raises(DeadlineExceeded):
                await way.send(request)
            assert (way.active, way.failures) == (0, (0, 0.0))

    run(test())


def test_an_answer_before_the_end_of_the_body_is_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno"

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 1000
        await asyncio.Event().wait()

    async def test() -> None:
        refuses = says(refusal, then_closes=True)
        async with (
            stub(refuses, reads_bodies=False) as remote,
            way_to(remote.url, monkeypatch) as way,
        ):
            request = Request(
                method="POST",
                raw_path="/api/users/token",
                headers={"transfer-encoding": "chunked"},
            )
            request.body, request.rest = b"begin", endless()
            response = await way.send(request)
            assert (response.status, response.body, way.active) == (413, b"no", 0)

    run(test())


def test_a_request_that_is_cancelled_gives_its_slot_and_connection_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        async with stub(hangs) as remote, way_to(remote.url, monkeypatch) as way:
            sending = asyncio.create_task(way.get())
            while not remote.received:
                await asyncio.sleep(0)
            assert way.active == 1
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            assert (way.active, way.failures) == (0, (0, 0.0))
            await asyncio.wait_for(remote.ended.wait(), 5)

    run(test())
