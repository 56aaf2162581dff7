"""A listener that writes to the standard library's log."""

import logging

from resilience._breaker_config import BreakerState
from resilience._listener import Listener

_log = logging.getLogger("resilience")
_ALARMING = frozenset({BreakerState.OPEN, BreakerState.FORCED_OPEN})


class LoggingListener(Listener):
    """Logs what the patterns tell.

    The facts are in the message and, for formatters that write JSON, in the record's attribute
    `fields`. Of an error only its type is logged: its text may hold secrets. What happens once
    changes the level that it is logged at: a breaker that opens, a call given up and one that a
    fallback answered are warnings, a breaker that closes and a retry are information. What may
    happen with each call of an outage, a refusal or a limiter's local decision, is for debugging:
    count it instead.

    Args:
        logger: where to write; by default the logger `resilience`.
    """

    def __init__(self, logger: logging.Logger = _log) -> None:
        self._logger = logger

    def on_transition(self, name: str, old: BreakerState, new: BreakerState) -> None:
        """Log a breaker's change of state."""
        level = logging.WARNING if new in _ALARMING else logging.INFO
        self._write(level, "breaker_transition", name, old=str(old), new=str(new))

    def on_rejected(self, name: str, reason: str) -> None:
        """Log a refusal."""
        self._write(logging.DEBUG, "call_rejected", name, reason=reason)

    def on_fallback(self, name: str, error: Exception) -> None:
        """Log a local decision of the limiter."""
        self._write(logging.DEBUG, "limiter_fallback", name, error=type(error).__name__)

    def on_retry(self, name: str, attempt: int, delay_s: float, error: Exception) -> None:
        """Log a retry."""
        self._write(
            logging.INFO,
            "call_retried",
            name,
            attempt=attempt,
            delay_s=round(delay_s, 3),
            error=type(error).__name__,
        )

    def on_given_up(self, name: str, reason: str, error: Exception) -> None:
        """Log a call that is not tried again."""
        self._write(
            logging.WARNING, "call_given_up", name, reason=reason, error=type(error).__name__
        )

    def on_replaced(self, name: str, error: Exception) -> None:
        """Log an answer of a fallback."""
        self._write(logging.WARNING, "call_replaced", name, error=type(error).__name__)

    def _write(self, level: int, event: str, name: str, **facts: str | float) -> None:
        if self._logger.isEnabledFor(level):
            text = ", ".join(f"{key}={value}" for key, value in facts.items())
            fields = {"event": event, "name": name, **facts}
            self._logger.log(level, "%s of %s: %s", event, name, text, extra={"fields": fields})
