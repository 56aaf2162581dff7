"""A transaction: its state, what may be decided about it, and how an event changes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from eventstore.messages import Event
from transactions.domain.changes import changed
from transactions.domain.commands import CreateTransaction
from transactions.domain.events import (
    TransactionCaptured,
    TransactionCompleted,
    TransactionCreated,
    TransactionEvent,
    TransactionExpired,
    TransactionFailed,
    TransactionHeld,
    TransactionRedacted,
    TransactionReversed,
    TransactionVoided,
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
CODE_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """The state of a transaction.

    Args:
        amount: minor units that were asked for.
        failure_code: why the money did not move; empty while it did or may.
        expires_at: until when the money is or was reserved; None unless it was reserved first.
        captured_amount: minor units of the reserved money that were taken.
        reverses: the transaction whose money went back by this one; None for all others.
        reversed_amount: minor units that went back by reversals of this one.
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
    expires_at: datetime | None
    captured_amount: int
    reverses: UUID | None
    reversed_amount: int
    version: int
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None

    @property
    def is_hold(self) -> bool:
        """Whether the money was reserved before it was to move."""
        return self.expires_at is not None

    @property
    def moved_amount(self) -> int:
        """Minor units that moved, once the transaction is completed."""
        return self.captured_amount if self.is_hold else self.amount

    def has_expired(self, now: datetime) -> bool:
        """Whether the money is still reserved although its time is over."""
        return self.status == "held" and self.expires_at is not None and now >= self.expires_at

    def judged(self, now: datetime) -> "Transaction":
        """Return the transaction as it is to be seen at `now`: expired at once, if it is."""
        if not self.has_expired(now):
            return self
        return changed(self, status="expired", completed_at=self.expires_at)


def create(command: CreateTransaction, *, now: datetime) -> TransactionCreated:
    """Decide that the transaction exists, before anything is known of its end.

    Args:
        now: from when on money is reserved, if it is to be.
    """
    expires_at = None
    if command.hold:
        expires_at = now + timedelta(seconds=command.expires_in_s)
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
        expires_at=expires_at,
        reverses=None,
    )


# The phases in which each event may come, see `_phase`; `TransactionRedacted` may come in all.
_FOLLOWS: Mapping[type[Event], frozenset[str]] = {
    TransactionHeld: frozenset({"to be held"}),
    TransactionCaptured: frozenset({"held"}),
    TransactionVoided: frozenset({"held"}),
    TransactionExpired: frozenset({"held"}),
    TransactionCompleted: frozenset({"pending", "captured"}),
    TransactionFailed: frozenset({"pending", "to be held"}),
    TransactionReversed: frozenset({"completed"}),
}


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
    _check_follows(transaction, event, version)
    return changed(transaction, version=version, updated_at=at, **_changes(transaction, event, at))


def _changes(transaction: Transaction, event: TransactionEvent, at: datetime) -> dict[str, Any]:
    """Return what `event` makes of the members that it changes."""
    match event:
        case TransactionCompleted():
            return {"status": "completed", "completed_at": at}
        case TransactionHeld():
            return {"status": "held"}
        case TransactionCaptured():
            return {"captured_amount": event.amount}
        case TransactionVoided():
            return {"status": "voided", "completed_at": at}
        case TransactionExpired():
            # As it was judged from then on, however late the money was released.
            return {"status": "expired", "completed_at": transaction.expires_at}
        case TransactionReversed():
            return _reversed(transaction, event)
        case TransactionRedacted():
            return {"description": "", "reference": "", "metadata": {}}
        case TransactionFailed():
            failure = {"failure_code": event.code, "failure_detail": event.detail}
            return {"status": "failed", "completed_at": at, **failure}
        case TransactionCreated():
            raise ValueError(f"transaction {transaction.id} is created twice")


def _check_follows(transaction: Transaction, event: TransactionEvent, version: int) -> None:
    name = type(event).__name__
    if event.transaction != transaction.id or version != transaction.version + 1:
        raise ValueError(
            f"{name} as v{version} of transaction {event.transaction}"
            f" behind v{transaction.version} of {transaction.id}"
        )
    allowed, phase = _FOLLOWS.get(type(event)), _phase(transaction)
    if allowed is not None and phase not in allowed:
        raise ValueError(f"{name} of transaction {transaction.id}, which is {phase}")
    if isinstance(event, TransactionCaptured) and not 1 <= event.amount <= transaction.amount:
        raise ValueError(f"{name} of {event.amount} of {transaction.amount} held")


def _phase(transaction: Transaction) -> str:
    """Return the status, told apart further where a hold may not do what a movement may."""
    if transaction.is_hold:
        if transaction.status == "pending":
            return "to be held"
        if transaction.status == "held" and transaction.captured_amount:
            return "captured"
    return transaction.status


def _reversed(transaction: Transaction, event: TransactionReversed) -> dict[str, Any]:
    total = transaction.reversed_amount + event.amount
    adds_up = event.amount >= 1 and total == event.reversed_amount
    if not adds_up or total > transaction.moved_amount:
        raise ValueError(
            f"transaction {transaction.id}: {transaction.reversed_amount} of"
            f" {transaction.moved_amount} reversed and {event.amount} more do not make"
            f" {event.reversed_amount}"
        )
    status: Status = "reversed" if total == transaction.moved_amount else "completed"
    return {"status": status, "reversed_amount": total}


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
        expires_at=event.expires_at,
        captured_amount=0,
        reverses=event.reverses,
        reversed_amount=0,
        version=version,
        created_at=at,
        updated_at=at,
        completed_at=None,
    )
