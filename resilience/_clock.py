"""Where the time comes from. Every pattern takes a clock, so that tests need not sleep."""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What the patterns ask of a clock."""

    def monotonic(self) -> float:
        """Return seconds since some fixed moment; never goes back."""

    def time(self) -> float:
        """Return Unix seconds; may be set by an operator, so only for showing to people."""


class SystemClock:
    """The clock of the machine."""

    # Bound directly, without a method around them: the breaker reads the clock on every call.
    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)


SYSTEM_CLOCK = SystemClock()


class FakeClock:
    """A clock that moves only when told to, for tests of code that uses this package.

    Args:
        monotonic_s: where the monotonic clock starts, in seconds.
        unix_s: where the wall clock starts, in Unix seconds.

    >>> clock = FakeClock()
    >>> before = clock.monotonic()
    >>> clock.advance(30)
    >>> clock.monotonic() - before
    30.0
    """

    def __init__(self, *, monotonic_s: float = 1_000.0, unix_s: float = 1_700_000_000.0) -> None:
        self._lock = threading.Lock()
        self._monotonic_s = monotonic_s
        self._unix_s = unix_s

    def monotonic(self) -> float:
        """Return the monotonic seconds."""
        return self._monotonic_s

    def time(self) -> float:
        """Return the Unix seconds."""
        return self._unix_s

    def advance(self, seconds: float) -> None:
        """Move both clocks on by `seconds`; raise `ValueError` for a negative number."""
        if seconds < 0:
            raise ValueError(f"A clock does not go back: advance({seconds!r}).")
        with self._lock:
            self._monotonic_s += seconds
            self._unix_s += seconds

    def sleep(self, seconds: float) -> None:
        """Stand in for `time.sleep`: the time passes at once."""
        self.advance(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Stand in for `asyncio.sleep`: the time passes at once."""
        self.advance(seconds)
