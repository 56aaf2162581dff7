"""The permit of a circuit breaker: leave to make one call, and where to report on it."""

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, ParamSpec, TypeGuard, TypeVar

from resilience._window import Window
from resilience.errors import Refused

if TYPE_CHECKING:
    from resilience._breaker_states import BreakerStates

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def says_something(error: BaseException) -> TypeGuard[Exception]:
    """Whether `error` tells of the service, rather than that it was not asked, or given up."""
    return isinstance(error, Exception) and not isinstance(error, Refused)


class Permit:
    """Leave to make one call, and the place to report how it went.

    The first report counts; any further one does nothing, so that an error path and a `finally`
    may both report. A permit that is never reported counts as nothing; as a probe it loses its
    place after `probe_timeout_s`.
    """

    __slots__ = ("_breaker", "_reported", "_started_s", "_window")

    def __init__(self, breaker: "BreakerStates", window: Window | None, started_s: float) -> None:
        self._breaker = breaker
        self._window = window
        self._started_s = started_s
        self._reported = False

    def success(self, duration_s: float | None = None) -> None:
        """Report that the call went well; by default it took the time since the permit."""
        self._breaker._report(self, False, duration_s)

    def failure(self, duration_s: float | None = None) -> None:
        """Report that the call failed; by default it took the time since the permit."""
        self._breaker._report(self, True, duration_s)

    def cancel(self) -> None:
        """Report that the call says nothing about the service: it was not made, or given up."""
        self._breaker._cancel(self)

    def raised(self, error: BaseException) -> None:
        """Report that the call ended with `error`, judged by `BreakerConfig.is_failure`."""
        if not says_something(error):
            self.cancel()
            return
        self._judged(self._breaker.config.is_failure, error)

    def returned(self, result: object) -> None:
        """Report that the call returned `result`, judged by `is_failure_result`."""
        is_failure_result = self._breaker.config.is_failure_result
        if is_failure_result is None:
            self.success()
        else:
            self._judged(is_failure_result, result)

    def _judged(self, is_failure: Callable[[T], bool], outcome: T) -> None:
        try:
            failed = is_failure(outcome)
        except BaseException:
            self.cancel()  # A probe whose outcome nobody can tell is none.
            raise
        self._breaker._report(self, failed, None)


def run(permit: Permit, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Make the call that `permit` is for, and report how it went."""
    try:
        result = function(*args, **kwargs)
    except BaseException as error:
        permit.raised(error)
        raise
    permit.returned(result)
    return result


async def run_async(
    permit: Permit, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
) -> R:
    """Await the call that `permit` is for, and report how it went."""
    try:
        result = await function(*args, **kwargs)
    except BaseException as error:
        permit.raised(error)
        raise
    permit.returned(result)
    return result


class Guard:
    """The context manager that `CircuitBreaker.guard` returns; good for one block."""

    __slots__ = ("_breaker", "_permit")

    def __init__(self, breaker: "BreakerStates") -> None:
        self._breaker = breaker

    def __enter__(self) -> Permit:
        self._permit = self._breaker.acquire()
        return self._permit

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._permit.success()
        else:
            self._permit.raised(error)

    async def __aenter__(self) -> Permit:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)
