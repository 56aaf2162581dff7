"""Threads for what blocks, lent to the coroutines of an event loop.

`concurrent.futures` has such a pool, but wakes whichever of its threads waited longest. This one
wakes the one that worked last: under little load few threads do all the work, each with its
connection to the database and its caches warm, and the others end after a while.
"""

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

IDLE_TIMEOUT_S = 60.0
_Job = Callable[[], None]


class Threads:
    """A bounded number of threads; whoever uses it bounds what it gives them at once.

    Args:
        size_max: how many threads there may be. Jobs beyond them wait, in order.
        name: the beginning of the threads' names.
        at_end: called in each thread before it ends, to close what belongs to the thread.
    """

    def __init__(
        self, size_max: int, *, name: str, at_end: Callable[[], object] = lambda: None
    ) -> None:
        self.at_end = at_end
        self._size_max = size_max
        self._name = name
        self._lock = threading.Lock()
        self._size = 0
        self._idle: list[_Worker] = []
        self._waiting: deque[_Job] = deque()

    def snapshot(self) -> dict[str, int]:
        """Return how many threads there are at most and now, how many work, and jobs that wait."""
        with self._lock:
            return {
                "size_max": self._size_max,
                "size": self._size,
                "busy": self._size - len(self._idle),
                "waiting": len(self._waiting),
            }

    async def run(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what `function` returns, called in a thread; see `start`."""
        return await self.start(function, *args, **kwargs)

    def start(
        self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> "asyncio.Future[R]":
        """Have `function` called in a thread, in this context's variables, and return its result.

        If nobody waits for the result any more, the function still runs to its end: a thread
        cannot be interrupted.

        Raises:
            RuntimeError: the system gives no more threads; the function will not be called.
                Awaited: the function raised what would end the loop, such as `SystemExit`.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        context = contextvars.copy_context()

        def job() -> None:
            try:
                result = context.run(function, *args, **kwargs)
            except BaseException as error:
                report(_fail, future, _as_exception(error))
            else:
                report(_finish, future, result)

        def report(outcome: Callable[..., None], *arguments: Any) -> None:
            try:
                loop.call_soon_threadsafe(outcome, *arguments)
            except RuntimeError:  # The loop is closed: nobody waits any more.
                return

        self._give(job)
        return future

    def _give(self, job: _Job) -> None:
        with self._lock:
            if self._idle:
                self._idle.pop().jobs.put(job)
                return
            if self._size >= self._size_max:
                self._waiting.append(job)
                return
            self._size += 1
        worker = _Worker(self, f"{self._name}-{self._size}")
        worker.jobs.put(job)
        try:
            worker.start()
        except RuntimeError:
            with self._lock:
                self._size -= 1
            raise

    def next_for(self, worker: "_Worker") -> _Job | None:
        """Return the next job for a worker that is done with one; None when it is to end."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._idle.append(worker)
        try:
            return worker.jobs.get(timeout=IDLE_TIMEOUT_S)
        except Empty:
            pass
        with self._lock:
            if worker in self._idle:
                self._idle.remove(worker)
                self._size -= 1
                return None
        return worker.jobs.get()  # It was chosen at this very moment.


class _Worker(threading.Thread):
    """One thread, and the queue of at most one job through which it is woken."""

    def __init__(self, pool: Threads, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.jobs: SimpleQueue[_Job] = SimpleQueue()
        self._pool = pool

    def run(self) -> None:
        job: _Job | None = self.jobs.get()
        while job is not None:
            job()
            del job  # Its request must not live on while the thread waits.
            job = self._pool.next_for(self)
        self._pool.at_end()


def _finish(future: "asyncio.Future[R]", result: R) -> None:
    if not future.done():
        future.set_result(result)


def _as_exception(error: BaseException) -> BaseException:
    """Return what a future may raise: no end of the process, and no cancellation of who waits."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    told = RuntimeError(f"A thread was to end: {error!r}")
    told.__cause__ = error
    return told


def _fail(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
