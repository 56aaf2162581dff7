"""A window of time that counts calls, failures and slow calls."""

import sys
from itertools import repeat
from operator import length_hint

# Note [Counting without a lock]
#
# Nearly all calls are plain: neither failed nor slow. They are counted without a lock, by a
# `repeat` iterator for each bucket that is asked for its next item: C code takes one off what it
# still has to give, in one step under the interpreter's lock, and `length_hint` tells what is
# left. So none is lost between threads, and an exception from a signal handler can leave no lock
# behind. Everything else happens under the owner's lock:
#
# - A tally that has left the window is replaced by a new one, never set back. A thread that
#   counts on the old one, because it read it a moment before, has counted a call of then.
# - A plain call lowers both rates. So it can only open a breaker if it is the one that reaches
#   the minimum, or the first since others have left the window. `watched` says that either may
#   be. Who counts a plain call looks at `watched` afterwards, and who counts a bad one sets it
#   before reading the tallies: of two at once, one sees the other.


class Window:
    """Counts over the last `bucket_count` buckets of time, the one of now included.

    Only `tally` may be called without the owner's lock. Adding is O(1), reading is O(buckets).

    Args:
        window_s: the length of the window, in seconds.
        bucket_count: how many buckets it has.
        now_s: the present, in the seconds of a monotonic clock.

    Attributes:
        tally: counts a plain call, which ended before `ends_s`; look at `watched` afterwards.
        ends_s: when the present bucket ends.
        watched: whether a plain call may matter to who looks at the rates.
        failures: calls that failed.
        slow: calls that were slow, failed or not.
    """

    __slots__ = (
        "_bad",
        "_bad_calls",
        "_bucket_s",
        "_index",
        "_tallies",
        "ends_s",
        "failures",
        "slow",
        "tally",
        "watched",
    )

    def __init__(self, window_s: float, bucket_count: int, now_s: float) -> None:
        self._bucket_s = window_s / bucket_count
        # Bucket number i lives at i % bucket_count: its tally of plain calls, and a list of bad
        # calls, failures, slow calls.
        self._tallies = [repeat(None, sys.maxsize) for _ in range(bucket_count)]
        self._bad = [[0, 0, 0] for _ in range(bucket_count)]
        self._bad_calls = 0
        self.failures = 0
        self.slow = 0
        self.watched = False
        self._go_to(int(now_s / self._bucket_s))

    def _go_to(self, index: int) -> None:
        self._index = index
        self.ends_s = (index + 1) * self._bucket_s
        self.tally = self._tallies[index % len(self._tallies)].__next__

    @property
    def calls(self) -> int:
        """All calls in the window."""
        left = sum(map(length_hint, self._tallies))
        return len(self._tallies) * sys.maxsize - left + self._bad_calls

    def advance(self, now_s: float) -> None:
        """Forget the buckets that have left the window by `now_s`.

        A time before the present bucket is taken for its beginning: who read the clock before
        waiting for the lock may come after one who read it later.
        """
        if now_s < self.ends_s:
            return
        index = int(now_s / self._bucket_s)
        count = len(self._tallies)
        for gone in range(self._index + 1, min(index, self._index + count) + 1):
            self._tallies[gone % count] = repeat(None, sys.maxsize)
            bad = self._bad[gone % count]
            self._bad_calls -= bad[0]
            self.failures -= bad[1]
            self.slow -= bad[2]
            bad[:] = (0, 0, 0)
        self._go_to(index)
        self.watched = self._bad_calls > 0

    def add(self, now_s: float, *, failed: bool, slow: bool) -> None:
        """Count one call that ended at `now_s`."""
        self.advance(now_s)
        if not (failed or slow):
            self.tally()
            return
        bad = self._bad[self._index % len(self._bad)]
        bad[0] += 1
        self._bad_calls += 1
        if failed:
            bad[1] += 1
            self.failures += 1
        if slow:
            bad[2] += 1
            self.slow += 1
        self.watched = True

    def rates(self) -> tuple[int, float, float]:
        """Return the calls, and the fractions that failed and that were slow; 0.0 without calls."""
        calls = self.calls
        if calls == 0:
            return 0, 0.0, 0.0
        return calls, self.failures / calls, self.slow / calls
