"""Retry with exponential backoff, a budget against retry storms, and an eye on the deadline."""

import asyncio
import random as random_module
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import ParamSpec, TypeVar

from resilience import _check
from resilience._clock import SYSTEM_CLOCK, Clock
from resilience._deadline import current_deadline
from resilience._decorate import decorate
from resilience._listener import Listener, tell
from resilience.errors import Refused

P = ParamSpec("P")
R = TypeVar("R")
CountCall = Callable[[], int]
Now = Callable[[], float]

# 2.0 ** 1024 overflows; any real cap is reached long before 2 ** 63.
_EXPONENT_MAX = 63


# Note [Calls that may be repeated]
#
# A connection that breaks does not tell whether the call took effect before. To repeat a payment
# then pays twice, and nothing about a function shows whether it is one. So the plain forms,
# `retry.call(pay)` and `@retry`, repeat a call only after an error which proves that it had no
# effect: it was refused before it began, or was rolled back. Whoever knows that a call may be
# repeated says so where the call stands: `retry.idempotent.call(read)` and `@retry.idempotent`.
# These are the two cases in which RFC 9110, section 9.2.2, lets a client repeat a request. To
# forget the word costs a retry, not money; and the error that is raised says which word it is.


def is_connection_error(error: Exception) -> bool:
    """Whether a connection broke or timed out: the default of `RetryConfig.is_retryable`."""
    return isinstance(error, ConnectionError | TimeoutError)


def was_refused(error: Exception) -> bool:
    """Whether nobody began the call: the default of `RetryConfig.had_no_effect`."""
    return isinstance(error, Refused | ConnectionRefusedError)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryConfig:
    """How often and when a call is tried again.

    The delay before retry n, from 0, is `min(base_s * 2^n + 0..jitter_s, cap_s)`.

    Args:
        retries_max: retries after the first attempt.
        base_s: the first delay, in seconds.
        cap_s: no delay is longer, in seconds; an error that asks for more is not retried.
        jitter_s: up to so many seconds are added at random.
        is_retryable: whether an exception is worth another attempt.
        had_no_effect: whether an exception proves that the call changed nothing. Without that,
            only `RetryWithBackoff.idempotent` repeats a call.
        budget_ratio: retries allowed for each call, over all calls: 0.2 means that retries add
            at most 20 % of load. None: no budget.
        budget_reserve: retries that may be made beyond the ratio at once, as at the start.
        budget_refill_per_s: retries a second that are always allowed, for callers of low rate.
    """

    retries_max: int = 3
    base_s: float = 1.0
    cap_s: float = 30.0
    jitter_s: float = 0.1
    is_retryable: Callable[[Exception], bool] = is_connection_error
    had_no_effect: Callable[[Exception], bool] = was_refused
    budget_ratio: float | None = 0.2
    budget_reserve: int = 10
    budget_refill_per_s: float = 1.0

    def __post_init__(self) -> None:
        _check.at_least(0, retries_max=self.retries_max)
        _check.at_least(1, budget_reserve=self.budget_reserve)
        _check.seconds_or_zero(
            base_s=self.base_s, jitter_s=self.jitter_s, budget_refill_per_s=self.budget_refill_per_s
        )
        _check.seconds(cap_s=self.cap_s)
        if self.budget_ratio is not None:
            _check.rate(budget_ratio=self.budget_ratio)


_DEFAULTS = RetryConfig()
_NOT_REPEATED = (
    "Not retried, as the call may have taken effect. If it may be repeated, say so: "
    "`retry.idempotent.call(...)` or `@retry.idempotent`."
)


class _Budget:
    """A bucket of tokens: each call adds `ratio`, time adds some, each retry takes one.

    Calls are only counted, by one atomic step; what they add is worked out when a retry asks for
    it. As nothing is taken in between, that is the same as to add it at each call.

    Args:
        count_call: the counter; each retry that asks counts on by one, too.
    """

    def __init__(self, config: RetryConfig, ratio: float, count_call: CountCall, now: Now) -> None:
        self._ratio = ratio
        self._reserve = float(config.budget_reserve)
        self._refill_per_s = config.budget_refill_per_s
        self._count_call = count_call
        self._now = now
        self._lock = threading.Lock()
        self._tokens = self._reserve
        self._counted = -1
        self._filled_at_s = now()

    def take(self) -> bool:
        """Take the token of one retry; False when there is none."""
        with self._lock:
            now_s, counted = self._now(), self._count_call()
            calls = counted - self._counted - 1
            refill = (now_s - self._filled_at_s) * self._refill_per_s + calls * self._ratio
            self._filled_at_s, self._counted = now_s, counted
            self._tokens = min(self._reserve, self._tokens + refill)
            if self._tokens < 1.0:
                return False
            self._tokens -= 1.0
            return True


