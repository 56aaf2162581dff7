"""The states, the settings and the figures of a circuit breaker."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from resilience import _check


class BreakerState(StrEnum):
    """What a breaker does with a call.

    CLOSED lets it through and counts its result. OPEN refuses it until `reset_s` is over.
    HALF_OPEN lets one call through, the probe, whose result decides. FORCED_OPEN refuses and
    DISABLED lets through, without counting, until an operator says otherwise.
    """

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"


def every_exception(_error: Exception) -> bool:
    """Count every exception as a failure: the default of `BreakerConfig.is_failure`."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerConfig:
    """When a breaker opens, and how it closes again.

    Args:
        window_s: length of the window that the rates are taken over, in seconds.
        bucket_count: the window moves in steps of `window_s / bucket_count`.
        calls_min: with fewer calls in the window, the breaker stays closed.
        failure_rate: it opens when this fraction of the calls failed.
        slow_call_s: a call that takes longer than this is slow, in seconds.
        slow_call_rate: it opens when this fraction of the calls was slow.
        reset_s: how long it stays open before it lets a probe through, in seconds.
        probe_timeout_s: a probe that has not reported for this long is given up, and its place
            is free for another; the time-out of the guarded call, in seconds.
        is_failure: whether an exception counts as a failure. One that does not counts as a
            success: the service answered. Never asked about what an inner pattern `Refused`, nor
            about exceptions that are no `Exception` (cancellation): they say nothing about the
            service, and nothing is counted.
        is_failure_result: whether a returned value counts as a failure; None: it never does.
    """

    window_s: float = 10.0
    bucket_count: int = 10
    calls_min: int = 10
    failure_rate: float = 0.5
    slow_call_s: float = 30.0
    slow_call_rate: float = 0.5
    reset_s: float = 30.0
    probe_timeout_s: float = 30.0
    is_failure: Callable[[Exception], bool] = every_exception
    is_failure_result: Callable[[object], bool] | None = None

    def __post_init__(self) -> None:
        _check.seconds(
            window_s=self.window_s,
            slow_call_s=self.slow_call_s,
            reset_s=self.reset_s,
            probe_timeout_s=self.probe_timeout_s,
        )
        _check.rate(failure_rate=self.failure_rate, slow_call_rate=self.slow_call_rate)
        _check.at_least(1, bucket_count=self.bucket_count, calls_min=self.calls_min)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSnapshot:
    """A breaker at one moment.

    Args:
        name: the breaker's name.
        state: its state. OPEN lasts until a call comes after `reset_s`; there is no timer.
        calls: calls in the window; once the breaker opened, those that made it open.
        failure_rate: the fraction of `calls` that failed, 0.0 without calls.
        slow_rate: the fraction of `calls` that was slow, 0.0 without calls.
        retry_after_s: seconds until a call may be let through; 0.0 when one may be now.
    """

    name: str
    state: BreakerState
    calls: int
    failure_rate: float
    slow_rate: float
    retry_after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerChange:
    """The last change of a breaker: opened, closed, set by an operator, or adopted.

    A probe is no change: a breaker that is HALF_OPEN is told as OPEN until the probe decides.

    Args:
        number: how many changes there were so far; 0 for a breaker that is as it was made.
        state: what it came to; never HALF_OPEN.
        age_s: seconds since the change.
        open_s: for OPEN, the seconds from the change until a probe may be let through.
        decision_number: the number of the last change that was an operator's decision, by
            `force_open`, `disable` or `reset` of this very breaker; 0 for none.
        decision_age_s: seconds since that change; since the breaker was made, for none.
    """

    number: int
    state: BreakerState
    age_s: float
    open_s: float
    decision_number: int
    decision_age_s: float
