"""What the bulkhead does with calls, one fact at a time; threads and coroutines in one pool."""

import asyncio
import functools
import sys
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from resilience import Bulkhead, BulkheadConfig, BulkheadFull, Deadline, Slot
from tests.resilience.tools import Recorder, eventually

BOUND_S = 30.0


def bulkhead_of(size: int, *, queue_max: int = 100, recorder: Recorder | None = None) -> Bulkhead:
    return Bulkhead(
        "ledger",
        BulkheadConfig(size=size, queue_max=queue_max),
        listeners=[recorder] if recorder else [],
    )


def is_empty(bulkhead: Bulkhead) -> bool:
    snapshot = bulkhead.snapshot()
    return (snapshot.active, snapshot.queued) == (0, 0)


def has_queued(bulkhead: Bulkhead, count: int) -> bool:
    return bulkhead.snapshot().queued == count


def test_a_snapshot_says_how_full_it_is() -> None:
    bulkhead = bulkhead_of(4)
    with bulkhead.slot(), bulkhead.slot(), bulkhead.slot():
        snapshot = bulkhead.snapshot()
    assert (snapshot.name, snapshot.size) == ("ledger", 4)
    assert (snapshot.active, snapshot.queued, snapshot.utilization) == (3, 0, 0.75)
    assert bulkhead.snapshot().utilization == 0.0


def test_a_slot_is_given_back_when_the_block_raises() -> None:
    bulkhead = bulkhead_of(1)
    with pytest.raises(OSError, match="down"), bulkhead.slot():
        raise OSError("down")
    assert is_empty(bulkhead)


def test_without_a_time_to_wait_a_taken_pool_refuses_at_once() -> None:
    recorder = Recorder()
    bulkhead = bulkhead_of(1, recorder=recorder)
    with bulkhead.slot():
        with pytest.raises(BulkheadFull) as refusal, bulkhead.slot(timeout_s=0):
            pass
        assert refusal.value.name == "ledger"
        assert refusal.value.retry_after_s == 1.0
    assert recorder.rejections == [("ledger", "queue_full")]
    assert is_empty(bulkhead)


def test_a_thread_waits_no_longer_than_its_time_out() -> None:
    recorder = Recorder()
    bulkhead = bulkhead_of(1, recorder=recorder)
    with bulkhead.slot():
        with pytest.raises(BulkheadFull), bulkhead.slot(timeout_s=0.01):
            pass
        assert bulkhead.snapshot().queued == 0
    assert recorder.rejections == [("ledger", "queue_timeout")]
    assert is_empty(bulkhead)


def test_a_coroutine_waits_no_longer_than_its_time_out() -> None:
    bulkhead = bulkhead_of(1)

    async def main() -> None:
        async with bulkhead.slot_async():
            with pytest.raises(BulkheadFull):
                await bulkhead.acquire_async(timeout_s=0.01)
            assert bulkhead.snapshot().queued == 0

    asyncio.run(main())
    assert is_empty(bulkhead)


def test_a_waiter_waits_no_longer_than_its_deadline_leaves() -> None:
    bulkhead = bulkhead_of(1)
    with bulkhead.slot(), Deadline.after(0.01).scope():
        with pytest.raises(BulkheadFull):
            bulkhead.acquire(timeout_s=BOUND_S)
        with pytest.raises(BulkheadFull):
            bulkhead.acquire()
    assert is_empty(bulkhead)


