"""One pool under many threads and an event loop at once, with time-outs and cancellations."""

import asyncio
import random
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from resilience import Bulkhead, BulkheadConfig, BulkheadFull

BOUND_S = 60.0


@pytest.fixture(autouse=True)
def threads_that_take_turns_all_the_time() -> Iterator[None]:
    """Have the interpreter change threads as often as it can, between any two steps."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before_s)


class Inside:
    """Counts who is inside at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0
        self.entered = 0

    def enter(self) -> None:
        with self._lock:
            self._now += 1
            self.entered += 1
            self.most = max(self.most, self._now)

    def leave(self) -> None:
        with self._lock:
            self._now -= 1


def work_in_threads(bulkhead: Bulkhead, inside: Inside, seed: int) -> int:
    """Try to enter 150 times with time-outs of up to 2 ms; return how often it was refused."""
    chance = random.Random(seed)
    pause = threading.Event()
    refused = 0
    for _ in range(150):
        try:
            with bulkhead.slot(timeout_s=chance.uniform(0.0, 0.002)):
                inside.enter()
                pause.wait(chance.uniform(0.0, 0.001))
                inside.leave()
        except BulkheadFull:
            refused += 1
    return refused


async def work_in_a_loop(bulkhead: Bulkhead, inside: Inside, seed: int) -> tuple[int, int]:
    """Start 600 coroutines, cancel a third of them at some moment; return refused, cancelled."""
    chance = random.Random(seed)

    async def enter() -> None:
        async with bulkhead.slot_async(timeout_s=chance.uniform(0.0, 0.003)):
            inside.enter()
            try:
                await asyncio.sleep(chance.uniform(0.0, 0.001))
            finally:
                inside.leave()

    async def run_one() -> BaseException | None:
        task = asyncio.create_task(enter())
        if chance.random() < 0.33:
            await asyncio.sleep(chance.uniform(0.0, 0.003))
            task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        return result

    results: list[BaseException | None] = []
    for _ in range(20):
        results += await asyncio.gather(*(run_one() for _ in range(30)))
    unexpected = [
        result
        for result in results
        if result is not None and not isinstance(result, BulkheadFull | asyncio.CancelledError)
    ]
    assert unexpected == []
    return (
        sum(isinstance(result, BulkheadFull) for result in results),
        sum(isinstance(result, asyncio.CancelledError) for result in results),
    )


@pytest.mark.parametrize("size", [1, 3])
def test_races_of_threads_and_coroutines_never_exceed_the_size_and_leak_nothing(size: int) -> None:
    bulkhead = Bulkhead("ledger", BulkheadConfig(size=size, queue_max=20))
    inside = Inside()
    with ThreadPoolExecutor(7) as pool:
        threads = [pool.submit(work_in_threads, bulkhead, inside, seed) for seed in range(6)]
        loop = pool.submit(asyncio.run, work_in_a_loop(bulkhead, inside, 6))
        refused = sum(thread.result(timeout=BOUND_S) for thread in threads)
        refused_in_loop, cancelled = loop.result(timeout=BOUND_S)
    assert inside.most == size
    # Every attempt either entered, or was refused, or was cancelled (perhaps inside).
    attempts = 6 * 150 + 600
    outside = refused + refused_in_loop
    assert attempts - outside - cancelled <= inside.entered <= attempts - outside
    snapshot = bulkhead.snapshot()
    assert (snapshot.active, snapshot.queued) == (0, 0)
    # All slots can still be had at once.
    slots = [bulkhead.acquire(timeout_s=0) for _ in range(size)]
    assert bulkhead.snapshot().active == size
    for slot in slots:
        slot.release()


def test_two_event_loops_and_threads_share_one_queue() -> None:
    bulkhead = Bulkhead("ledger", BulkheadConfig(size=2, queue_max=1000))
    inside = Inside()

    async def many() -> None:
        async def one() -> None:
            async with bulkhead.slot_async(timeout_s=BOUND_S):
                inside.enter()
                await asyncio.sleep(0)
                inside.leave()

        await asyncio.gather(*(one() for _ in range(200)))

    def thread() -> None:
        for _ in range(200):
            with bulkhead.slot(timeout_s=BOUND_S):
                inside.enter()
                inside.leave()

    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(asyncio.run, many()) for _ in range(2)]
        work += [pool.submit(thread) for _ in range(2)]
        for each in work:
            each.result(timeout=BOUND_S)
    assert inside.entered == 800
    assert inside.most <= 2
    assert bulkhead.snapshot().active == 0
