"""The circuit breaker under real threads and coroutines."""

import asyncio
import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from resilience import BreakerConfig, BreakerOpen, BreakerState, CircuitBreaker, FakeClock
from tests.resilience.tools import Recorder, eventually

BOUND_S = 30.0


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Let threads take turns as often as the interpreter can, so that races show."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before_s)


def half_open(clock: FakeClock, *, recorder: Recorder) -> CircuitBreaker:
    """Return a breaker that lets the next call through as its probe."""
    breaker = CircuitBreaker("ledger", clock=clock, listeners=[recorder])
    for _ in range(10):
        breaker.acquire().failure()
    clock.advance(30)
    return breaker


def test_forty_calls_on_twenty_threads_run_beside_each_other() -> None:
    breaker = CircuitBreaker("ledger")
    # Nobody passes the barrier before twenty are inside the guarded call at once.
    inside = threading.Barrier(20)
    with ThreadPoolExecutor(20) as pool:
        calls = [pool.submit(breaker.call, inside.wait, BOUND_S) for _ in range(40)]
        assert len([call.result(timeout=BOUND_S) for call in calls]) == 40
    assert breaker.snapshot().calls == 40


def test_exactly_one_of_fifty_concurrent_threads_is_the_probe() -> None:
    recorder = Recorder()
    breaker = half_open(FakeClock(), recorder=recorder)
    start = threading.Barrier(50)
    done = threading.Event()
    entered: list[int] = []

    def probe(number: int) -> bool:
        def guarded() -> None:
            entered.append(number)
            assert done.wait(BOUND_S)

        start.wait(BOUND_S)
        try:
            breaker.call(guarded)
        except BreakerOpen:
            return False
        return True

    with ThreadPoolExecutor(50) as pool:
        calls = [pool.submit(probe, number) for number in range(50)]
        eventually(lambda: sum(call.done() for call in calls) == 49)
        done.set()
        passed = [call.result(timeout=BOUND_S) for call in calls]
    assert passed.count(True) == 1
    assert len(entered) == 1
    assert breaker.state is BreakerState.CLOSED
    assert len(recorder.rejections) == 49


def test_exactly_one_of_fifty_concurrent_coroutines_is_the_probe() -> None:
    breaker = half_open(FakeClock(), recorder=Recorder())

    async def main() -> None:
        done = asyncio.Event()
        calls = [asyncio.create_task(breaker.async_call(done.wait)) for _ in range(50)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sum(call.done() for call in calls) == 49
        done.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [result for result in results if not isinstance(result, BreakerOpen)] == [True]

    asyncio.run(main())
    assert breaker.state is BreakerState.CLOSED


def test_no_result_is_lost_or_counted_twice_under_threads() -> None:
    breaker = CircuitBreaker(
        "ledger", BreakerConfig(calls_min=100_000), clock=FakeClock()
    )  # Never opens.

    def work(failed: bool) -> None:
        for _ in range(500):
            permit = breaker.acquire()
            if failed:
                permit.failure()
            permit.success()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [True, False] * 4))
    snapshot = breaker.snapshot()
    assert (snapshot.calls, snapshot.failure_rate) == (4000, 0.5)


def test_one_permit_reported_by_many_threads_counts_once() -> None:
    breaker = CircuitBreaker("ledger")
    permit = breaker.acquire()
    start = threading.Barrier(8)

    def report() -> None:
        start.wait(BOUND_S)
        permit.success()

    with ThreadPoolExecutor(8) as pool:
        for call in [pool.submit(report) for _ in range(8)]:
            call.result(timeout=BOUND_S)
    assert breaker.snapshot().calls == 1


def test_a_breaker_that_trips_under_threads_tells_of_it_once() -> None:
    recorder = Recorder()
    breaker = CircuitBreaker("ledger", clock=FakeClock(), listeners=[recorder])
    permits = [breaker.acquire() for _ in range(64)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda permit: permit.failure(), permits))
    assert breaker.state is BreakerState.OPEN
    assert recorder.transitions == [("ledger", BreakerState.CLOSED, BreakerState.OPEN)]
    with pytest.raises(BreakerOpen):
        breaker.acquire()


@pytest.mark.usefixtures("eager_switching")
def test_calls_of_threads_and_of_several_event_loops_are_all_counted() -> None:
    clock = FakeClock()
    breaker = CircuitBreaker("ledger", BreakerConfig(calls_min=100_000), clock=clock)
    start = threading.Barrier(8)

    @breaker
    def answer(failed: bool) -> None:
        if failed:
            raise OSError("down")

    async def answer_later(failed: bool) -> None:
        await asyncio.sleep(0)
        if failed:
            raise OSError("down")

    async def many_at_once() -> None:
        calls = [breaker.async_call(answer_later, number % 10 == 0) for number in range(1000)]
        await asyncio.gather(*calls, return_exceptions=True)

    def in_a_loop() -> None:
        start.wait(BOUND_S)
        asyncio.run(many_at_once())

    def in_a_thread() -> None:
        start.wait(BOUND_S)
        for number in range(1000):
            try:
                answer(number % 10 == 0)
            except OSError:
                clock.advance(0.001)  # So that buckets change under way.

    with ThreadPoolExecutor(8) as pool:
        works = [pool.submit(work) for work in [in_a_loop, in_a_thread] * 4]
        for work in works:
            work.result(timeout=BOUND_S)
    snapshot = breaker.snapshot()
    assert (snapshot.calls, snapshot.failure_rate) == (8000, 0.1)


@pytest.mark.usefixtures("eager_switching")
def test_whatever_the_order_ten_calls_of_which_half_fail_open_it() -> None:
    """Who counts a good call last must see the bad ones, and the other way round."""
    with ThreadPoolExecutor(10) as pool:
        for _ in range(100):
            breaker = CircuitBreaker("ledger", clock=FakeClock())
            inside = threading.Barrier(10)

            def work(failed: bool, guarded: CircuitBreaker, inside: threading.Barrier) -> None:
                def answer() -> None:
                    inside.wait(BOUND_S)
                    if failed:
                        raise OSError("down")

                with contextlib.suppress(OSError):
                    guarded.call(answer)

            calls = [pool.submit(work, number < 5, breaker, inside) for number in range(10)]
            for call in calls:
                call.result(timeout=BOUND_S)
            assert breaker.state is BreakerState.OPEN
            assert breaker.snapshot().failure_rate == 0.5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_child_forked_while_the_breaker_was_busy_can_use_it() -> None:
    breaker = CircuitBreaker("ledger")
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with breaker._lock:
            held.set()
            assert done.wait(BOUND_S)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        assert held.wait(BOUND_S)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Forking beside threads.
            child = os.fork()
        if child == 0:
            locked = breaker._lock.acquire(timeout=BOUND_S)
            os._exit(0 if locked else 1)
        done.set()
        holding.result(timeout=BOUND_S)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
