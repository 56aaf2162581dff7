"""The states of a circuit breaker, and what moves it from one to another."""

import math
import os
import threading
import weakref
from collections.abc import Sequence

from resilience import _check
from resilience._breaker_config import (
    BreakerChange,
    BreakerConfig,
    BreakerSnapshot,
    BreakerState,
)
from resilience._clock import SYSTEM_CLOCK, Clock
from resilience._listener import Listener, tell
from resilience._permit import Permit, says_something
from resilience._window import Window
from resilience.errors import BreakerOpen

_DEFAULTS = BreakerConfig()
# A probe normally reports within a moment, so a call refused beside it need not wait long.
_BESIDE_PROBE_RETRY_AFTER_S = 1.0

# Note [Periods of a breaker]
#
# Each CLOSED period has a `Window` object of its own, and each HALF_OPEN probe is a `Permit`
# object. A call remembers the window it began in. Its result counts only if that window is
# still the breaker's, or if its permit is still the breaker's probe. So the identity of these
# objects is the generation: a call that began before the breaker opened cannot close it, and
# one that outlived a reset cannot open it again.
#
# A closed breaker gives no permit to `call`, `async_call` and decorated functions: they keep
# the window in a variable, and count a plain call as Note [Counting without a lock] says.


_all: "weakref.WeakSet[BreakerStates]" = weakref.WeakSet()


def _renew_locks() -> None:
    """Give every breaker a free lock: in a forked child, nobody is left to release the old one."""
    for breaker in _all:
        breaker._lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # Not on Windows, where nothing forks.
    os.register_at_fork(after_in_child=_renew_locks)


