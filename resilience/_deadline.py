"""Deadlines: one absolute moment that travels with the work, instead of a time-out per call."""

import math
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType

from resilience._clock import SYSTEM_CLOCK, Clock
from resilience.errors import DeadlineExceeded

_current: ContextVar["Deadline | None"] = ContextVar("resilience_deadline", default=None)


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment by which a piece of work must be done.

    Nothing is interrupted: whoever waits or begins something asks how much time is left. So no
    thread is left behind, as one is when a time-out abandons it.

    Args:
        at_s: the moment, in the seconds of `clock.monotonic()`.
        name: what the work is called in `DeadlineExceeded`.
        clock: the clock that `at_s` belongs to.
    """

    at_s: float
    name: str = "The work"
    clock: Clock = field(default=SYSTEM_CLOCK, repr=False, compare=False)

    @classmethod
    def after(
        cls, seconds: float, *, name: str = "The work", clock: Clock = SYSTEM_CLOCK
    ) -> "Deadline":
        """Return the deadline `seconds` from now; raise `ValueError` for NaN or infinity."""
        if not math.isfinite(seconds):
            raise ValueError(f"A deadline after {seconds!r} seconds will not do: give a number.")
        return cls(clock.monotonic() + seconds, name, clock)

    def remaining_s(self) -> float:
        """Return the seconds that are left, never below 0."""
        return max(0.0, self.at_s - self.clock.monotonic())

    @property
    def expired(self) -> bool:
        """Whether the moment has come."""
        return self.clock.monotonic() >= self.at_s

    def check(self) -> None:
        """Raise `DeadlineExceeded` when the moment has come."""
        if self.expired:
            raise DeadlineExceeded(self.name)

    def scope(self) -> "_Scope":
        """Make this the current deadline of a `with` block, and give the one that holds in it.

        A scope inside another one only shortens: the earlier of the two holds. The current
        deadline follows coroutines and `asyncio.to_thread`; a thread started by hand begins
        without one, unless it runs in a `contextvars.copy_context()`.
        """
        return _Scope(self)


class _Scope:
    """The context manager that `Deadline.scope` returns; good for one block."""

    __slots__ = ("_deadline", "_token")

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def __enter__(self) -> Deadline:
        deadline, outer = self._deadline, _current.get()
        if outer is not None and outer.remaining_s() <= deadline.remaining_s():
            deadline = outer
        self._token = _current.set(deadline)
        return deadline

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        _current.reset(self._token)


def current_deadline() -> Deadline | None:
    """Return the deadline of the work that is being done here, if it has one."""
    return _current.get()


def bounded_timeout_s(timeout_s: float) -> float:
    """Return `timeout_s`, or what the current deadline leaves of it, in seconds, never below 0."""
    deadline = _current.get()
    return timeout_s if deadline is None else min(timeout_s, deadline.remaining_s())