def test_the_queue_has_an_end() -> None:
    bulkhead = bulkhead_of(1, queue_max=2)

    async def main() -> None:
        holder = bulkhead.acquire()
        waiting = [asyncio.create_task(bulkhead.acquire_async()) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(BulkheadFull):
            bulkhead.acquire()
        with pytest.raises(BulkheadFull):
            await bulkhead.acquire_async()
        holder.release()
        for task in waiting:
            (await task).release()

    asyncio.run(main())
    assert is_empty(bulkhead)


def test_threads_and_coroutines_are_served_in_the_order_they_came() -> None:
    bulkhead = bulkhead_of(1)
    served: list[int] = []
    holder = bulkhead.acquire()

    def in_a_thread(number: int) -> None:
        with bulkhead.slot(timeout_s=BOUND_S):
            served.append(number)

    async def in_a_loop(number: int) -> None:
        async with bulkhead.slot_async(timeout_s=BOUND_S):
            served.append(number)

    async def main() -> None:
        with ThreadPoolExecutor(4) as pool:
            waiting: list[asyncio.Future[None]] = []
            for number in range(8):
                if number % 2:
                    waiting.append(asyncio.create_task(in_a_loop(number)))
                    await asyncio.sleep(0)
                else:
                    waiting.append(
                        asyncio.get_running_loop().run_in_executor(pool, in_a_thread, number)
                    )
                eventually(functools.partial(has_queued, bulkhead, number + 1))
            holder.release()
            await asyncio.gather(*waiting)

    asyncio.run(main())
    assert served == list(range(8))
    assert is_empty(bulkhead)


def test_a_newcomer_does_not_overtake_those_who_wait() -> None:
    bulkhead = bulkhead_of(1)

    async def main() -> None:
        holder = bulkhead.acquire()
        first = asyncio.create_task(bulkhead.acquire_async())
        await asyncio.sleep(0)
        holder.release()
        # The slot is the first waiter's already, although it has not run yet.
        with pytest.raises(BulkheadFull):
            bulkhead.acquire(timeout_s=0)
        (await first).release()

    asyncio.run(main())
    assert is_empty(bulkhead)


def test_a_released_slot_is_free_once_however_often_it_is_released() -> None:
    bulkhead = bulkhead_of(2)
    with bulkhead.slot():
        slot = bulkhead.acquire()
        slot.release()
        slot.release()
        assert bulkhead.snapshot().active == 1


def test_a_slot_outlives_the_block_that_took_it_until_it_is_released() -> None:
    bulkhead = bulkhead_of(1)

    def begin_stream() -> Slot:
        return bulkhead.acquire()

    slot = begin_stream()
    assert bulkhead.snapshot().active == 1
    slot.release()
    assert is_empty(bulkhead)


def test_who_only_tries_takes_a_free_slot_or_goes_away_at_once() -> None:
    recorder = Recorder()
    bulkhead = bulkhead_of(1, recorder=recorder)
    slot = bulkhead.try_acquire()
    assert slot is not None
    assert bulkhead.snapshot().active == 1
    assert bulkhead.try_acquire() is None
    slot.release()
    assert is_empty(bulkhead)
    assert recorder.rejections == []


def test_threads_that_release_one_slot_at_once_free_it_once() -> None:
    bulkhead = bulkhead_of(2)
    together = threading.Barrier(4)

    def release(slot: Slot) -> None:
        together.wait(BOUND_S)
        slot.release()

    with bulkhead.slot(), ThreadPoolExecutor(4) as pool:
        for _ in range(200):
            slot = bulkhead.acquire()
            list(pool.map(release, [slot] * 4))
            assert bulkhead.snapshot().active == 1


def test_calls_and_decorated_functions_take_a_slot() -> None:
    bulkhead = bulkhead_of(1)

    @bulkhead
    def in_a_thread() -> int:
        return bulkhead.snapshot().active

    @bulkhead
    async def in_a_loop() -> int:
        return bulkhead.snapshot().active

    async def active() -> int:
        return bulkhead.snapshot().active

    assert in_a_thread() == 1
    assert asyncio.run(in_a_loop()) == 1
    assert bulkhead.call(lambda: bulkhead.snapshot().active) == 1
    assert asyncio.run(bulkhead.async_call(active)) == 1
    assert is_empty(bulkhead)


# The moment at which a slot is handed over


def test_a_waiter_cancelled_as_it_is_handed_the_slot_passes_it_on() -> None:
    bulkhead = bulkhead_of(1)

    async def main() -> None:
        holder = bulkhead.acquire()
        first = asyncio.create_task(bulkhead.acquire_async())
        second = asyncio.create_task(bulkhead.acquire_async())
        await asyncio.sleep(0)
        holder.release()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        (await second).release()

    asyncio.run(main())
    assert is_empty(bulkhead)


def test_a_waiter_cancelled_in_the_queue_leaves_it() -> None:
    bulkhead = bulkhead_of(1)

    async def main() -> None:
        holder = bulkhead.acquire()
        waiting = [asyncio.create_task(bulkhead.acquire_async()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        await asyncio.sleep(0)
        assert bulkhead.snapshot().queued == 2
        holder.release()
        (await waiting[0]).release()
        (await waiting[2]).release()
        assert waiting[1].cancelled()

    asyncio.run(main())
    assert is_empty(bulkhead)


def test_a_slot_that_becomes_free_as_a_caller_turns_to_the_queue_is_taken_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bulkhead = bulkhead_of(1)
    lock = bulkhead._lock
    waits_s: list[float | None] = []

    class Lock:
        """Frees the slot when the caller has seen it taken, and looks again under the lock."""

        def __enter__(self) -> None:
            holder.release()
            lock.acquire()

        def __exit__(self, *_: object) -> None:
            lock.release()

    def waited(_event: threading.Event, timeout_s: float | None = None) -> bool:
        waits_s.append(timeout_s)
        return False

    monkeypatch.setattr(bulkhead, "_lock", Lock())
    monkeypatch.setattr(threading.Event, "wait", waited)
    holder = bulkhead.acquire()
    bulkhead.acquire(timeout_s=BOUND_S).release()
    assert waits_s == [0.0]
    holder = bulkhead.acquire()

    async def main() -> None:
        (await bulkhead.acquire_async(timeout_s=0.0)).release()

    asyncio.run(main())
    assert is_empty(bulkhead)


def test_a_slot_that_becomes_free_just_before_a_caller_queues_up_is_the_callers() -> None:
    bulkhead = bulkhead_of(1)
    holder = bulkhead.acquire()

    class Queue(deque[Any]):
        """Frees the slot when the caller has seen it taken, and is about to queue up."""

        def append(self, waiter: object) -> None:
            holder.release()
            super().append(waiter)

    bulkhead._queue = Queue()
    bulkhead.acquire(timeout_s=0.01).release()
    assert is_empty(bulkhead)
    holder = bulkhead.acquire()

    async def main() -> None:
        (await bulkhead.acquire_async(timeout_s=0.01)).release()

    asyncio.run(main())
    assert is_empty(bulkhead)


def test_a_waiter_whose_time_is_up_as_it_is_handed_the_slot_keeps_it() -> None:
    bulkhead = bulkhead_of(1)

    async def main() -> None:
        holder = bulkhead.acquire()
        waiter = asyncio.create_task(bulkhead.acquire_async(timeout_s=0.001))
        await asyncio.sleep(0)
        # The loop does not turn here: the timer is due, and the slot is handed over, at once.
        ends_s = time.monotonic() + 0.005
        eventually(lambda: time.monotonic() > ends_s)
        holder.release()
        assert bulkhead.snapshot().active == 1
        (await waiter).release()

    asyncio.run(main())
    assert is_empty(bulkhead)


def test_a_waiter_of_a_closed_event_loop_is_passed_over() -> None:
    bulkhead = bulkhead_of(1)
    holder = bulkhead.acquire()
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # It complains about the lost task.
    waiter = loop.create_task(bulkhead.acquire_async(timeout_s=BOUND_S))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert bulkhead.snapshot().queued == 1
    with ThreadPoolExecutor(1) as pool:
        live = pool.submit(bulkhead.acquire, timeout_s=BOUND_S)
        eventually(lambda: bulkhead.snapshot().queued == 2)
        holder.release()
        live.result(timeout=BOUND_S).release()
    assert is_empty(bulkhead)
    del waiter
    assert is_empty(bulkhead)


def test_any_number_of_waiters_of_a_closed_event_loop_is_passed_over() -> None:
    count = 2 * sys.getrecursionlimit()
    bulkhead = bulkhead_of(1, queue_max=count)
    holder = bulkhead.acquire()
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)
    waiters = [loop.create_task(bulkhead.acquire_async()) for _ in range(count)]
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert bulkhead.snapshot().queued == count
    holder.release()
    assert is_empty(bulkhead)
    del waiters
    assert is_empty(bulkhead)


@pytest.mark.parametrize("closed", ["while it is being woken", "later"])
def test_a_waiter_that_can_never_run_again_gives_its_slot_back_once(
    monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    bulkhead = bulkhead_of(1)
    holder = bulkhead.acquire()
    waiter = bulkhead.acquire_async(timeout_s=BOUND_S)

    async def begin_to_wait() -> None:
        waiter.send(None)

    def lost(_wake: object) -> None:
        if closed == "while it is being woken":
            waiter.close()
        raise RuntimeError("Event loop is closed")

    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin_to_wait())
    monkeypatch.setattr(loop, "call_soon_threadsafe", lost)
    holder.release()
    waiter.close()
    loop.close()
    assert is_empty(bulkhead)


def test_an_interrupted_thread_leaves_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    bulkhead = bulkhead_of(1)

    def interrupted(_event: threading.Event, _timeout_s: float | None = None) -> bool:
        raise KeyboardInterrupt

    with bulkhead.slot():
        monkeypatch.setattr(threading.Event, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bulkhead.acquire()
        assert bulkhead.snapshot().queued == 0
    assert is_empty(bulkhead)
