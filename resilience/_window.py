"""A window of time that counts calls, failures and slow calls."""


class Window:
    """Counts over the last `bucket_count` buckets of time, the one of now included.

    Adding is O(1), and so is reading after `advance`. Not locked: its owner holds a lock around
    reading the clock and calling these methods, so that the time it gives never goes back.

    Args:
        window_s: the length of the window, in seconds.
        bucket_count: how many buckets it has.
        now_s: the present, in the seconds of a monotonic clock.
    """

    __slots__ = ("_bucket", "_bucket_s", "_buckets", "_index", "calls", "failures", "slow")

    def __init__(self, window_s: float, bucket_count: int, now_s: float) -> None:
        self._bucket_s = window_s / bucket_count
        # One list [calls, failures, slow] for each bucket; number i lives at i % bucket_count.
        self._buckets = [[0, 0, 0] for _ in range(bucket_count)]
        self._index = int(now_s / self._bucket_s)
        self._bucket = self._buckets[self._index % bucket_count]
        self.calls = 0
        self.failures = 0
        self.slow = 0

    def advance(self, now_s: float) -> None:
        """Forget the buckets that have left the window by `now_s`."""
        index = int(now_s / self._bucket_s)
        if index == self._index:
            return
        count = len(self._buckets)
        for gone in range(self._index + 1, min(index, self._index + count) + 1):
            bucket = self._buckets[gone % count]
            self.calls -= bucket[0]
            self.failures -= bucket[1]
            self.slow -= bucket[2]
            bucket[:] = (0, 0, 0)
        self._index = index
        self._bucket = self._buckets[index % count]

    def add(self, now_s: float, *, failed: bool, slow: bool) -> None:
        """Count one call that ended at `now_s`."""
        self.advance(now_s)
        bucket = self._bucket
        bucket[0] += 1
        self.calls += 1
        if failed:
            bucket[1] += 1
            self.failures += 1
        if slow:
            bucket[2] += 1
            self.slow += 1

    def rates(self) -> tuple[float, float]:
        """Return the fractions of calls that failed and that were slow; 0.0 without calls."""
        if self.calls == 0:
            return 0.0, 0.0
        return self.failures / self.calls, self.slow / self.calls
