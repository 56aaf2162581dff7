"""One database transaction a batch; what loses a race is tried again.

Commit is the only moment of truth. Deadlocks, lock time-outs and lost races for a version roll
the whole batch back, and it is decided anew on what the winner left.
"""

from collections.abc import Sequence

from django.db import OperationalError

from eventstore.bus import Execute
from eventstore.messages import Envelope, Outcome
from eventstore.store import ConcurrencyConflict
from eventstore.writing import write_transaction
from resilience import RetryConfig, RetryWithBackoff

# MySQL and MariaDB: lock wait time-out, deadlock. SQLite says it in words.
_MYSQL_RETRYABLE = frozenset({1205, 1213})


def lost_a_race(error: Exception) -> bool:
    """Return whether the database rolled back because somebody else was faster."""
    if isinstance(error, ConcurrencyConflict):
        return True
    if not isinstance(error, OperationalError):
        return False
    return (error.args[:1] and error.args[0] in _MYSQL_RETRYABLE) or "locked" in str(error)


_retry = RetryWithBackoff(
    RetryConfig(
        retries_max=6,
        base_s=0.005,
        cap_s=0.5,
        jitter_s=0.02,
        is_retryable=lost_a_race,
        # The database rolled the batch back.
        had_no_effect=lost_a_race,
        budget_ratio=None,
    ),
    name="transaction",
)


def durable(proceed: Execute) -> Execute:
    """Run the rest of the chain in one durable transaction, again when it lost a race."""

    def once(batch: Sequence[Envelope]) -> list[Outcome]:
        with write_transaction(durable=True):
            return proceed(batch)

    def execute(batch: Sequence[Envelope]) -> list[Outcome]:
        return _retry.call(once, batch)

    return execute
