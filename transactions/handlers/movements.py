"""Commands that move money, reserve it, or send it back."""

from typing import Any
from uuid import UUID

from eventstore.messages import Context
from transactions.domain import commands, holds, movements, preconditions, reversals
from transactions.domain import transaction as transactions
from transactions.domain.account import Account
from transactions.domain.events import (
    AccountEvent,
    TransactionCompleted,
    TransactionCreated,
    TransactionEvent,
    TransactionFailed,
    TransactionHeld,
    TransactionRedacted,
)
from transactions.domain.refusals import Refusal
from transactions.domain.transaction import Transaction
from transactions.handlers.access import (
    open_to_destination,
    open_to_source,
    require_admin,
    visible_account,
)
from transactions.ledger import AccountNotFound, Ledger


class LedgerMismatch(Refusal):
    """The accounts belong to different ledgers."""

    code = "ledger_mismatch"


def create_transaction(
    command: commands.CreateTransaction, ledger: Ledger, context: Context
) -> Transaction:
    """Move money or reserve it, or record why it may not move.

    Both sides are decided before either is recorded: a transfer is one atomic append to its
    three streams, or a failed transaction and nothing else.
    """
    _check_parties(command, ledger, context)
    created = transactions.create(command, now=ledger.now)
    cause = ledger.record(created, context=context, correlation_id=command.id)
    end: TransactionEvent
    try:
        preconditions.check(command.preconditions, ledger.account)
        if command.hold:
            events, end = _hold(created, ledger), TransactionHeld(transaction=command.id)
        else:
            events = _legs(created, ledger, context)
            end = TransactionCompleted(transaction=command.id)
    except Refusal as refusal:
        events, end = (), _failed(created, refusal)
    ledger.record(*events, end, context=context, correlation_id=command.id, causation_id=cause)
    return ledger.transaction(command.id)


def capture_hold(command: commands.CaptureHold, ledger: Ledger, context: Context) -> Transaction:
    """Take reserved money, once, and release what is left of it."""
    transaction = ledger.transaction(command.id)
    open_to_source(transaction, ledger, context)
    captured, completed = holds.capture(transaction, amount=command.amount, now=ledger.now)
    money = _money(transaction, captured.amount)
    source = ledger.account(transaction.source)
    taken = movements.capture(source, **money)
    credited = movements.credit(
        _other_side(transaction.destination, source, ledger, context), **money
    )
    about: dict[str, Any] = {"context": context, "correlation_id": transaction.id}
    ledger.record(taken, credited, **about)
    rest = transaction.amount - captured.amount
    if rest:
        ledger.record(_release(transaction, rest, ledger), **about)
    ledger.record(captured, completed, **about)
    return ledger.transaction(transaction.id)


def void_hold(command: commands.VoidHold, ledger: Ledger, context: Context) -> Transaction:
    """Release reserved money."""
    transaction = ledger.transaction(command.id)
    open_to_source(transaction, ledger, context)
    voided = holds.void(transaction, now=ledger.now)
    released = _release(transaction, transaction.amount, ledger)
    ledger.record(released, voided, context=context, correlation_id=transaction.id)
    return ledger.transaction(transaction.id)


def expire_hold(command: commands.ExpireHold, ledger: Ledger, context: Context) -> Transaction:
    """Release reserved money whose time is over; nothing when it is not, or not any more."""
    require_admin(context)
    transaction = ledger.transaction(command.id)
    expired = holds.expire(transaction, now=ledger.now)
    if expired:
        released = _release(transaction, transaction.amount, ledger)
        ledger.record(released, *expired, context=context, correlation_id=transaction.id)
    return ledger.transaction(transaction.id)


