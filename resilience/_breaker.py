"""The circuit breaker: stops calling what keeps failing, and tries it again with one call."""

import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import ParamSpec, TypeVar

from resilience._breaker_config import BreakerConfig, BreakerSnapshot, BreakerState
from resilience._clock import SYSTEM_CLOCK, Clock
from resilience._decorate import decorate
from resilience._listener import Listener, tell
from resilience._permit import Guard, Permit
from resilience._window import Window
from resilience.errors import BreakerOpen

P = ParamSpec("P")
R = TypeVar("R")

_DEFAULTS = BreakerConfig()
# A probe normally reports within a moment, so a call refused beside it need not wait long.
_BESIDE_PROBE_RETRY_AFTER_S = 1.0

# Note [Periods of a breaker]
#
# Each CLOSED period has a `Window` object of its own, and each HALF_OPEN probe is a `Permit`
# object. A permit remembers the window it began in. Its result counts only if that window is
# still the breaker's, or if the permit itself is still the breaker's probe. So the identity of
# these objects is the generation: a call that began before the breaker opened cannot close it,
# and one that outlived a reset cannot open it again.


class CircuitBreaker:
    """A circuit breaker over a window of time, for threads and coroutines alike.

    No lock is held while the guarded call runs, and no I/O is done. Put a time-out inside the
    guarded call, not around it: a cancelled call says nothing about the service.

    Args:
        name: what it guards; appears in errors and metrics.
        config: when it opens and how it closes.
        clock: where the time comes from.
        listeners: told of transitions and refusals.
    """

    def __init__(
        self,
        name: str,
        config: BreakerConfig = _DEFAULTS,
        *,
        clock: Clock = SYSTEM_CLOCK,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self.name = name
        self.config = config
        self._listeners = tuple(listeners)
        self._now = clock.monotonic
        # Held around counters only, for about a microsecond, so coroutines may take it too.
        # Re-entrant: memory that is freed inside may close a coroutine that holds a permit.
        self._lock = threading.RLock()
        self._state = BreakerState.CLOSED
        self._window: Window | None = self._new_window(self._now())
        self._tripped_by = (0, 0.0, 0.0)
        self._opened_at_s = 0.0
        self._probe: Permit | None = None

    @property
    def state(self) -> BreakerState:
        """The present state."""
        return self._state

    def snapshot(self) -> BreakerSnapshot:
        """Return state, rates and the time until a call may be let through."""
        with self._lock:
            now_s = self._now()
            if self._window is not None:
                self._window.advance(now_s)
                figures = (self._window.calls, *self._window.rates())
            else:
                figures = self._tripped_by
            calls, failure_rate, slow_rate = figures
            return BreakerSnapshot(
                name=self.name,
                state=self._state,
                calls=calls,
                failure_rate=failure_rate,
                slow_rate=slow_rate,
                retry_after_s=self._retry_after_locked(now_s),
            )

    # Calls

    def acquire(self) -> Permit:
        """Return leave to make one call, whose outcome must be reported on it.

        Raises:
            BreakerOpen: the call must not be made.
        """
        window = self._window
        if window is not None:  # Closed: the common case takes no lock.
            return Permit(self, window, self._now())
        with self._lock:
            now_s = self._now()
            old = self._state
            retry_after_s = self._retry_after_locked(now_s)
            permit = Permit(self, self._window, now_s) if retry_after_s <= 0 else None
            if permit is not None and old in (BreakerState.OPEN, BreakerState.HALF_OPEN):
                self._state = BreakerState.HALF_OPEN
                self._probe = permit
            new = self._state
        self._tell_transition(old, new)
        if permit is None:
            tell(self._listeners, lambda each: each.on_rejected(self.name, "breaker_open"))
            raise BreakerOpen(self.name, retry_after_s)
        return permit

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `function` if the breaker lets it through, and count how it went.

        Raises:
            BreakerOpen: it was not called.
        """
        permit = self.acquire()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            permit.raised(error)
            raise
        permit.returned(result)
        return result

    async def async_call(
        self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Await `function(...)` if the breaker lets it through, and count how it went.

        Raises:
            BreakerOpen: it was not called.
        """
        permit = self.acquire()
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            permit.raised(error)
            raise
        permit.returned(result)
        return result

    def guard(self) -> Guard:
        """Return a context manager, for `with` and `async with`, that guards its block.

        It gives the `Permit`, on which the block may report more than its exceptions say.
        """
        return Guard(self)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function or a coroutine function, so that all its calls are guarded."""
        return decorate(function, self.call, self.async_call)

    # Operators

    def force_open(self) -> None:
        """Refuse every call until `reset`."""
        self._set(BreakerState.FORCED_OPEN)

    def disable(self) -> None:
        """Let every call through, and count nothing, until `reset`."""
        self._set(BreakerState.DISABLED)

    def reset(self) -> None:
        """Close the breaker and forget what it counted; calls under way count no more."""
        self._set(BreakerState.CLOSED)

    # Below: the state machine. The methods named `_..._locked` want the lock held.

    def _new_window(self, now_s: float) -> Window:
        return Window(self.config.window_s, self.config.bucket_count, now_s)

    def _retry_after_locked(self, now_s: float) -> float:
        """Return the seconds until a call may pass, 0.0 if one may now."""
        if self._state is BreakerState.OPEN:
            return max(0.0, self._opened_at_s + self.config.reset_s - now_s)
        if self._state is BreakerState.HALF_OPEN and self._probe is not None:
            lost_in_s = self._probe._started_s + self.config.probe_timeout_s - now_s
            return min(max(0.0, lost_in_s), _BESIDE_PROBE_RETRY_AFTER_S)
        if self._state is BreakerState.FORCED_OPEN:
            return self.config.reset_s
        return 0.0

    def _report(self, permit: Permit, failed: bool, duration_s: float | None) -> None:
        with self._lock:
            if permit._reported:
                return
            permit._reported = True
            now_s = self._now()
            if duration_s is None:
                duration_s = now_s - permit._started_s
            slow = duration_s > self.config.slow_call_s
            old = self._state
            if permit is self._probe:
                self._enter_locked(
                    BreakerState.OPEN if failed or slow else BreakerState.CLOSED, now_s
                )
            elif permit._window is not None and permit._window is self._window:
                self._count_locked(permit._window, now_s, failed, slow)
            new = self._state
        self._tell_transition(old, new)

    def _cancel(self, permit: Permit) -> None:
        with self._lock:
            permit._reported = True
            if permit is self._probe:
                self._probe = None

    def _count_locked(self, window: Window, now_s: float, failed: bool, slow: bool) -> None:
        window.add(now_s, failed=failed, slow=slow)
        if window.calls < self.config.calls_min or not (window.failures or window.slow):
            return
        failure_rate, slow_rate = window.rates()
        if failure_rate >= self.config.failure_rate or slow_rate >= self.config.slow_call_rate:
            self._tripped_by = (window.calls, failure_rate, slow_rate)
            self._enter_locked(BreakerState.OPEN, now_s)

    def _enter_locked(self, state: BreakerState, now_s: float) -> None:
        self._state = state
        self._probe = None
        self._window = self._new_window(now_s) if state is BreakerState.CLOSED else None
        if state is BreakerState.OPEN:
            self._opened_at_s = now_s

    def _set(self, state: BreakerState) -> None:
        with self._lock:
            old = self._state
            self._tripped_by = (0, 0.0, 0.0)
            self._enter_locked(state, self._now())
        self._tell_transition(old, state)

    def _tell_transition(self, old: BreakerState, new: BreakerState) -> None:
        if old is not new:
            tell(self._listeners, lambda each: each.on_transition(self.name, old, new))
