"""One function a command: load what it needs, let the domain decide, record what was decided."""

from collections.abc import Mapping
from typing import Any

from eventstore.bus import Handler
from eventstore.messages import Command, Context
from transactions.domain import account as accounts
from transactions.domain import commands
from transactions.domain import transaction as transactions
from transactions.domain.account import Account
from transactions.domain.events import (
    AccountCredited,
    AccountDebited,
    AccountOpened,
    TransactionCompleted,
    TransactionFailed,
)
from transactions.domain.refusals import Refusal
from transactions.domain.transaction import Transaction
from transactions.ledger import AccountNotFound, Ledger
from users.scopes import ADMIN, MissingScope


class LedgerMismatch(Refusal):
    """The accounts belong to different ledgers."""

    code = "ledger_mismatch"


def open_account(command: commands.OpenAccount, ledger: Ledger, context: Context) -> Account:
    """Open an account for the caller; for somebody else, or with an overdraft, as an admin."""
    if command.owner != context.actor or command.overdraft_limit:
        _require_admin(context)
    ledger.record(
        AccountOpened(
            account=command.id,
            owner=command.owner,
            ledger=command.ledger,
            currency=command.currency,
            name=command.name,
            overdraft_limit=command.overdraft_limit,
            metadata=command.metadata,
        ),
        context=context,
        correlation_id=command.id,
    )
    return ledger.account(command.id)


def change_account(command: commands.ChangeAccount, ledger: Ledger, context: Context) -> Account:
    """Change name and metadata of one's own account."""
    account = _own_account(ledger, command, context)
    events = accounts.change(account, name=command.name, metadata=command.metadata)
    return _record_all(ledger, account, events, context)


def freeze_account(command: commands.FreezeAccount, ledger: Ledger, context: Context) -> Account:
    """Freeze any account, as an admin."""
    account = _own_account(ledger, command, context, for_admins=True)
    return _record_all(ledger, account, accounts.freeze(account, reason=command.reason), context)


def unfreeze_account(
    command: commands.UnfreezeAccount, ledger: Ledger, context: Context
) -> Account:
    """Unfreeze any account, as an admin."""
    account = _own_account(ledger, command, context, for_admins=True)
    return _record_all(ledger, account, accounts.unfreeze(account, reason=command.reason), context)


def close_account(command: commands.CloseAccount, ledger: Ledger, context: Context) -> Account:
    """Close one's own account, or any as an admin."""
    account = _own_account(ledger, command, context)
    return _record_all(ledger, account, accounts.close(account, reason=command.reason), context)


def create_transaction(
    command: commands.CreateTransaction, ledger: Ledger, context: Context
) -> Transaction:
    """Move money, or record why it may not move.

    Both sides are decided before either is recorded: a transfer is one atomic append to its
    three streams, or a failed transaction and nothing else.
    """
    source, destination = _parties(command, ledger, context)
    cause = ledger.record(transactions.create(command), context=context, correlation_id=command.id)
    try:
        legs = _legs(command, ledger, context, source=source, destination=destination)
    except Refusal as refusal:
        ledger.record(
            TransactionFailed(transaction=command.id, code=refusal.code, detail=refusal.detail),
            context=context,
            correlation_id=command.id,
            causation_id=cause,
        )
    else:
        ledger.record(
            *legs,
            TransactionCompleted(transaction=command.id),
            context=context,
            correlation_id=command.id,
            causation_id=cause,
        )
    return ledger.transactions[command.id]


def _parties(
    command: commands.CreateTransaction, ledger: Ledger, context: Context
) -> tuple[Account | None, Account]:
    """Return the accounts that the command names: from which, if any, and to which money goes.

    An account that the caller must not use is as unknown as one that does not exist.
    """
    if command.type == "deposit":
        _require_admin(context)
    destination = ledger.account(command.destination)
    if destination.is_external:
        raise AccountNotFound(f"No account {destination.id} was found.")
    if command.type == "deposit":
        return None, destination
    return _visible(ledger.account(command.source), context), destination


def _legs(
    command: commands.CreateTransaction,
    ledger: Ledger,
    context: Context,
    *,
    source: Account | None,
    destination: Account,
) -> tuple[AccountDebited, AccountCredited]:
    """Decide on both sides; raise a `Refusal`. Without a source, money comes from outside."""
    money: dict[str, Any] = {
        "transaction": command.id,
        "amount": command.amount,
        "currency": command.currency,
    }
    if source is not None:
        if source.ledger != destination.ledger:
            raise LedgerMismatch("The accounts belong to different ledgers.")
        return accounts.debit(source, **money), accounts.credit(destination, **money)
    # Decided first: money that cannot arrive must not open the account of the outside world.
    credited = accounts.credit(destination, **money)
    outside = ledger.external_account(
        ledger=destination.ledger, currency=destination.currency, context=context
    )
    return accounts.debit(outside, **money), credited


def _own_account(
    ledger: Ledger,
    command: (
        commands.ChangeAccount
        | commands.FreezeAccount
        | commands.UnfreezeAccount
        | commands.CloseAccount
    ),
    context: Context,
    *,
    for_admins: bool = False,
) -> Account:
    """Return the account that `command` names, at the version that it expects."""
    account = _visible(ledger.account(command.id), context)
    if for_admins:
        _require_admin(context)
    if command.expected_version is not None and command.expected_version != account.version:
        raise accounts.StaleVersion(
            f"The account is at version {account.version}, not {command.expected_version}:"
            " read it again and decide anew."
        )
    return account


def _visible(account: Account, context: Context) -> Account:
    if account.is_external or not (account.owner == context.actor or ADMIN in context.scopes):
        raise AccountNotFound(f"No account {account.id} was found.")
    return account


def _require_admin(context: Context) -> None:
    if ADMIN not in context.scopes:
        raise MissingScope(ADMIN)


def _record_all(
    ledger: Ledger, account: Account, events: tuple[Any, ...], context: Context
) -> Account:
    if events:
        ledger.record(*events, context=context, correlation_id=account.id)
    return ledger.account(account.id)


HANDLERS: Mapping[type[Command], Handler] = {
    commands.OpenAccount: open_account,
    commands.ChangeAccount: change_account,
    commands.FreezeAccount: freeze_account,
    commands.UnfreezeAccount: unfreeze_account,
    commands.CloseAccount: close_account,
    commands.CreateTransaction: create_transaction,
}
