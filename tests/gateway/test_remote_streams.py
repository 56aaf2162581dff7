"""Answers of remote services that are passed on as they come, to clients of every kind."""

import asyncio

import pytest

from platform_site.gateway import streams
from platform_site.gateway.messages import Response
from platform_site.gateway.remote import ServiceUnreachable
from platform_site.gateway.streams import BrokenOff, Stream
from tests.gateway.stub import OK, Behave, Way, run, says, stub, way_to, whole

PART = b"x" * 1000
CHUNK = b"3e8\r\n" + PART + b"\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def _stream(response: Response) -> Stream:
    assert isinstance(response.body, Stream)
    return response.body


class Slowly:
    """A remote service that sends its answer when the test says so."""

    def __init__(self) -> None:
        self.goes_on = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + CHUNK)
        await self.goes_on.wait()
        writer.write(CHUNK + b"0\r\n\r\n")


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send an answer without end."""
    writer.write(HEAD)
    while True:
        writer.write(CHUNK * 100)
        await writer.drain()


async def _is_free(way: Way) -> None:
    async with asyncio.timeout(5):
        while way.active:
            await asyncio.sleep(0.001)


def test_the_slot_is_held_until_the_last_byte_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        slowly = Slowly()
        async with stub(slowly) as remote, way_to(remote.url, monkeypatch) as way:
            response = await way.get()
            parts = aiter(_stream(response))
            assert await anext(parts) == PART
            assert (way.active, way.failures) == (1, (0, 0.0))
            slowly.goes_on.set()
            assert b"".join([part async for part in parts]) == PART
            assert (way.active, way.failures) == (0, (1, 0.0))

    run(test())


def test_the_slot_is_given_back_while_the_last_parts_are_still_being_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        answer = HEAD + CHUNK * 100 + b"0\r\n\r\n"
        async with stub(says(answer)) as remote, way_to(remote.url, monkeypatch) as way:
            parts = aiter(_stream(await way.get()))
            length = 0
            while way.active:
                length += len(await anext(parts))
            assert way.failures == (1, 0.0)
            assert length + sum([len(part) async for part in parts]) == 100_000

    run(test())


BREAKS: dict[str, Behave] = {
    "in a chunk": says(HEAD + CHUNK + CHUNK[:500], then_closes=True),
    "between chunks": says(HEAD + CHUNK, then_closes=True),
    "before the last line": says(HEAD + CHUNK + b"0\r\n", then_closes=True),
    "before its length": says(
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + PART, then_closes=True
    ),
    "with a chunk that is none": says(HEAD + CHUNK + b"zz\r\n\r\n"),
}


@pytest.mark.parametrize("breaks", BREAKS.values(), ids=list(BREAKS))
def test_an_answer_that_breaks_off_never_looks_complete_and_is_a_failure(
    breaks: Behave, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with stub(breaks) as remote, way_to(remote.url, monkeypatch) as way:
            with pytest.raises((BrokenOff, ServiceUnreachable)):
                await whole(await way.get())
            assert (way.active, way.failures) == (0, (1, 1.0))

    run(test())


def test_an_answer_that_stops_coming_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform_site.gateway.streams.READ_TIMEOUT_S", 0.05)

    async def test() -> None:
        async with stub(Slowly()) as remote, way_to(remote.url, monkeypatch) as way:
            with pytest.raises(BrokenOff):
                await whole(await way.get())
            assert (way.active, way.failures) == (0, (1, 1.0))

    run(test())


@pytest.mark.parametrize("parts_read", [0, 1, 3])
def test_a_client_that_goes_away_gives_slot_and_connection_back(
    parts_read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with stub(endless) as remote, way_to(remote.url, monkeypatch) as way:
            body = _stream(await way.get())
            for _ in range(parts_read):
                await anext(body)
            await body.aclose()
            await body.aclose()
            assert (way.active, way.failures) == (0, (0, 0.0))
            await asyncio.wait_for(remote.ended.wait(), 5)

    run(test())


def test_a_client_that_goes_away_while_the_service_is_slow_gives_the_slot_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        async with stub(Slowly()) as remote, way_to(remote.url, monkeypatch) as way:
            body = _stream(await way.get())
            await anext(body)
            reading = asyncio.ensure_future(anext(body))
            await asyncio.sleep(0)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            assert (way.active, way.failures) == (0, (0, 0.0))

    run(test())


def test_a_client_that_reads_slowly_keeps_no_slot_and_gets_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "CLIENT_PATIENCE_S", 0.02)

    async def test() -> None:
        slowly = Slowly()
        async with stub(slowly, says(OK)) as remote, way_to(remote.url, monkeypatch) as way:
            body = _stream(await way.get())
            await anext(body)
            await _is_free(way)
            assert way.failures == (1, 0.0)
            slowly.goes_on.set()
            assert b"".join([part async for part in body]) == PART
            assert (way.active, way.failures) == (0, (1, 0.0))
            assert (await way.get()).body == b"ok"

    run(test())


def test_the_time_that_a_client_takes_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "CLIENT_PATIENCE_S", 0.2)

    async def test() -> None:
        async with stub(endless) as remote, way_to(remote.url, monkeypatch) as way:
            body = _stream(await way.get())
            pauses = 0
            async with asyncio.timeout(5):
                while way.active:
                    await anext(body)
                    await asyncio.sleep(0.01)
                    pauses += 1
            assert pauses > 1
            await body.aclose()

    run(test())


def test_only_so_many_answers_may_wait_for_slow_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "CLIENT_PATIENCE_S", 0.02)
    monkeypatch.setattr(streams, "SLOW_STREAMS_MAX", 2)

    async def test() -> None:
        async with stub(endless) as remote, way_to(remote.url, monkeypatch) as way:
            bodies = [_stream(await way.get()) for _ in range(2)]
            await _is_free(way)
            bodies.append(_stream(await way.get()))
            await _is_free(way)
            await anext(bodies[0])
            await anext(bodies[1])
            with pytest.raises(BrokenOff):
                await asyncio.wait_for(whole(Response(status=200, body=bodies[2])), 5)
            await bodies[0].aclose()
            # One has made room for another.
            bodies.append(_stream(await way.get()))
            await _is_free(way)
            await anext(bodies[3])
            for body in bodies:
                await body.aclose()

    run(test())


def test_little_of_an_answer_is_held_for_a_slow_client(monkeypatch: pytest.MonkeyPatch) -> None:
    written = 0

    async def counts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(HEAD)
        while True:
            writer.write(CHUNK * 100)
            await writer.drain()
            written += 100_000

    async def test() -> None:
        async with stub(counts) as remote, way_to(remote.url, monkeypatch) as way:
            body = _stream(await way.get())
            seen = -1
            while seen != written:
                seen = written
                await asyncio.sleep(0.1)
            # Sockets hold some megabytes, the process far less.
            origin = body._origin
            assert sum(map(len, origin.content._buffer)) < 1024 * 1024
            assert written < 32 * 1024 * 1024
            await body.aclose()

    run(test())
