"""The bulkhead: at most so many calls at once, the others wait their turn, a bounded number."""

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from types import TracebackType
from typing import ParamSpec, TypeVar

from resilience._bulkhead_config import BulkheadConfig, BulkheadSnapshot
from resilience._deadline import bounded_timeout_s
from resilience._decorate import decorate
from resilience._listener import Listener, tell
from resilience.errors import BulkheadFull

P = ParamSpec("P")
R = TypeVar("R")


_DEFAULTS = BulkheadConfig()


class _Turn(Enum):
    """What became of a waiter; changed only with the bulkhead's lock held."""

    WAITING = 1
    GRANTED = 2
    GONE = 3


class _Waiter:
    """One place in the queue. `wake` is called once, without the lock, after GRANTED."""

    __slots__ = ("turn", "wake")

    def __init__(self, wake: Callable[[], object]) -> None:
        self.turn = _Turn.WAITING
        self.wake = wake


# Note [Handing a slot over]
#
# A slot that becomes free goes straight to the first waiter: `_active` does not change, and
# nobody who comes later can take it in between. So as long as somebody waits, all slots are
# taken. The waiter may time out or be cancelled at the very moment it is granted the slot.
# `turn`, under the lock, decides: a granted waiter that timed out keeps the slot and goes on;
# a granted one that was cancelled gives it to the next; one whose event loop is closed, so
# that it can never be woken, is passed over.


