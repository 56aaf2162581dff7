"""What the tests of the patterns share."""

import time
from collections.abc import Callable

from resilience import BreakerState, Listener


def eventually(condition: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    """Return as soon as `condition` holds; fail when it does not within `timeout_s`."""
    ends_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends_s, "the condition did not come to hold in time"
        time.sleep(0.001)


class Recorder(Listener):
    """A listener that writes everything down."""

    def __init__(self) -> None:
        self.transitions: list[tuple[str, BreakerState, BreakerState]] = []
        self.rejections: list[tuple[str, str]] = []
        self.fallbacks: list[tuple[str, Exception]] = []
        self.retries: list[tuple[str, int, float, Exception]] = []
        self.given_up: list[tuple[str, str, Exception]] = []
        self.replaced: list[tuple[str, Exception]] = []

    def on_transition(self, name: str, old: BreakerState, new: BreakerState) -> None:
        self.transitions.append((name, old, new))

    def on_rejected(self, name: str, reason: str) -> None:
        self.rejections.append((name, reason))

    def on_fallback(self, name: str, error: Exception) -> None:
        self.fallbacks.append((name, error))

    def on_retry(self, name: str, attempt: int, delay_s: float, error: Exception) -> None:
        self.retries.append((name, attempt, delay_s, error))

    def on_given_up(self, name: str, reason: str, error: Exception) -> None:
        self.given_up.append((name, reason, error))

    def on_replaced(self, name: str, error: Exception) -> None:
        self.replaced.append((name, error))
