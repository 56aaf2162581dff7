"""Commands on accounts."""

from typing import Any

from eventstore.messages import Context
from transactions.domain import account as accounts
from transactions.domain import commands
from transactions.domain.account import Account
from transactions.domain.events import AccountOpened, AccountRedacted
from transactions.handlers.access import require_admin, visible_account
from transactions.ledger import Ledger


def open_account(command: commands.OpenAccount, ledger: Ledger, context: Context) -> Account:
    """Open an account for the caller; for somebody else, or with an overdraft, as an admin."""
    if command.owner != context.actor or command.overdraft_limit:
        require_admin(context)
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


def redact_account(command: commands.RedactAccount, ledger: Ledger, context: Context) -> Account:
    """Remove what an account tells of its owner, as an admin; nothing when it tells nothing."""
    require_admin(context)
    account = ledger.account(command.id)
    if not account.name and not account.metadata:
        return account
    return _record_all(ledger, account, (AccountRedacted(account=account.id),), context)


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
    account = visible_account(ledger.account(command.id), context)
    if for_admins:
        require_admin(context)
    if command.expected_version is not None and command.expected_version != account.version:
        raise accounts.StaleVersion(
            f"The account is at version {account.version}, not {command.expected_version}:"
            " read it again and decide anew."
        )
    return account


def _record_all(
    ledger: Ledger, account: Account, events: tuple[Any, ...], context: Context
) -> Account:
    if events:
        ledger.record(*events, context=context, correlation_id=account.id)
    return ledger.account(account.id)
