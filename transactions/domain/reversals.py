"""Reversals: what may be decided about money that goes back where it came from."""

from eventstore.errors import InvalidInput, PlatformError
from transactions.domain.commands import ReverseTransaction
from transactions.domain.events import TransactionCreated, TransactionReversed
from transactions.domain.money import display
from transactions.domain.transaction import Transaction


class NotReversible(PlatformError):
    """The transaction has moved no money that could go back."""

    code = "not_reversible"


class ReversalExceedsOriginal(InvalidInput):
    """More is to go back than is left of what moved."""

    code = "reversal_exceeds_original"


def reverse(original: Transaction, command: ReverseTransaction) -> TransactionCreated:
    """Decide that money of `original` goes back; without an amount, all that is left.

    Raises:
        NotReversible: it has moved nothing, or is a reversal itself.
        ReversalExceedsOriginal: it is more than is left.
    """
    if original.status not in {"completed", "reversed"} or original.reverses is not None:
        kind = "a reversal" if original.reverses else original.status
        raise NotReversible(f"Only a completed movement can be reversed, and this one is {kind}.")
    left = original.moved_amount - original.reversed_amount
    amount = left if command.amount is None else command.amount
    if amount > left or not left:
        detail = f"No more than {display(left, original.currency)} is left to be reversed."
        raise ReversalExceedsOriginal(
            detail,
            errors=[{"pointer": "/amount", "code": ReversalExceedsOriginal.code, "detail": detail}],
        )
    return TransactionCreated(
        transaction=command.id,
        type="reversal",
        source=original.destination,
        destination=original.source,
        amount=amount,
        currency=original.currency,
        description=command.reason,
        reference="",
        metadata={},
        expires_at=None,
        reverses=original.id,
    )


def reversed_by(original: Transaction, reversal: TransactionCreated) -> TransactionReversed:
    """Return what the completed `reversal` means for the transaction that it reverses."""
    return TransactionReversed(
        transaction=original.id,
        reversal=reversal.transaction,
        amount=reversal.amount,
        reversed_amount=original.reversed_amount + reversal.amount,
    )