class RetryWithBackoff:
    """Call again what failed for a passing reason.

    What may be repeated is said where the call stands; see Note [Calls that may be repeated]:

    - `retry.call`, `@retry`: only after an error that proves that the call had no effect;
    - `retry.idempotent.call`, `@retry.idempotent`: after every retryable error.

    One instance per dependency, shared by all its callers: the budget is the instance's. An
    error with an attribute `retry_after_s` is not retried sooner than that. A retry that could
    not begin before the current deadline is not made. When no retry is made, the call's own
    error is raised.

    Args:
        config: how often and when.
        name: what it retries; appears in metrics.
        clock: the clock of the budget.
        sleep: waits the given seconds in a thread.
        sleep_async: waits the given seconds in a coroutine.
        random: returns a number from 0.0 up to 1.0, for the jitter.
        listeners: told of retries and of giving up.
    """

    def __init__(
        self,
        config: RetryConfig = _DEFAULTS,
        *,
        name: str = "retry",
        clock: Clock = SYSTEM_CLOCK,
        sleep: Callable[[float], object] = time.sleep,
        sleep_async: Callable[[float], Awaitable[object]] = asyncio.sleep,
        random: Callable[[], float] = random_module.random,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self.name = name
        self.config = config
        self._sleep = sleep
        self._sleep_async = sleep_async
        self._random = random
        self._listeners = tuple(listeners)
        self._is_idempotent = False
        # Bound once: it is called with every call, and `count` counts without a lock.
        self._count_call = count().__next__
        self._budget: _Budget | None = None
        if config.budget_ratio is not None:
            self._budget = _Budget(config, config.budget_ratio, self._count_call, clock.monotonic)

    @cached_property
    def idempotent(self) -> "RetryWithBackoff":
        """The same retry, its budget included, for calls that may be repeated.

        To say it is the caller's promise: to make the call twice does what making it once does.
        """
        repeating = copy(self)
        repeating._is_idempotent = True
        return repeating

    def delay_s(self, attempt: int) -> float:
        """Return the seconds to wait before retry number `attempt`, from 0.

        For callers that keep their attempts elsewhere, as a table of failed writes does.
        """
        if attempt < 0:
            raise ValueError(f"attempt={attempt} will not do: the first retry is number 0.")
        backoff_s = self.config.base_s * 2.0 ** min(attempt, _EXPONENT_MAX)
        return min(backoff_s + self._random() * self.config.jitter_s, self.config.cap_s)

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `function`, and again after an error that allows it; raise its last error."""
        self._count_call()
        attempt = 0
        while True:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                delay_s = self._delay_after(error, attempt)
                if delay_s is None:
                    raise
            self._sleep(delay_s)
            attempt += 1

    async def async_call(
        self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Await `function(...)`, and again after an error that allows it; raise its last error."""
        self._count_call()
        attempt = 0
        while True:
            try:
                return await function(*args, **kwargs)
            except Exception as error:
                delay_s = self._delay_after(error, attempt)
                if delay_s is None:
                    raise
            await self._sleep_async(delay_s)
            attempt += 1

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function or a coroutine function, so that all its calls are retried."""
        return decorate(function, self.call, self.async_call)

    def _delay_after(self, error: Exception, attempt: int) -> float | None:
        """Return the seconds until the next attempt, or None when there shall be none."""
        if not self.config.is_retryable(error):
            return None
        delay_s = 0.0
        reason = ""
        if attempt >= self.config.retries_max:
            reason = "retries_max"
        elif not (self._is_idempotent or self.config.had_no_effect(error)):
            reason = "not_idempotent"
            if _NOT_REPEATED not in getattr(error, "__notes__", ()):
                error.add_note(_NOT_REPEATED)
        else:
            asked_s = float(getattr(error, "retry_after_s", None) or 0.0)
            delay_s = max(self.delay_s(attempt), asked_s)
            deadline = current_deadline()
            if asked_s > self.config.cap_s:
                reason = "retry_after"
            elif deadline is not None and deadline.remaining_s() <= delay_s:
                reason = "deadline"
            elif self._budget is not None and not self._budget.take():
                reason = "budget"
        if reason:
            tell(self._listeners, lambda each: each.on_given_up(self.name, reason, error))
            return None
        tell(self._listeners, lambda each: each.on_retry(self.name, attempt, delay_s, error))
        return delay_s
