"""What the patterns of this package raise.

Every error has a stable `code`, a sentence (`str(error)` and `detail`) and `retry_after_s`.
The package knows nothing of HTTP: who answers requests decides the status of each code.
"""

from typing import ClassVar


class ResilienceError(Exception):
    """The root of all errors of this package.

    Args:
        name: the breaker, bulkhead or deadline that raised it.
        retry_after_s: the earliest moment at which another attempt makes sense, in seconds from
            now; 0.0 when nothing is known that speaks against trying at once.
    """

    code: ClassVar[str] = "resilience_error"
    retryable: ClassVar[bool] = True
    sentence: ClassVar[str] = "{name} refused the call."

    def __init__(self, name: str, retry_after_s: float = 0.0) -> None:
        # Both arguments go to `args`, so that the error survives pickling between processes.
        super().__init__(name, retry_after_s)
        self.name = name
        self.retry_after_s = retry_after_s

    @property
    def detail(self) -> str:
        """A sentence for the client."""
        return self.sentence.format(name=self.name, retry_after_s=self.retry_after_s)

    def __str__(self) -> str:
        return self.detail


class Refused(ResilienceError):
    """The call was not begun, so it had no effect: the root of what the patterns refuse with."""


class BreakerOpen(Refused):
    """The circuit breaker let nothing through: the call was not begun."""

    code = "service_unavailable"
    sentence = "{name} is unavailable for now; try again in {retry_after_s:.1f} s."


class BulkheadFull(Refused):
    """No slot became free in time, or the queue was full: the call was not begun."""

    code = "overloaded"
    sentence = "{name} is at its capacity; try again in {retry_after_s:.1f} s."


class RateLimited(Refused):
    """More calls were made than the limit allows: the call was not begun."""

    code = "rate_limited"
    sentence = "{name} allows no further call for now; try again in {retry_after_s:.1f} s."


class DeadlineExceeded(ResilienceError):
    """The time for this work is over; whether the work took effect is not known."""

    code = "deadline_exceeded"
    sentence = "{name} did not finish in time."


class StoreUnavailable(ResilienceError):
    """The limiter's store could not be asked; `RateLimiter` decides locally instead."""

    code = "limiter_store_unavailable"
    sentence = "The limiter's store {name} could not be asked."