class BreakerStates:
    """A circuit breaker without its ways to guard a call, which `CircuitBreaker` adds.

    Args: see `CircuitBreaker`.
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
        self._is_failure_result = config.is_failure_result
        self._slow_call_s = config.slow_call_s
        # A call that returned within this time is plain. None is, where results are judged.
        self._plain_s = config.slow_call_s if config.is_failure_result is None else -math.inf
        # Held around counters only, for some microseconds, so coroutines may take it too.
        # Re-entrant: memory that is freed inside may close a coroutine that holds a permit.
        self._lock = threading.RLock()
        self._state = BreakerState.CLOSED
        self._changed_at_s = self._now()
        self._changes = 0
        self._decided_at_s = self._changed_at_s
        self._decision = 0
        self._window: Window | None = self._new_window(self._changed_at_s)
        self._tripped_by = (0, 0.0, 0.0)
        self._open_s = config.reset_s
        self._probe: Permit | None = None
        _all.add(self)

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
                figures = self._window.rates()
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

    # Sharing the state with other breakers of the same name

    def last_change(self) -> BreakerChange:
        """Return what this breaker last came to, for telling its like in other processes."""
        with self._lock:
            state, now_s = self._state, self._now()
            return BreakerChange(
                number=self._changes,
                state=BreakerState.OPEN if state is BreakerState.HALF_OPEN else state,
                age_s=max(0.0, now_s - self._changed_at_s),
                open_s=self._open_s,
                decision_number=self._decision,
                decision_age_s=max(0.0, now_s - self._decided_at_s),
            )

    def adopt(self, state: BreakerState, *, since: int, open_s: float = 0.0) -> bool:
        """Take over the state of a breaker of the same name in another process.

        OPEN begins anew, whatever the state was. A breaker that is CLOSED already keeps what it
        counted. Nothing is done if this breaker has changed by itself in the meantime: its own
        experience is the newer one, and for the others to adopt.

        Args:
            state: anything but HALF_OPEN, since each breaker has probes of its own.
            since: the `number` of the `last_change` that the caller has seen.
            open_s: for OPEN, how long from now until a probe may be let through, in seconds.

        Returns:
            Whether the state was adopted, which makes it change number `since + 1`.
        """
        if state is BreakerState.HALF_OPEN:
            raise ValueError("A probe is no state to adopt: give OPEN, and when it ends.")
        _check.seconds_or_zero(open_s=open_s)
        with self._lock:
            if self._changes != since:
                return False
            old = self._state
            if old is state is BreakerState.CLOSED:
                self._changes += 1
                return True
            self._tripped_by = (0, 0.0, 0.0)
            self._enter_locked(state, self._now(), open_s=open_s)
        self._tell_transition(old, state)
        return True

    # Below: the state machine. The methods named `_..._locked` want the lock held.

    def _new_window(self, now_s: float) -> Window:
        return Window(self.config.window_s, self.config.bucket_count, now_s)

    def _retry_after_locked(self, now_s: float) -> float:
        """Return the seconds until a call may pass, 0.0 if one may now."""
        if self._state is BreakerState.OPEN:
            return max(0.0, self._changed_at_s + self._open_s - now_s)
        if self._state is BreakerState.HALF_OPEN and self._probe is not None:
            lost_in_s = self._probe._started_s + self.config.probe_timeout_s - now_s
            return min(max(0.0, lost_in_s), _BESIDE_PROBE_RETRY_AFTER_S)
        if self._state is BreakerState.FORCED_OPEN:
            return self.config.reset_s
        return 0.0

    def _raised(self, window: Window, started_s: float, error: BaseException) -> None:
        """Count a call that a closed breaker let through, and that ended with `error`."""
        if says_something(error):
            self._count(window, started_s, failed=self.config.is_failure(error))

    def _returned(self, window: Window, started_s: float, result: object) -> None:
        """Count a call that a closed breaker let through, and that returned `result`."""
        judge = self._is_failure_result
        self._count(window, started_s, failed=judge is not None and judge(result))

    def _count(self, window: Window, started_s: float, *, failed: bool) -> None:
        now_s = self._now()
        with self._lock:
            old = self._state
            if window is self._window:
                self._count_locked(window, now_s, failed, now_s - started_s > self._slow_call_s)
            new = self._state
        self._tell_transition(old, new)

    def _settle(self, window: Window, now_s: float) -> None:
        """Look at the rates after a plain call that was counted without the lock."""
        with self._lock:
            old = self._state
            if window is self._window:
                self._judge_locked(window, now_s)
            new = self._state
        self._tell_transition(old, new)

    def _report(self, permit: Permit, failed: bool, duration_s: float | None) -> None:
        now_s = self._now()
        with self._lock:
            if permit._reported:
                return
            permit._reported = True
            if duration_s is None:
                duration_s = now_s - permit._started_s
            slow = duration_s > self._slow_call_s
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
        if window.watched:
            self._judge_locked(window, now_s)

    def _judge_locked(self, window: Window, now_s: float) -> None:
        calls, failure_rate, slow_rate = window.rates()
        if calls < self.config.calls_min:
            return
        window.watched = False
        if failure_rate >= self.config.failure_rate or slow_rate >= self.config.slow_call_rate:
            self._tripped_by = (calls, failure_rate, slow_rate)
            self._enter_locked(BreakerState.OPEN, now_s)

    def _enter_locked(
        self, state: BreakerState, now_s: float, *, open_s: float | None = None
    ) -> None:
        self._state = state
        self._changes += 1
        self._changed_at_s = now_s
        self._open_s = self.config.reset_s if open_s is None else open_s
        self._probe = None
        self._window = self._new_window(now_s) if state is BreakerState.CLOSED else None

    def _set(self, state: BreakerState) -> None:
        with self._lock:
            old = self._state
            self._tripped_by = (0, 0.0, 0.0)
            self._enter_locked(state, self._now())
            self._decided_at_s, self._decision = self._changed_at_s, self._changes
        self._tell_transition(old, state)

    def _tell_transition(self, old: BreakerState, new: BreakerState) -> None:
        if old is not new:
            tell(self._listeners, lambda each: each.on_transition(self.name, old, new))
