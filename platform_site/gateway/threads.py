"""Threads for what blocks, lent to the coroutines of an event loop.

`concurrent.futures` has such a pool, but wakes whichever of its threads waited longest. This one
wakes the one that worked last: under little load few threads do all the work, each with its
connection to the database and its caches warm, and the others end after a while.

# Note [Waking threads one after the other]

Python runs one thread at a time. A thread that is woken for each job costs more than most jobs:
it waits for the others to let go of the interpreter, and every change between them is a call of
the system. So `EAGER_MAX` threads are woken at once, which is enough while jobs compute, and what
they do not get to within `WAKE_AFTER_S` is given to further ones, half of what waits each time.
Jobs that wait for a database have all the threads they need within a few milliseconds.
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
EAGER_MAX = 2
WAKE_AFTER_S = 0.001
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
        # The loop that will look after those that wait, if any will.
        self._waking: asyncio.AbstractEventLoop | None = None

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

        with self._lock:
            if self._size - len(self._idle) < EAGER_MAX:
                self._give(job)
            else:
                self._waiting.append(job)
                self._wake_later(loop)
        return future

    # With the lock held, each of the next three.

    def _give(self, job: _Job) -> None:
        """Give a job to a thread: one that is idle, a new one, or else the first that is done."""
        if self._idle:
            self._idle.pop().jobs.put(job)
        elif self._size < self._size_max:
            worker = _Worker(self, f"{self._name}-{self._size + 1}")
            worker.jobs.put(job)
            worker.start()
            self._size += 1
        else:
            self._waiting.append(job)

    def _wake_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waking is not loop:
            self._waking = loop
            loop.call_later(WAKE_AFTER_S, self._wake_more)

    def _can_wake(self) -> bool:
        return bool(self._waiting) and (bool(self._idle) or self._size < self._size_max)

    def _wake_more(self) -> None:
        """Give half of the jobs that wait to further threads, and come back for the rest."""
        with self._lock:
            loop, self._waking = self._waking, None
            for _ in range((len(self._waiting) + 1) // 2):
                if not self._can_wake():
                    return
                job = self._waiting.popleft()
                try:
                    self._give(job)
                except RuntimeError:  # No more threads: those that work come to it.
                    self._waiting.appendleft(job)
                    return
            if loop is not None and self._can_wake():
                self._wake_later(loop)

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
