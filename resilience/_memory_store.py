"""The limiter's store inside this process."""

import itertools
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from resilience import _check
from resilience._clock import SYSTEM_CLOCK, Clock
from resilience._limiter_store import Ask, Grant, LimiterWindow, Rest

# One lease is at most this part of what is left; see Note [Leases are never counted too short].
_LEASE_PART = 8


@dataclass(slots=True)
class _Entry:
    """An admitted request, or a lease: its units, and the last moment at which it can be used."""

    ends_s: float
    units: int
    ticket: str | bytes | None = None


@dataclass(slots=True)
class _Log:
    """What was admitted of one key, the first to leave first, and the sum of it."""

    entries: deque[_Entry] = field(default_factory=deque)
    used: int = 0
    # The end of the window, for fixed windows only.
    window_ends_s: float = float("-inf")

    def record(self, entry: _Entry) -> None:
        at = len(self.entries)
        while at and self.entries[at - 1].ends_s > entry.ends_s:
            at -= 1
        self.entries.insert(at, entry)
        self.used += entry.units

    def give_back(self, rest: Rest, now_s: float) -> None:
        for entry in self.entries:
            if entry.ticket == rest.ticket:
                self.entries.remove(entry)
                self.used -= entry.units
                spent = entry.units - rest.units
                if spent:
                    self.record(_Entry(min(entry.ends_s, now_s), spent))
                return

    def frees_s(self, limit: int) -> float:
        """Return the end of the entry with whose leaving one more is admitted."""
        over = max(0, self.used - limit)
        for entry in self.entries:
            over -= entry.units
            if over < 0:
                return entry.ends_s
        return float("-inf")


class MemoryStore:
    """Counts in this process: exact for its threads, unknown to other processes.

    Args:
        clock: where the time comes from.
        keys_max: at most so many keys are kept; beyond them, the one that was used longest ago
            is forgotten, and begins anew.
        window: `sliding`, a log of the last window; or `fixed`, a count that begins anew with
            the first request after a window.
    """

    def __init__(
        self,
        *,
        clock: Clock = SYSTEM_CLOCK,
        keys_max: int = 10_000,
        window: LimiterWindow = "sliding",
    ) -> None:
        _check.at_least(1, keys_max=keys_max)
        self._clock = clock
        self._keys_max = keys_max
        self._is_fixed = window == "fixed"
        self._tickets = itertools.count(1)
        self._lock = threading.Lock()
        # Of each (key, window), ordered by use, so that the first one is the one to forget.
        self._logs: OrderedDict[tuple[str, float], _Log] = OrderedDict()

    def take(self, ask: Ask, /) -> Grant:
        """Admit and record; see `LimiterStore.take`."""
        with self._lock:
            now_s = self._clock.monotonic()
            log = self._log(ask, now_s)
            if ask.rest is not None:
                log.give_back(ask.rest, now_s)
            units = max(0, min(ask.units, ask.limit - log.used))
            if units > 1:
                units = min(units, max(1, (ask.limit - log.used) // _LEASE_PART))
            live_s = max(0.0, log.entries[-1].ends_s - now_s) if log.entries else 0.0
            if self._is_fixed:
                frees_in_s = log.window_ends_s - now_s
            ticket, lease_s = None, 0.0
            if units > 1:
                ticket = str(next(self._tickets))
                lease_s = min(ask.lease_s, frees_in_s) if self._is_fixed else ask.lease_s
            if units == 1 and self._is_fixed:
                log.used += 1
            elif units:
                log.record(_Entry(now_s + lease_s, units, ticket))
            if not self._is_fixed:
                frees_in_s = max(0.0, log.frees_s(ask.limit) + ask.window_s - now_s)
        remaining = max(0, ask.limit - log.used)
        recheck_in_s = min(frees_in_s, live_s + ask.lease_s) if live_s else frees_in_s
        frees_at_s = self._clock.time() + frees_in_s
        return Grant(units, remaining, frees_in_s, frees_at_s, recheck_in_s, lease_s, ticket)

    def _log(self, ask: Ask, now_s: float) -> _Log:
        """Return the key's log without what has left the window."""
        name = (ask.key, ask.window_s)
        log = self._logs.setdefault(name, _Log())
        self._logs.move_to_end(name)
        if len(self._logs) > self._keys_max:
            self._logs.popitem(last=False)
        if self._is_fixed:
            if log.window_ends_s <= now_s:
                log.entries.clear()
                # A rest that comes back late begins no window.
                log.used, log.window_ends_s = 0, now_s + (ask.window_s if ask.units else 0.0)
            return log
        while log.entries and log.entries[0].ends_s <= now_s - ask.window_s:
            log.used -= log.entries.popleft().units
        return log
