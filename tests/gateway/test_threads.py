"""Threads are few, warm, and lose no job."""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from platform_site.gateway import threads as module
from platform_site.gateway.threads import Threads

WAIT_S = 20.0
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle threads do not outlive the tests for long."""
    monkeypatch.setattr(module, "IDLE_TIMEOUT_S", 5.0)


class Door:
    """What a job waits at, in its thread."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.waiting = threading.Semaphore(0)

    def pass_through(self, name: str = "") -> str:
        """Wait until the door is open; return `name`."""
        self.waiting.release()
        assert self.open.wait(timeout=WAIT_S)
        return name


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test in an event loop, and fail rather than hang."""

    async def bounded() -> None:
        async with asyncio.timeout(WAIT_S):
            await main()

    asyncio.run(bounded())


def test_the_thread_that_worked_last_works_next() -> None:
    pool, door = Threads(5, name="t"), Door()

    async def main() -> None:
        together = [pool.start(door.pass_through) for _ in range(3)]
        door.open.set()
        await asyncio.gather(*together)
        while pool.snapshot()["busy"]:
            await asyncio.sleep(0)
        last = await pool.run(threading.get_ident)
        for _ in range(20):
            while pool.snapshot()["busy"]:
                await asyncio.sleep(0)
            assert await pool.run(threading.get_ident) == last

    run(main)


def test_there_are_never_more_threads_than_allowed() -> None:
    pool, door = Threads(2, name="t"), Door()
    begun: list[int] = []

    def job(number: int) -> str:
        begun.append(number)
        return threading.current_thread().name

    async def main() -> None:
        holding = [pool.start(door.pass_through) for _ in range(2)]
        later = [pool.start(job, number) for number in range(50)]
        assert pool.snapshot() == {"size_max": 2, "size": 2, "busy": 2, "waiting": 50}
        assert begun == []
        door.open.set()
        names = set(await asyncio.gather(*later))
        await asyncio.gather(*holding)
        assert names <= {"t-1", "t-2"}
        assert pool.snapshot()["size"] == 2

    run(main)
    assert sorted(begun) == list(range(50))


def test_jobs_that_wait_are_begun_in_order() -> None:
    pool, door = Threads(1, name="t"), Door()
    begun: list[int] = []

    async def main() -> None:
        holding = pool.start(door.pass_through)
        later = [pool.start(begun.append, number) for number in range(50)]
        door.open.set()
        await asyncio.gather(holding, *later)

    run(main)
    assert begun == list(range(50))


def test_an_idle_thread_ends_and_closes_what_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_TIMEOUT_S", 0.001)
    ended: list[int] = []
    pool = Threads(3, name="t", at_end=lambda: ended.append(threading.get_ident()))

    async def main() -> None:
        worked = await pool.run(threading.get_ident)
        while pool.snapshot()["size"] or not ended:
            await asyncio.sleep(0)
        assert ended == [worked]
        assert await pool.run(lambda: "again") == "again"

    run(main)


class TooLate(SimpleQueue):  # type: ignore[type-arg]
    """A queue whose reader gives up waiting at the very moment at which something comes."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next job, but none to who waits for a limited time."""
        if timeout is None:
            return super().get(block)
        ends_s = time.monotonic() + timeout
        while self.empty() and time.monotonic() < ends_s:
            time.sleep(0)
        raise Empty


def test_a_job_given_to_a_thread_that_is_about_to_end_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SimpleQueue", TooLate)
    monkeypatch.setattr(module, "IDLE_TIMEOUT_S", 1.0)
    pool = Threads(1, name="t")

    async def main() -> None:
        for number in range(50):
            assert await pool.run(int, number) == number

    run(main)


def test_threads_that_end_at_once_lose_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_TIMEOUT_S", 0.0)
    pool = Threads(3, name="t")

    async def main() -> None:
        for number in range(1_000):
            assert await pool.run(int, number) == number
        assert sum(await asyncio.gather(*(pool.run(int, 1) for _ in range(1_000)))) == 1_000

    run(main)


