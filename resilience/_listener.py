"""The hook through which metrics and logs hear of what the patterns do."""

# A method that does nothing uses no argument.
# ruff: noqa: ARG002

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from resilience._breaker_config import BreakerState

_log = logging.getLogger("resilience")


class Listener(Protocol):
    """What the patterns tell.

    Any object with these methods will do. Better derive from it, and override what is of
    interest: the methods here do nothing, so that a listener written today goes on working when a
    later version tells of more.

    They are called in the thread of the call they are about, outside every lock, and must return
    quickly. Two threads may report two transitions in another order than they happened. What a
    listener raises is logged, and the call goes on. An `error` is the one that the call raised:
    its text may hold what the caller sent, so do not make it a label.
    """

    # The `return`s say that the methods are complete; empty ones, a Protocol takes for abstract.

    def on_transition(self, name: str, old: BreakerState, new: BreakerState) -> None:
        """The breaker `name` changed its state."""
        return

    def on_rejected(self, name: str, reason: str) -> None:
        """A call was not begun; `reason`: `breaker_open`, `queue_full`, `queue_timeout`,
        `rate_limited`."""
        return

    def on_fallback(self, name: str, error: Exception) -> None:
        """The limiter `name` decided from its local share, because of `error`."""
        return

    def on_retry(self, name: str, attempt: int, delay_s: float, error: Exception) -> None:
        """The retry `name` will make its retry number `attempt` (from 0) after `delay_s`."""
        return

    def on_given_up(self, name: str, reason: str, error: Exception) -> None:
        """The retry `name` raises `error` although it is retryable; `reason`: `retries_max`,
        `deadline`, `budget`, `retry_after`, `not_idempotent`."""
        return

    def on_replaced(self, name: str, error: Exception) -> None:
        """The fallback `name` answers in the place of a call that failed with `error`."""
        return


def tell(listeners: Sequence[Listener], event: Callable[[Listener], None]) -> None:
    """Call `event` with each listener; log what one raises, so that the call goes on."""
    for listener in listeners:
        try:
            event(listener)
        except Exception:
            _log.exception("The listener %r failed.", listener)
