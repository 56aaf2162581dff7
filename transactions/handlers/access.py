"""Who may do what: what somebody may not see is as unknown as what does not exist."""

from eventstore.errors import PlatformError
from eventstore.messages import Context
from transactions.domain.account import Account
from transactions.domain.transaction import Transaction
from transactions.ledger import AccountNotFound, Ledger, TransactionNotFound
from users.scopes import ADMIN, MissingScope


class NotAllowed(PlatformError):
    """The caller may see the transaction, but this is for somebody else to decide."""

    code = "forbidden"


def require_admin(context: Context) -> None:
    """Raise `MissingScope` for all but administrators."""
    if ADMIN not in context.scopes:
        raise MissingScope(ADMIN)


def visible_account(account: Account, context: Context) -> Account:
    """Return `account` if the caller may see it; raise `AccountNotFound`."""
    if account.is_external or not _owns(account, context):
        raise AccountNotFound(f"No account {account.id} was found.")
    return account


def open_to_source(transaction: Transaction, ledger: Ledger, context: Context) -> None:
    """Let the owner of the source pass; raise `NotAllowed`, or `TransactionNotFound`."""
    _check_visible(transaction, ledger, context)
    if not _owns_party(ledger.accounts.get(transaction.source), context):  # type: ignore[arg-type]
        raise NotAllowed("Only the owner of the source may decide on its reserved money.")


def open_to_destination(transaction: Transaction, ledger: Ledger, context: Context) -> None:
    """Let the owner of the destination pass; raise `NotAllowed`, or `TransactionNotFound`."""
    _check_visible(transaction, ledger, context)
    if not _owns_party(_destination(transaction, ledger), context):
        raise NotAllowed("Only who received the money may send it back.")


def _check_visible(transaction: Transaction, ledger: Ledger, context: Context) -> None:
    source = ledger.accounts.get(transaction.source) if transaction.source else None
    destination = _destination(transaction, ledger)
    reached = destination if transaction.status != "failed" else None
    if not (_owns_party(source, context) or _owns_party(reached, context)):
        raise TransactionNotFound(f"No transaction {transaction.id} was found.")


def _destination(transaction: Transaction, ledger: Ledger) -> Account | None:
    return ledger.accounts.get(transaction.destination) if transaction.destination else None


def _owns(account: Account, context: Context) -> bool:
    return account.owner == context.actor or ADMIN in context.scopes


def _owns_party(account: Account | None, context: Context) -> bool:
    """Return whether the caller decides for a party; for the outside world only admins do."""
    if account is None or account.is_external:
        return ADMIN in context.scopes
    return _owns(account, context)