class Bulkhead:
    """A bounded number of slots with a first-come, first-served queue.

    Threads and coroutines, of any number of event loops, share the one pool and the one queue.

    Args:
        name: what it protects; appears in errors and metrics.
        config: slots, places in the queue, time-out.
        listeners: told of refusals.
    """

    def __init__(
        self,
        name: str,
        config: BulkheadConfig = _DEFAULTS,
        *,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self.name = name
        self.config = config
        self._listeners = tuple(listeners)
        # Held around the counter and the queue only, so coroutines may take it too. Re-entrant:
        # memory that is freed inside may close a coroutine that waits here or holds a slot.
        self._lock = threading.RLock()
        self._active = 0
        self._queue: deque[_Waiter] = deque()

    def snapshot(self) -> BulkheadSnapshot:
        """Return how many slots are taken and how many calls wait."""
        with self._lock:
            active, queued = self._active, len(self._queue)
        return BulkheadSnapshot(
            name=self.name,
            size=self.config.size,
            active=active,
            queued=queued,
            utilization=active / self.config.size,
        )

    def slot(self, *, timeout_s: float | None = None) -> "Slot":
        """Return a slot for `with`, which waits for it in this thread.

        Args:
            timeout_s: wait at most so many seconds; by default `queue_timeout_s`. Never longer
                than the current deadline leaves.

        Raises:
            BulkheadFull: by `with`: no slot in time, or the queue is full. Nothing was begun.
        """
        return Slot(self, timeout_s)

    def slot_async(self, *, timeout_s: float | None = None) -> "Slot":
        """Return a slot for `async with`, which waits without blocking; see `slot`."""
        return Slot(self, timeout_s)

    def acquire(self, *, timeout_s: float | None = None) -> "Slot":
        """Wait for a slot and return it; its `release` must be called. See `slot`."""
        return Slot(self, timeout_s).__enter__()

    async def acquire_async(self, *, timeout_s: float | None = None) -> "Slot":
        """Wait for a slot without blocking and return it; its `release` must be called."""
        return await Slot(self, timeout_s).__aenter__()

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `function` in a slot; raise `BulkheadFull` if there is none."""
        with Slot(self, None):
            return function(*args, **kwargs)

    async def async_call(
        self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Await `function(...)` in a slot; raise `BulkheadFull` if there is none."""
        async with Slot(self, None):
            return await function(*args, **kwargs)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function or a coroutine function, so that all its calls take a slot."""
        return decorate(function, self.call, self.async_call)

    def _take(self) -> bool:
        """Take a slot if one is free, which it never is while somebody waits."""
        with self._lock:
            if self._active < self.config.size:
                self._active += 1
                return True
            return False

    def _enter(self, timeout_s: float | None) -> None:
        if self._take():
            return
        woken = threading.Event()
        waiter, timeout_s = self._take_or_queue(timeout_s, woken.set)
        if waiter is None:
            return
        try:
            woken.wait(timeout_s)
        except BaseException:  # KeyboardInterrupt
            self._abandon(waiter)
            raise
        self._claim(waiter)

    async def _enter_async(self, timeout_s: float | None) -> None:
        if self._take():
            return
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        waiter, timeout_s = self._take_or_queue(timeout_s, lambda: loop.call_soon_threadsafe(wake))
        if waiter is None:
            return
        timer = loop.call_later(timeout_s, wake)
        try:
            await woken
        except BaseException:  # CancelledError, or GeneratorExit when the loop was dropped
            self._abandon(waiter)
            raise
        finally:
            timer.cancel()
        self._claim(waiter)

    def _take_or_queue(
        self, timeout_s: float | None, wake: Callable[[], object]
    ) -> tuple[_Waiter | None, float]:
        """Take a free slot and return None, or return a place in the queue and its time-out."""
        with self._lock:
            if self._take():  # One became free just now.
                return None, 0.0
            wait_s = bounded_timeout_s(
                self.config.queue_timeout_s if timeout_s is None else timeout_s
            )
            if wait_s > 0 and len(self._queue) < self.config.queue_max:
                waiter = _Waiter(wake)
                self._queue.append(waiter)
                return waiter, wait_s
        raise self._refusal("queue_full")

    def _claim(self, waiter: _Waiter) -> None:
        """Return if the waiter has the slot; else leave the queue and raise `BulkheadFull`."""
        with self._lock:
            if waiter.turn is _Turn.GRANTED:
                return
            waiter.turn = _Turn.GONE
            self._queue.remove(waiter)
        raise self._refusal("queue_timeout")

    def _abandon(self, waiter: _Waiter) -> None:
        """Leave the queue; a slot granted at this very moment goes to the next."""
        with self._lock:
            turn, waiter.turn = waiter.turn, _Turn.GONE
            if turn is _Turn.WAITING:
                self._queue.remove(waiter)
        if turn is _Turn.GRANTED:
            self._hand_over()

    def _leave(self, slot: "Slot") -> None:
        with self._lock:
            if not slot._held:
                return
            slot._held = False
            if not self._queue:
                self._active -= 1
                return
        self._hand_over()

    def _hand_over(self) -> None:
        """Give a slot that is counted in `_active` to the first waiter, or make it free."""
        while True:
            with self._lock:
                if not self._queue:
                    self._active -= 1
                    return
                waiter = self._queue.popleft()
                waiter.turn = _Turn.GRANTED
            try:
                waiter.wake()
            except RuntimeError:  # Its event loop is closed: it can never run again.
                with self._lock:
                    if waiter.turn is _Turn.GONE:  # It was collected just now and passed it on.
                        return
                    waiter.turn = _Turn.GONE
            else:
                return

    def _refusal(self, reason: str) -> BulkheadFull:
        tell(self._listeners, lambda each: each.on_rejected(self.name, reason))
        return BulkheadFull(self.name, self.config.retry_after_s)


class Slot:
    """One slot: a context manager for `with` and `async with`, good for one block.

    `release` gives it back, once; further calls do nothing. So a streamed answer may hold the
    slot past its view and release it from wherever it ends.
    """

    __slots__ = ("_bulkhead", "_held", "_timeout_s")

    def __init__(self, bulkhead: Bulkhead, timeout_s: float | None) -> None:
        self._bulkhead = bulkhead
        self._timeout_s = timeout_s
        self._held = False

    def release(self) -> None:
        """Give the slot to the first that waits, or make it free."""
        self._bulkhead._leave(self)

    def __enter__(self) -> "Slot":
        self._bulkhead._enter(self._timeout_s)
        self._held = True
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._bulkhead._leave(self)

    async def __aenter__(self) -> "Slot":
        await self._bulkhead._enter_async(self._timeout_s)
        self._held = True
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._bulkhead._leave(self)
