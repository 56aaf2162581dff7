"""Deadlines: one absolute moment that travels with the work, instead of a time-out per call."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from types import TracebackType
from typing import ParamSpec, TypeVar

from resilience._clock import SYSTEM_CLOCK, Clock
from resilience.errors import DeadlineExceeded

P = ParamSpec("P")
R = TypeVar("R")

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
        deadline = self._deadline
        outer = _current.get()
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


class Timed:
    """A deadline for each call, as a policy sets it.

    Args:
        timeout_s: how long each call may take, in seconds.
        name: what the calls are called in `DeadlineExceeded`.
        clock: the clock of the deadlines.
    """

    def __init__(self, timeout_s: float, name: str, clock: Clock) -> None:
        self._timeout_s = timeout_s
        self._name = name
        self._clock = clock
        self._now = clock.monotonic

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `function` with a deadline of its own, or the caller's if that is earlier."""
        token = self._begin()
        try:
            return function(*args, **kwargs)
        finally:
            _current.reset(token)

    async def async_call(
        self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Await `function(...)` with a deadline of its own, or the caller's if that is earlier."""
        token = self._begin()
        try:
            return await function(*args, **kwargs)
        finally:
            _current.reset(token)

    async def cut_off(
        self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Await `function(...)` until the current deadline, and no longer.

        Raises:
            DeadlineExceeded: it was cut off.
        """
        try:
            async with asyncio.timeout(bounded_timeout_s(self._timeout_s)) as limit:
                return await function(*args, **kwargs)
        except TimeoutError as error:
            if not limit.expired():  # The call's own.
                raise
            raise DeadlineExceeded(self._name) from error

    def _begin(self) -> "Token[Deadline | None]":
        """Do what entering `Deadline.scope` does, in less time; raise `DeadlineExceeded`."""
        deadline = Deadline(self._now() + self._timeout_s, self._name, self._clock)
        outer = _current.get()
        if outer is not None and outer.remaining_s() <= self._timeout_s:
            outer.check()
            deadline = outer
        return _current.set(deadline)
