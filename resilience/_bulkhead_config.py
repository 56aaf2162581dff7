"""The settings and the figures of a bulkhead."""

from dataclasses import dataclass

from resilience import _check


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkheadConfig:
    """How many calls may run, and how many may wait for how long.

    Args:
        size: calls that may run at once.
        queue_max: calls that may wait for a slot; 0: none waits.
        queue_timeout_s: how long one waits, in seconds; 0.0: not at all.
        retry_after_s: what `BulkheadFull` advises, in seconds.
    """

    size: int = 15
    queue_max: int = 100
    queue_timeout_s: float = 30.0
    retry_after_s: float = 1.0

    def __post_init__(self) -> None:
        _check.at_least(1, size=self.size)
        _check.at_least(0, queue_max=self.queue_max)
        _check.seconds_or_zero(
            queue_timeout_s=self.queue_timeout_s, retry_after_s=self.retry_after_s
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkheadSnapshot:
    """A bulkhead at one moment: slots, calls that run, calls that wait, and `active / size`."""

    name: str
    size: int
    active: int
    queued: int
    utilization: float
