"""What listeners hear, and what the one that logs writes."""

import logging

import pytest

from resilience import BreakerState, Listener, LoggingListener
from resilience._listener import tell


def tell_everything(listener: Listener) -> None:
    """Call every method of a listener once."""
    error = ConnectionError("https://user:secret@ledger")
    listener.on_transition("ledger", BreakerState.CLOSED, BreakerState.OPEN)
    listener.on_transition("ledger", BreakerState.OPEN, BreakerState.HALF_OPEN)
    listener.on_rejected("ledger", "queue_full")
    listener.on_fallback("limiter", error)
    listener.on_retry("ledger", 1, 2.05049, error)
    listener.on_given_up("ledger", "deadline", error)
    listener.on_replaced("balance", error)


def test_what_a_listener_does_not_care_for_passes() -> None:
    class Some(Listener):
        def __init__(self) -> None:
            self.heard: list[str] = []

        def on_rejected(self, name: str, reason: str) -> None:
            self.heard.append(f"{name} {reason}")

    listener = Some()
    tell_everything(listener)
    assert listener.heard == ["ledger queue_full"]


def test_what_a_listener_raises_is_logged_and_the_others_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Listener):
        def on_rejected(self, name: str, reason: str) -> None:
            raise ValueError("a bug")

    class Whole(Listener):
        heard = 0

        def on_rejected(self, name: str, reason: str) -> None:
            self.heard += 1

    whole = Whole()
    tell([Broken(), whole], lambda each: each.on_rejected("ledger", "queue_full"))
    assert whole.heard == 1
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None


def test_the_log_has_every_fact_as_a_field(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="resilience")
    tell_everything(LoggingListener())
    assert [(record.levelname, record.__dict__["fields"]) for record in caplog.records] == [
        (
            "WARNING",
            {"event": "breaker_transition", "name": "ledger", "old": "closed", "new": "open"},
        ),
        (
            "INFO",
            {"event": "breaker_transition", "name": "ledger", "old": "open", "new": "half_open"},
        ),
        ("DEBUG", {"event": "call_rejected", "name": "ledger", "reason": "queue_full"}),
        ("DEBUG", {"event": "limiter_fallback", "name": "limiter", "error": "ConnectionError"}),
        (
            "INFO",
            {
                "event": "call_retried",
                "name": "ledger",
                "attempt": 1,
                "delay_s": 2.05,
                "error": "ConnectionError",
            },
        ),
        (
            "WARNING",
            {
                "event": "call_given_up",
                "name": "ledger",
                "reason": "deadline",
                "error": "ConnectionError",
            },
        ),
        ("WARNING", {"event": "call_replaced", "name": "balance", "error": "ConnectionError"}),
    ]
    assert caplog.records[2].getMessage() == "call_rejected of ledger: reason=queue_full"


def test_the_log_has_no_secret_of_an_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="resilience")
    tell_everything(LoggingListener())
    assert len(caplog.records) == 7
    assert all("secret" not in str(record.__dict__) for record in caplog.records)


def test_the_logger_and_its_level_are_the_callers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="mine")
    tell_everything(LoggingListener(logging.getLogger("mine")))
    assert {(record.name, record.levelname) for record in caplog.records} == {("mine", "WARNING")}