def test_a_waiter_that_is_cancelled_leaves_a_thread_that_works_on() -> None:
    pool, door = Threads(1, name="t"), Door()
    done: list[str] = []

    def job() -> None:
        done.append(door.pass_through("done"))

    async def main() -> None:
        waiting = asyncio.ensure_future(pool.run(job))
        await asyncio.to_thread(door.waiting.acquire, timeout=WAIT_S)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        assert waiting.cancelled()
        assert done == []
        door.open.set()
        assert await pool.run(lambda: "next") == "next"
        assert done == ["done"]

    run(main)


def test_a_job_outlives_the_loop_that_began_it() -> None:
    pool, door = Threads(1, name="t"), Door()

    async def begin() -> None:
        pool.start(door.pass_through)

    async def other() -> None:
        assert await pool.run(lambda: "next") == "next"

    asyncio.run(begin())
    door.open.set()
    run(other)


def test_a_job_sees_the_variables_of_who_gave_it_and_changes_them_for_itself_alone() -> None:
    pool = Threads(1, name="t")

    def change() -> str:
        before = variable.get()
        variable.set("changed")
        return before

    async def main() -> None:
        variable.set("mine")
        assert await pool.run(change) == "mine"
        assert variable.get() == "mine"
        assert await pool.run(variable.get) == "mine"

    run(main)


@pytest.mark.parametrize("error", [ValueError("no"), KeyError("k"), TimeoutError("slow")])
def test_an_exception_comes_to_who_waits(error: Exception) -> None:
    pool = Threads(1, name="t")

    def job() -> None:
        raise error

    async def main() -> None:
        with pytest.raises(type(error)) as raised:
            await pool.run(job)
        assert raised.value is error
        assert await pool.run(lambda: "next") == "next"

    run(main)


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), StopIteration(), asyncio.CancelledError()]
)
def test_what_would_end_a_loop_or_a_task_is_an_error_like_others(error: BaseException) -> None:
    pool = Threads(1, name="t")

    def job() -> None:
        raise error

    async def main() -> None:
        with pytest.raises(RuntimeError) as raised:
            await pool.run(job)
        assert raised.value.__cause__ is error
        assert await pool.run(lambda: "next") == "next"

    run(main)


def test_a_thread_that_the_system_refuses_is_told_and_leaves_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = Threads(1, name="t")

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="new thread"):
                pool.start(lambda: None)
        assert pool.snapshot()["size"] == 0
        assert await pool.run(lambda: "now") == "now"

    run(main)


def test_as_long_as_jobs_are_done_in_time_two_threads_do_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WAKE_AFTER_S", 3_600.0)
    pool, door = Threads(10, name="t"), Door()

    async def main() -> None:
        jobs = [pool.start(door.pass_through, str(number)) for number in range(6)]
        for _ in range(2):
            assert door.waiting.acquire(timeout=WAIT_S)
        assert pool.snapshot() == {"size_max": 10, "size": 2, "busy": 2, "waiting": 4}
        door.open.set()
        assert await asyncio.gather(*jobs) == ["0", "1", "2", "3", "4", "5"]
        assert pool.snapshot()["size"] == 2

    run(main)


def test_jobs_that_wait_for_something_get_a_thread_each() -> None:
    pool, everybody = Threads(10, name="t"), threading.Barrier(10)

    async def main() -> None:
        jobs = [pool.start(everybody.wait, WAIT_S) for _ in range(10)]
        assert sorted(await asyncio.gather(*jobs)) == list(range(10))

    run(main)


def test_another_loop_looks_after_jobs_when_the_first_has_ended() -> None:
    pool, door, together = Threads(10, name="t"), Door(), threading.Barrier(2)

    async def leave_jobs_behind() -> None:
        for _ in range(3):
            pool.start(door.pass_through)

    async def wait_for_both() -> None:
        jobs = [pool.start(together.wait, WAIT_S) for _ in range(2)]
        await asyncio.gather(*jobs)
        door.open.set()

    run(leave_jobs_behind)
    run(wait_for_both)
