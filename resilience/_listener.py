"""The hook through which metrics and logs hear of what the patterns do."""

import logging
from collections.abc import Callable, Sequence

from resilience._breaker_config import BreakerState

_log = logging.getLogger("resilience")


class Listener:
    """What the patterns tell. Derive from it and override what is of interest.

    A class rather than a Protocol: its methods do nothing, so that a listener written today
    goes on working when a later version tells of more. They are called in the thread of the
    call they are about, outside every lock, and must return quickly. Two threads may report two
    transitions in another order than they happened. What a listener raises is logged, and the
    call goes on.
    """

    def on_transition(self, name: str, old: BreakerState, new: BreakerState) -> None:
        """The breaker `name` changed its state."""

    def on_rejected(self, name: str, reason: str) -> None:
        """A call was not begun; `reason`: `breaker_open`, `queue_full`, `queue_timeout`."""

    def on_fallback(self, name: str, error: Exception) -> None:
        """The limiter `name` decided from its local share, because of `error`."""

    def on_retry(self, name: str, attempt: int, delay_s: float, error: Exception) -> None:
        """The retry `name` will make its retry number `attempt` (from 0) after `delay_s`."""

    def on_given_up(self, name: str, reason: str, error: Exception) -> None:
        """The retry `name` raises `error` although it is retryable; `reason`: `retries_max`,
        `deadline`, `budget`, `retry_after`."""


def tell(listeners: Sequence[Listener], event: Callable[[Listener], None]) -> None:
    """Call `event` with each listener; log what one raises, so that the call goes on."""
    for listener in listeners:
        try:
            event(listener)
        except Exception:
            _log.exception("The listener %r failed.", listener)
