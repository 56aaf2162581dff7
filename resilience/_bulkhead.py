"""The bulkhead: at most so many calls at once, the others wait their turn, a bounded number."""

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from itertools import repeat
from typing import ParamSpec, TypeVar

from resilience._bulkhead_config import BulkheadConfig, BulkheadSnapshot
from resilience._deadline import bounded_timeout_s
from resilience._decorate import decorate
from resilience._listener import Listener, tell
from resilience._slot import Slot
from resilience.errors import BulkheadFull

P = ParamSpec("P")
R = TypeVar("R")


_DEFAULTS = BulkheadConfig()
# Faster than `Slot(...)`: an `__init__` would be a fifth of the time of an uncontended slot.
_new_object = object.__new__


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
# Free slots are tokens in a deque, whose `append` and `pop` are atomic. So a call that finds
# nobody waiting and a slot free takes no lock, neither when it comes nor when it goes.
#
# Whoever begins to wait enters the queue first and looks for a free slot afterwards; whoever
# leaves makes the slot free first and looks at the queue afterwards. So one of them sees the
# other, and no waiter is left beside a free slot. Who finds the queue not empty never takes a
# slot but queues up, so nobody overtakes those who wait.
#
# The waiter may time out or be cancelled at the very moment it is granted the slot. `turn`,
# under the lock, decides: a granted waiter that timed out keeps the slot and goes on; a granted
# one that was cancelled gives it to the next; one whose event loop is closed, so that it can
# never be woken, is passed over.


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
        self._free: deque[None] = deque(repeat(None, config.size))
        self._queue: deque[_Waiter] = deque()
        # Held around changes of the queue only, so coroutines may take it too. Re-entrant: memory
        # that is freed inside may close a coroutine that waits here or holds a slot.
        self._lock = threading.RLock()

    def snapshot(self) -> BulkheadSnapshot:
        """Return how many slots are taken and how many calls wait."""
        size = self.config.size
        with self._lock:
            active, queued = size - len(self._free), len(self._queue)
        return BulkheadSnapshot(
            name=self.name,
            size=size,
            active=active,
            queued=queued,
            utilization=active / size,
        )

    def slot(self, *, timeout_s: float | None = None) -> Slot:
        """Return a slot for `with`, which waits for it in this thread.

        Args:
            timeout_s: wait at most so many seconds; by default `queue_timeout_s`. Never longer
                than the current deadline leaves.

        Raises:
            BulkheadFull: by `with`: no slot in time, or the queue is full. Nothing was begun.
        """
        slot = _new_object(Slot)
        slot._bulkhead = self
        slot._timeout_s = timeout_s
        return slot

    # For `async with`, which waits without blocking: the same slot can do both.
    slot_async = slot

    def acquire(self, *, timeout_s: float | None = None) -> Slot:
        """Wait for a slot and return it; its `release` must be called. See `slot`."""
        return self.slot(timeout_s=timeout_s).__enter__()

    async def acquire_async(self, *, timeout_s: float | None = None) -> Slot:
        """Wait for a slot without blocking and return it; its `release` must be called."""
        return await self.slot(timeout_s=timeout_s).__aenter__()

    def try_acquire(self) -> Slot | None:
        """Return a slot if one is free and nobody waits for it, else None.

        Its `release` must be called. No refusal is told to the listeners: it is for callers that
        have something else to do instead.
        """
        if not self._take():
            return None
        slot = self.slot()
        slot._held = True
        return slot

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `function` in a slot; raise `BulkheadFull` if there is none."""
        if not self._take():
            self._wait(None)
        try:
            return function(*args, **kwargs)
        finally:
            self._leave()

    async def async_call(
        self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Await `function(...)` in a slot; raise `BulkheadFull` if there is none."""
        if not self._take():
            await self._wait_async(None)
        try:
            return await function(*args, **kwargs)
        finally:
            self._leave()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function or a coroutine function, so that all its calls take a slot."""
        return decorate(function, self.call, self.async_call)

    def _take(self) -> bool:
        """Take a slot if one is free and nobody waits for it."""
        if self._queue:
            return False
        try:
            self._free.pop()
        except IndexError:
            return False
        return True

    def _wait(self, timeout_s: float | None) -> None:
        """Take a slot, after waiting for it in this thread."""
        woken = threading.Event()
        waiter = _Waiter(woken.set)
        try:
            wait_s = self._queue_up(waiter, timeout_s)
            woken.wait(wait_s)
        except BaseException:  # BulkheadFull, KeyboardInterrupt
            self._abandon(waiter)
            raise
        self._claim(waiter)

    async def _wait_async(self, timeout_s: float | None) -> None:
        """Take a slot, after waiting for it without blocking."""
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        waiter = _Waiter(lambda: loop.call_soon_threadsafe(wake))
        timer: asyncio.TimerHandle | None = None
        try:
            wait_s = self._queue_up(waiter, timeout_s)
            timer = loop.call_later(wait_s, wake)
            await woken
        except BaseException:  # BulkheadFull, CancelledError; GeneratorExit of a loop dropped
            self._abandon(waiter)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        self._claim(waiter)

    def _queue_up(self, waiter: _Waiter, timeout_s: float | None) -> float:
        """Put the waiter into the queue, and return how many seconds it may wait there.

        Raises:
            BulkheadFull: the queue is full, or there is no time to wait.
        """
        wait_s = bounded_timeout_s(self.config.queue_timeout_s if timeout_s is None else timeout_s)
        with self._lock:
            if self._take():  # One became free just now.
                waiter.turn = _Turn.GRANTED
                return 0.0
            has_place = wait_s > 0 and len(self._queue) < self.config.queue_max
            if has_place:
                self._queue.append(waiter)
        if not has_place:
            raise self._refusal("queue_full")
        self._serve()
        return wait_s

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
            if turn is _Turn.WAITING and waiter in self._queue:
                self._queue.remove(waiter)
        if turn is _Turn.GRANTED:
            self._leave()

    def _leave(self) -> None:
        """Make a slot free, and give it to the first that waits."""
        self._free.append(None)
        if self._queue:
            self._serve()

    def _serve(self) -> None:
        """Hand free slots to those who wait, the first of them first."""
        while (waiter := self._grant()) is not None:
            try:
                waiter.wake()
            except RuntimeError:  # Its event loop is closed: it can never run again.
                with self._lock:
                    is_gone = waiter.turn is _Turn.GONE  # Collected just now: it gave its slot on.
                    waiter.turn = _Turn.GONE
                if not is_gone:
                    self._free.append(None)

    def _grant(self) -> _Waiter | None:
        """Give a free slot to the first waiter and return it; None without either of them."""
        with self._lock:
            if not self._queue:
                return None
            try:
                self._free.pop()
            except IndexError:
                return None
            while self._queue:
                waiter = self._queue.popleft()
                # Memory freed in between may have closed its coroutine.
                if waiter.turn is _Turn.WAITING:
                    waiter.turn = _Turn.GRANTED
                    return waiter
            self._free.append(None)
            return None

    def _refusal(self, reason: str) -> BulkheadFull:
        tell(self._listeners, lambda each: each.on_rejected(self.name, reason))
        return BulkheadFull(self.name, self.config.retry_after_s)
