"""The policy: the patterns around one kind of call, in one order."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from resilience import _check
from resilience._breaker import CircuitBreaker
from resilience._bulkhead import Bulkhead
from resilience._clock import SYSTEM_CLOCK, Clock
from resilience._deadline import Timed
from resilience._decision import Decision
from resilience._decorate import decorate
from resilience._fallback import Fallback
from resilience._limiter import RateLimiter
from resilience._listener import Listener, tell
from resilience._retry import RetryWithBackoff
from resilience.errors import RateLimited

P = ParamSpec("P")
R = TypeVar("R")

# Note [The order of a policy]
#
# From the outside in: fallback, deadline, retry, breaker, rate limit, bulkhead, call.
#
# - The fallback is outermost, since it answers whatever is left in the end, refusals included.
# - The deadline bounds the whole: every attempt, the delays between them, and each wait for a
#   slot. So a caller knows how long a call may take without knowing what is inside.
# - The retry is outside of all that counts calls: each attempt is a call of its own to the
#   breaker and the limit, and a delay holds no slot and no probe. An attempt that finds the
#   breaker open by now ends the retries, as a refusal is not retried by default.
# - The breaker comes before the limit: a call that an open breaker refuses costs no I/O, and uses
#   up nothing of a quota that will be needed once the service is back.
# - The limit comes before the bulkhead: who is over the limit is told at once, and takes no place
#   in the queue from those who are not.
# - The bulkhead is innermost: a slot is held for as long as the call runs and not a moment more.
#   The wait for it counts as the call's time for the breaker, as it does for the caller.
#
# From the retry inwards that is the order of resilience4j, and as far as they go, that of Polly's
# and failsafe's documentation. A coroutine's time-out is set outside but enforced inside, around
# the call alone: so the breaker learns that the service did not answer, where a cancellation from
# outside would tell it nothing.


class _Step(Protocol):
    """A pattern, as a policy sees it."""

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    async def async_call(
        self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """What a policy asks of a limiter before each attempt.

    Args:
        limiter: who counts.
        key: what is limited, such as `mail-server`.
        limit: calls allowed in each window.
        window_s: the length of the window, in seconds.
    """

    limiter: RateLimiter
    key: str
    limit: int
    window_s: float

    def __post_init__(self) -> None:
        _check.at_least(1, limit=self.limit)
        _check.seconds(window_s=self.window_s)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Policy:
    """The patterns around one kind of call; each is optional, and their order is fixed.

    Fallback, deadline, retry, breaker, rate limit, bulkhead, call: see Note [The order of a
    policy]. What a call raises, unless the fallback answers:

    - `BreakerOpen`: not begun: the service keeps failing.
    - `RateLimited`: not begun: the limit is used up.
    - `BulkheadFull`: not begun: no slot in time, or none before the deadline.
    - `DeadlineExceeded`: the time was over before the call began, or a coroutine was cut off;
      then nobody knows whether it took effect. A thread is never interrupted.
    - Anything else: the call's own error, of the last attempt.

    Share breaker, bulkhead, limiter and retry among the policies of one dependency; make a policy
    for each kind of call, such as one that retries for reads and one that does not for writes.

    Args:
        name: what the calls are called in `RateLimited`, `DeadlineExceeded` and metrics.
        fallback: answers what failed in the end.
        timeout_s: how long a call may take in all, in seconds; an earlier deadline of the caller
            holds.
        retry: `retry.idempotent` for calls that may be repeated, else `retry`.
        breaker: stops calling what keeps failing.
        rate_limit: how many calls in which time.
        bulkhead: how many calls at once.
        clock: the clock of the deadline.
        listeners: told of refusals by the rate limit; the other members have their own.
    """

    name: str = "policy"
    fallback: Fallback | None = None
    timeout_s: float | None = None
    retry: RetryWithBackoff | None = None
    breaker: CircuitBreaker | None = None
    rate_limit: RateLimit | None = None
    bulkhead: Bulkhead | None = None
    clock: Clock = field(default=SYSTEM_CLOCK, repr=False)
    listeners: Sequence[Listener] = field(default=(), repr=False)
    _call: Callable[..., Any] = field(init=False, repr=False)
    _async_call: Callable[..., Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        timed = limited = None
        if self.timeout_s is not None:
            _check.seconds(timeout_s=self.timeout_s)
            timed = Timed(self.timeout_s, self.name, self.clock)
        if self.rate_limit is not None:
            limited = _Limited(self.rate_limit, self.name, tuple(self.listeners))
        order: tuple[_Step | None, ...] = (
            timed,
            self.retry,
            self.breaker,
            limited,
            self.bulkhead,
        )
        steps = [step for step in order if step is not None]
        calls = [step.call for step in steps]
        async_calls = [step.async_call for step in steps]
        if timed is not None:
            async_calls.append(timed.cut_off)
        call, async_call = _composed(calls, _call), _composed(async_calls, _async_call)
        if self.fallback is not None:
            call = partial(_answered, self.fallback.call, call)
            async_call = partial(_answered, self.fallback.async_call, async_call)
        object.__setattr__(self, "_call", call)
        object.__setattr__(self, "_async_call", async_call)

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `function` through the patterns."""
        return cast("R", self._call(function, *args, **kwargs))

    async def async_call(
        self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Await `function(...)` through the patterns."""
        return cast("R", await self._async_call(function, *args, **kwargs))

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function or a coroutine function, so that all its calls go through."""
        return decorate(function, self._call, self._async_call)


def _composed(calls: Sequence[Callable[..., Any]], bare: Callable[..., Any]) -> Callable[..., Any]:
    """Return one callable that passes a function and its arguments through `calls`.

    Each of them takes a function and its arguments, and the next of them is such a function.
    """
    return partial(calls[0], *calls[1:]) if calls else bare


def _answered(
    answer: Callable[..., Any],
    call: Callable[..., Any],
    function: Callable[..., Any],
    /,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Call through the patterns and a fallback, which gets the arguments of `function` alone."""
    return answer(partial(call, function), *args, **kwargs)


def _call(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    return function(*args, **kwargs)


async def _async_call(
    function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
) -> R:
    return await function(*args, **kwargs)


class _Limited:
    """The rate limit of a policy."""

    def __init__(self, rate_limit: RateLimit, name: str, listeners: Sequence[Listener]) -> None:
        self._key = rate_limit.key
        self._limiter = rate_limit.limiter
        self._limit = rate_limit.limit
        self._window_s = rate_limit.window_s
        self._name = name
        self._listeners = listeners

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        self._check(self._limiter.decide(self._key, limit=self._limit, window_s=self._window_s))
        return function(*args, **kwargs)

    async def async_call(
        self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        decided = self._limiter.decide_async(self._key, limit=self._limit, window_s=self._window_s)
        self._check(await decided)
        return await function(*args, **kwargs)

    def _check(self, decision: Decision) -> None:
        if not decision.allowed:
            tell(self._listeners, lambda each: each.on_rejected(self._name, "rate_limited"))
            raise RateLimited(self._name, decision.retry_after_s)
