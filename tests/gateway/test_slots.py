"""A slot is taken for as long as somebody works, and no longer, however a request ends."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import pytest
from django.http import HttpResponse, StreamingHttpResponse
from pytest_django.fixtures import Settings

from platform_site.gateway import services
from platform_site.gateway.local import Parts, from_view
from platform_site.gateway.messages import Request, Response
from platform_site.gateway.pipeline import build_gateway, build_refusal
from platform_site.gateway.remote import Remote
from platform_site.gateway.server import asgi
from platform_site.gateway.services import Service
from platform_site.gateway.steps import admission, guard
from platform_site.gateway.steps.guard import Guard
from platform_site.gateway.threads import Threads
from resilience import (
    BreakerConfig,
    Bulkhead,
    BulkheadConfig,
    CircuitBreaker,
    FakeClock,
)
from tests.gateway import urls
from tests.gateway.chain import exchange, no_upkeep, scope

GATED = "/api/payments/gated"
WAIT_S = 20.0


@pytest.fixture(autouse=True)
def _generous(settings: Settings) -> None:
    """Far more requests than any test here makes."""
    settings.RATE_LIMIT_TIERS = {"default": (10_000, 900)}


class Held:
    """A view that works until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()
        urls.gate.pass_through = self._wait

    def _wait(self) -> None:
        self.begun.release()
        assert self.go.wait(timeout=WAIT_S)

    async def until_begun(self, count: int = 1) -> None:
        """Return when so many are being worked on."""
        for _ in range(count):
            assert await asyncio.to_thread(self.begun.acquire, timeout=WAIT_S)


@pytest.fixture
def held() -> Iterator[Held]:
    """A view under `GATED` that works until the end of the test at the latest."""
    view = Held()
    yield view
    view.go.set()


def payments(monkeypatch: pytest.MonkeyPatch, *, size: int = 1, queue_max: int = 0) -> Service:
    """Put a `payments` with so many slots, and a breaker on a clock that stands, in place."""
    service = Service(
        name="payments",
        url="",
        breaker=CircuitBreaker("payments", BreakerConfig(), clock=FakeClock()),
        bulkhead=Bulkhead("payments", BulkheadConfig(size=size, queue_max=queue_max)),
    )
    monkeypatch.setattr(services, "SERVICES", {**services.SERVICES, "payments": service})
    return service


def site() -> Callable[..., Any]:
    """Return the gateway with threads, as a web process has it."""
    handle = build_gateway(
        remote=Remote(), admission=Threads(8, name="admission"), work=Threads(130, name="work")
    )
    return asgi(handle, turn_away=build_refusal(), upkeep=no_upkeep())


