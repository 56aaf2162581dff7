"""Holds: what may be decided about money that a transaction has reserved."""

from datetime import datetime

from eventstore.errors import InvalidInput, PlatformError
from transactions.domain.events import (
    TransactionCaptured,
    TransactionCompleted,
    TransactionExpired,
    TransactionVoided,
)
from transactions.domain.money import display
from transactions.domain.transaction import Transaction


class NotAHold(PlatformError):
    """The transaction has no reserved money that could be captured or voided."""

    code = "not_a_hold"


class AlreadyCaptured(PlatformError):
    """The reserved money was taken before."""

    code = "already_captured"


class AlreadyVoided(PlatformError):
    """The reserved money was released before."""

    code = "already_voided"


class HoldHasExpired(PlatformError):
    """The time for which the money was reserved is over."""

    code = "hold_expired"


class CaptureExceedsHold(InvalidInput):
    """More is to be taken than was reserved."""

    code = "capture_exceeds_hold"


def capture(
    transaction: Transaction, *, amount: int | None, now: datetime
) -> tuple[TransactionCaptured, TransactionCompleted]:
    """Decide that `amount` of the reserved money is taken; None for all of it.

    Raises:
        NotAHold, AlreadyCaptured, AlreadyVoided, HoldHasExpired: there is none any more.
        CaptureExceedsHold: it is more than was reserved.
    """
    _check_held(transaction, now)
    taken = transaction.amount if amount is None else amount
    if taken > transaction.amount:
        detail = f"No more than {display(transaction.amount, transaction.currency)} is reserved."
        raise CaptureExceedsHold(
            detail,
            errors=[{"pointer": "/amount", "code": CaptureExceedsHold.code, "detail": detail}],
        )
    return (
        TransactionCaptured(transaction=transaction.id, amount=taken),
        TransactionCompleted(transaction=transaction.id),
    )


def void(transaction: Transaction, *, now: datetime) -> TransactionVoided:
    """Decide that the reserved money is released; raises as `capture` does."""
    _check_held(transaction, now)
    return TransactionVoided(transaction=transaction.id)


def expire(transaction: Transaction, *, now: datetime) -> tuple[TransactionExpired, ...]:
    """Decide that the reserved money is released because its time is over; nothing before that."""
    if not transaction.has_expired(now):
        return ()
    return (TransactionExpired(transaction=transaction.id),)


def _check_held(transaction: Transaction, now: datetime) -> None:
    if not transaction.is_hold or transaction.status == "failed":
        raise NotAHold("This transaction has no reserved money.")
    if transaction.captured_amount:
        raise AlreadyCaptured("The reserved money was captured before, which works only once.")
    if transaction.status == "voided":
        raise AlreadyVoided("The hold was voided: its money is free again.")
    if transaction.status != "held" or transaction.has_expired(now):
        raise HoldHasExpired("The hold has expired, so its money is free again: make a new one.")
