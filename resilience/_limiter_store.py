"""What the rate limiter asks of a store, and the store inside this process."""

import threading
from collections import OrderedDict, deque
from typing import NamedTuple, Protocol

from resilience import _check
from resilience._clock import SYSTEM_CLOCK, Clock


class Hit(NamedTuple):
    """A store's answer.

    Args:
        allowed: whether the request was admitted, and so recorded.
        remaining: how many more would be admitted now.
        frees_in_s: seconds until the oldest recorded request that counts leaves the window: the
            moment at which one more would be admitted.
        frees_at_s: the same moment in Unix seconds, on the store's clock.
    """

    allowed: bool
    remaining: int
    frees_in_s: float
    frees_at_s: float


class LimiterStore(Protocol):
    """Where the requests of each key are recorded."""

    def hit(self, key: str, *, limit: int, window_s: float) -> Hit:
        """Admit and record one request of `key`, unless `limit` were in the last `window_s`.

        One indivisible step, also between processes when the store is shared by several. A
        rejected request is not recorded.

        Raises:
            StoreUnavailable: the store could not be asked.
        """


class MemoryStore:
    """A sliding-window log in this process: exact for its threads, unknown to other processes.

    Args:
        clock: where the time comes from.
        keys_max: at most so many keys are kept; beyond them, the one that was used longest ago
            is forgotten, and begins anew.
    """

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK, keys_max: int = 10_000) -> None:
        _check.at_least(1, keys_max=keys_max)
        self._clock = clock
        self._keys_max = keys_max
        self._lock = threading.Lock()
        # The log of each (key, window): moments of admitted requests, oldest first. Ordered by
        # use, so that the first one is the one to forget.
        self._logs: OrderedDict[tuple[str, float], deque[float]] = OrderedDict()

    def hit(self, key: str, *, limit: int, window_s: float) -> Hit:
        """Admit and record one request; see `LimiterStore.hit`."""
        with self._lock:
            now_s = self._clock.monotonic()
            log = self._logs.setdefault((key, window_s), deque())
            self._logs.move_to_end((key, window_s))
            if len(self._logs) > self._keys_max:
                self._logs.popitem(last=False)
            while log and log[0] <= now_s - window_s:
                log.popleft()
            allowed = len(log) < limit
            if allowed:
                log.append(now_s)
            used = len(log)
            # With a lowered limit, more than one must leave before another is admitted.
            frees_in_s = log[max(0, used - limit)] + window_s - now_s
        return Hit(allowed, max(0, limit - used), frees_in_s, self._clock.time() + frees_in_s)