def reverse_transaction(
    command: commands.ReverseTransaction, ledger: Ledger, context: Context
) -> Transaction:
    """Send money back by a transaction of its own, or record why it may not move."""
    original = ledger.transaction(command.reverses)
    open_to_destination(original, ledger, context)
    created = reversals.reverse(original, command)
    cause = ledger.record(created, context=context, correlation_id=command.id)
    try:
        events = _legs(created, ledger, context)
    except Refusal as refusal:
        failed = _failed(created, refusal)
        ledger.record(failed, context=context, correlation_id=command.id, causation_id=cause)
        return ledger.transaction(command.id)
    ledger.record(
        *events,
        TransactionCompleted(transaction=command.id),
        context=context,
        correlation_id=command.id,
        causation_id=cause,
    )
    reversed_ = reversals.reversed_by(original, created)
    ledger.record(reversed_, context=context, correlation_id=original.id, causation_id=cause)
    return ledger.transaction(command.id)


def redact_transaction(
    command: commands.RedactTransaction, ledger: Ledger, context: Context
) -> Transaction:
    """Remove what a transaction tells of a person, as an admin; nothing when it tells nothing."""
    require_admin(context)
    transaction = ledger.transaction(command.id)
    if transaction.description or transaction.reference or transaction.metadata:
        redacted = TransactionRedacted(transaction=transaction.id)
        ledger.record(redacted, context=context, correlation_id=transaction.id)
    return ledger.transaction(transaction.id)


def _check_parties(command: commands.CreateTransaction, ledger: Ledger, context: Context) -> None:
    """Raise `AccountNotFound` or `MissingScope` unless the caller may name these accounts.

    An account that the caller must not use is as unknown as one that does not exist.
    """
    if command.type == "deposit":
        require_admin(context)
    if command.source is not None:
        visible_account(ledger.account(command.source), context)
    if command.destination is not None and ledger.account(command.destination).is_external:
        raise AccountNotFound(f"No account {command.destination} was found.")
    for wanted in command.preconditions:
        visible_account(ledger.account(wanted.account), context)


def _hold(created: TransactionCreated, ledger: Ledger) -> tuple[AccountEvent, ...]:
    """Decide to reserve money that could arrive now; raise a `Refusal`."""
    source, money = ledger.account(created.source), _money(created, created.amount)
    if created.destination is not None:
        destination = ledger.account(created.destination)
        _check_same_ledger(source, destination)
        movements.credit(destination, **money)
    return (movements.hold(source, **money),)


def _legs(
    created: TransactionCreated, ledger: Ledger, context: Context
) -> tuple[AccountEvent, ...]:
    """Decide on both sides; raise a `Refusal`. A side without an account is the outside world.

    The side of an account is decided first: money that cannot move must not open the account
    of the outside world.
    """
    transaction = created.transaction
    money = {**_money(created, created.amount), "transaction": transaction}
    if created.source is None:
        destination = ledger.account(created.destination)
        credited = movements.credit(destination, **money)
        outside = _other_side(None, destination, ledger, context)
        return movements.debit(outside, **money), credited
    source = ledger.account(created.source)
    if created.destination is not None:
        _check_same_ledger(source, ledger.account(created.destination))
    debited = movements.debit(source, **money)
    return debited, movements.credit(
        _other_side(created.destination, source, ledger, context), **money
    )


def _other_side(account: UUID | None, near: Account, ledger: Ledger, context: Context) -> Account:
    """Return the account, or the outside world of the account `near`."""
    if account is not None:
        return ledger.account(account)
    return ledger.external_account(ledger=near.ledger, currency=near.currency, context=context)


def _check_same_ledger(source: Account, destination: Account) -> None:
    if source.ledger != destination.ledger:
        raise LedgerMismatch("The accounts belong to different ledgers.")


def _release(transaction: Transaction, amount: int, ledger: Ledger) -> AccountEvent:
    return movements.release(ledger.account(transaction.source), **_money(transaction, amount))


def _money(transaction: Transaction | TransactionCreated, amount: int) -> dict[str, Any]:
    """Return what every movement of money says."""
    key = transaction.id if isinstance(transaction, Transaction) else transaction.transaction
    return {"transaction": key, "amount": amount, "currency": transaction.currency}


def _failed(created: TransactionCreated, refusal: Refusal) -> TransactionFailed:
    return TransactionFailed(
        transaction=created.transaction, code=refusal.code, detail=refusal.detail
    )