def get(path: str, headers: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """Return what a server says of a request for `path`."""
    return scope(target=path, headers=[("Host", "testserver"), *headers])


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test in an event loop, and fail rather than hang."""

    async def bounded() -> None:
        async with asyncio.timeout(WAIT_S):
            await main()

    asyncio.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    """Return when `condition` holds."""
    while not condition():
        await asyncio.sleep(0.001)


def test_a_client_that_goes_away_leaves_its_slot_when_the_work_is_done(
    monkeypatch: pytest.MonkeyPatch, held: Held
) -> None:
    service = payments(monkeypatch)

    async def main() -> None:
        gateway = site()
        asking = asyncio.ensure_future(exchange(gateway, get(GATED)))
        await held.until_begun()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        # The thread works on, and what it works with must not be given to another.
        assert service.bulkhead.snapshot().active == 1
        held.go.set()
        await until(lambda: service.bulkhead.snapshot().active == 0)
        # It says nothing about the service that nobody waited.
        assert service.breaker.snapshot().calls == 0
        assert (await exchange(gateway, get(GATED))).status == 200

    run(main)


def test_a_client_that_goes_away_from_the_queue_leaves_its_place_to_the_next(
    monkeypatch: pytest.MonkeyPatch, held: Held
) -> None:
    service = payments(monkeypatch, queue_max=2)

    async def main() -> None:
        gateway = site()
        first, second, third = (
            asyncio.ensure_future(exchange(gateway, get(GATED))) for _ in range(3)
        )
        await held.until_begun()
        await until(lambda: service.bulkhead.snapshot().queued == 2)
        second.cancel()
        await until(lambda: service.bulkhead.snapshot().queued == 1)
        held.go.set()
        assert [(await each).status for each in (first, third)] == [200, 200]
        assert service.bulkhead.snapshot().active == 0
        assert service.breaker.snapshot().calls == 2

    run(main)


def test_a_request_given_up_keeps_its_slot_until_its_thread_is_done(
    monkeypatch: pytest.MonkeyPatch, held: Held
) -> None:
    service = payments(monkeypatch)
    monkeypatch.setattr(guard, "GRACE_S", 0.0)
    # So little time is all that this service has.
    monkeypatch.setattr(services, "TELLING_S", 0.0)

    async def main() -> None:
        headers = [("X-Request-Timeout-Ms", "100")]
        answer = await exchange(site(), get(GATED, headers))
        assert answer.status == 504
        await held.until_begun()
        assert service.bulkhead.snapshot().active == 1
        refused = await exchange(site(), get("/api/payments/echo"))
        assert refused.status == 503
        held.go.set()
        await until(lambda: service.bulkhead.snapshot().active == 0)
        # Once, as a failure, whatever the thread found in the end.
        assert service.breaker.snapshot().calls == 1
        assert service.breaker.snapshot().failure_rate == 1

    run(main)


def test_a_request_that_was_given_no_time_is_no_failure_however_long_its_view_works(
    monkeypatch: pytest.MonkeyPatch, held: Held
) -> None:
    service = payments(monkeypatch)
    # The grace alone is longer than what would say something about the service.
    monkeypatch.setattr(guard, "GRACE_S", 0.1)
    monkeypatch.setattr(services, "TELLING_S", 0.05)

    async def main() -> None:
        answer = await exchange(site(), get(GATED, [("X-Request-Timeout-Ms", "0")]))
        assert answer.status == 504
        held.go.set()
        await until(lambda: service.bulkhead.snapshot().active == 0)
        assert service.breaker.snapshot().calls == 0

    run(main)


class Counted:
    """A permit that counts what is reported to it."""

    def __init__(self) -> None:
        self.reports: list[str] = []

    def success(self, duration_s: float = 0.0) -> None:
        self.reports.append("success")

    def failure(self, duration_s: float = 0.0) -> None:
        self.reports.append("failure")

    def cancel(self) -> None:
        self.reports.append("cancel")


@pytest.mark.parametrize(
    ("path", "first"),
    [
        ("/api/payments/echo", "success"),
        ("/api/payments/fails/http404", "success"),
        ("/api/payments/fails/bug", "failure"),
        ("/api/payments/stream", "success"),
    ],
)
def test_each_permit_is_reported_to_first_with_what_became_of_its_request(
    monkeypatch: pytest.MonkeyPatch, path: str, first: str
) -> None:
    service = payments(monkeypatch)
    permit = Counted()
    monkeypatch.setattr(service.breaker, "acquire", lambda: permit)

    async def main() -> None:
        await exchange(site(), get(path))

    run(main)
    # One report, but for those behind the first, which do not count.
    assert permit.reports[0] == first
    assert permit.reports[1:] in ([], ["cancel"])


def test_a_request_that_finds_no_slot_gives_its_permit_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = payments(monkeypatch)
    permit = Counted()
    monkeypatch.setattr(service.breaker, "acquire", lambda: permit)

    async def main() -> None:
        async with service.bulkhead.slot_async():
            assert (await exchange(site(), get(GATED))).status == 503

    run(main)
    assert permit.reports == ["cancel"]


def test_no_thread_for_the_work_gives_slot_and_permit_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = payments(monkeypatch)

    class NoThreads(Threads):
        def start(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("can't start new thread")

    async def main() -> None:
        with pytest.raises(RuntimeError, match="new thread"):
            await Guard(NoThreads(1, name="none"), Remote())(
                Request(method="GET", raw_path="/api/payments/echo")
            )

    run(main)
    assert service.bulkhead.snapshot().active == 0
    assert service.breaker.snapshot().calls == 0


@pytest.mark.django_db(transaction=True)
def test_operations_are_answered_while_every_slot_of_every_service_is_taken() -> None:
    async def main() -> None:
        gateway = site()
        held_slots = [
            service.bulkhead.try_acquire()
            for service in (*services.SERVICES.values(), services.SITE)
            for _ in range(service.bulkhead.config.size)
        ]
        assert all(held_slots)
        try:
            for path in ("/health/live", "/health/ready"):
                assert b'"checks"' in (await exchange(gateway, get(path))).body
            assert (await exchange(gateway, get("/metrics"))).status == 200
        finally:
            for slot in held_slots:
                assert slot is not None
                slot.release()

    run(main)


def test_a_full_admission_refuses_and_forgets_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full = Bulkhead("admission", BulkheadConfig(size=1, queue_max=0))
    monkeypatch.setattr(admission, "BULKHEAD", full)

    async def main() -> None:
        gateway = site()
        headers = [("Authorization", "Bearer guess")]
        slot = full.try_acquire()
        assert slot is not None
        refused = await exchange(gateway, get("/api/payments/echo", headers))
        assert refused.status == 503
        assert refused["Retry-After"]
        assert b'"overloaded"' in refused.body
        slot.release()
        admitted = await exchange(gateway, get("/api/payments/echo", headers))
        assert admitted.status != 503
        assert full.snapshot().active == 0

    run(main)


class Watched:
    """The parts of a view's stream, and who closed them when."""

    def __init__(self, *parts: bytes, wait: Callable[[], None] = lambda: None) -> None:
        self._parts = list(parts)
        self._wait = wait
        self.is_working = False
        self.closed_by: list[str] = []

    def __iter__(self) -> "Watched":
        return self

    def __next__(self) -> bytes:
        self.is_working = True
        self._wait()
        self.is_working = False
        if not self._parts:
            raise StopIteration
        return self._parts.pop(0)

    def close(self) -> None:
        assert not self.is_working
        self.closed_by.append(threading.current_thread().name)


def stream_of(watched: Watched) -> Parts:
    """Return a view's stream as the gateway sends it."""
    body = from_view(StreamingHttpResponse(watched), Threads(2, name="stream")).body
    assert isinstance(body, Parts)
    return body


def test_a_stream_is_made_and_closed_in_threads_and_closed_once() -> None:
    watched = Watched(b"a", b"b")

    async def main() -> None:
        parts = stream_of(watched)
        assert [part async for part in parts] == [b"a", b"b"]
        await parts.aclose()

    run(main)
    (name,) = watched.closed_by
    assert name.startswith("stream-")


def test_a_stream_that_nobody_has_begun_to_read_is_closed_as_well() -> None:
    watched = Watched(b"a")

    async def main() -> None:
        await stream_of(watched).aclose()

    run(main)
    assert len(watched.closed_by) == 1


def test_a_stream_is_closed_only_when_its_thread_is_done_with_it() -> None:
    begun, go = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert go.wait(timeout=WAIT_S)

    watched = Watched(b"a", wait=wait)

    async def main() -> None:
        parts = stream_of(watched)
        reading = asyncio.ensure_future(anext(parts))
        await asyncio.to_thread(begun.wait, WAIT_S)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        closing = asyncio.ensure_future(parts.aclose())
        await asyncio.sleep(0.01)
        assert not closing.done()
        assert watched.closed_by == []
        go.set()
        await closing

    run(main)
    assert len(watched.closed_by) == 1


def test_a_whole_answer_of_a_view_is_the_gateway_s() -> None:
    async def main() -> None:
        response = HttpResponse(b"abc", status=201, headers={"X-A": "1"})
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        answer: Response = from_view(response, Threads(1, name="none"))
        assert (answer.status, answer.body, answer.headers["x-a"]) == (201, b"abc", "1")
        assert len(answer.cookies) == 2

    run(main)
