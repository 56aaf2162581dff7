"""A transaction: its state, and how an event changes it."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from eventstore.messages import Event
from transactions.domain.commands import CreateTransaction
from transactions.domain.events import (
    TransactionCompleted,
    TransactionCreated,
    TransactionEvent,
    TransactionFailed,
)

Status = Literal[
    "pending",
    "processing",
    "held",
    "completed",
    "failed",
    "compensated",
    "voided",
    "expired",
    "reversed",
]

# Of `evolve` below: raise it when it would make another state of the same events.
CODE_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """The state of a transaction.

    Args:
        amount: minor units.
        failure_code: why the money did not move; empty while it did or may.
        version: of the transaction's stream.
        completed_at: when it came to its end, whichever that was.
    """

    id: UUID
    type: str
    status: Status
    source: UUID | None
    destination: UUID | None
    amount: int
    currency: str
    description: str
    reference: str
    metadata: dict[str, Any]
    failure_code: str
    failure_detail: str
    version: int
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None


def create(command: CreateTransaction) -> TransactionCreated:
    """Decide that the transaction exists, before anything is known of its end."""
    return TransactionCreated(
        transaction=command.id,
        type=command.type,
        source=command.source,
        destination=command.destination,
        amount=command.amount,
        currency=command.currency,
        description=command.description,
        reference=command.reference,
        metadata=command.metadata,
    )


def evolve(
    transaction: Transaction | None, event: Event, *, version: int, at: datetime
) -> Transaction:
    """Return the transaction after `event`, the one with `version` in its stream, at `at`.

    Raises:
        ValueError: the event cannot follow this state, so the stream is not what was written.
    """
    if not isinstance(event, TransactionEvent):
        raise ValueError(f"{type(event).__name__} is not an event of a transaction")
    if transaction is None or isinstance(event, TransactionCreated):
        return _created(transaction, event, version=version, at=at)
    if event.transaction != transaction.id or version != transaction.version + 1:
        raise ValueError(
            f"{type(event).__name__} as v{version} of transaction {event.transaction}"
            f" behind v{transaction.version} of {transaction.id}"
        )
    if transaction.status != "pending":
        raise ValueError(
            f"{type(event).__name__} of transaction {transaction.id}, which is {transaction.status}"
        )
    ended = replace(transaction, version=version, updated_at=at, completed_at=at)
    match event:
        case TransactionCompleted():
            return replace(ended, status="completed")
        case TransactionFailed():
            return replace(
                ended, status="failed", failure_code=event.code, failure_detail=event.detail
            )


def _created(
    transaction: Transaction | None, event: TransactionEvent, *, version: int, at: datetime
) -> Transaction:
    if transaction is not None or not isinstance(event, TransactionCreated) or version != 1:
        raise ValueError(
            f"{type(event).__name__} as v{version} of transaction {event.transaction}:"
            " TransactionCreated is the first event, and only the first"
        )
    return Transaction(
        id=event.transaction,
        type=event.type,
        status="pending",
        source=event.source,
        destination=event.destination,
        amount=event.amount,
        currency=event.currency,
        description=event.description,
        reference=event.reference,
        metadata=event.metadata,
        failure_code="",
        failure_detail="",
        version=version,
        created_at=at,
        updated_at=at,
        completed_at=None,
    )
