"""What each command must have locked before it is decided.

All commands lock in one order, transactions before accounts and each kind by its ids, so that no
two of them wait for each other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from eventstore.clock import utc_now
from eventstore.messages import Command, Envelope
from transactions import models
from transactions.domain import commands
from transactions.domain.transaction import Transaction
from transactions.ledger import Ledger, external_account_id
from transactions.rows import lock_accounts, lock_transactions


@dataclass
class _Needs:
    """The heads that a batch needs.

    Args:
        accounts: to be locked.
        transactions: to be locked, with the accounts that they name.
        dealing_outside: accounts whose money comes from or goes to the outside world.
        opened: accounts that the batch opens, with ledger and currency.
    """

    accounts: set[UUID] = field(default_factory=set)
    transactions: set[UUID] = field(default_factory=set)
    dealing_outside: set[UUID] = field(default_factory=set)
    opened: dict[UUID, tuple[str, str]] = field(default_factory=dict)

    def add(self, command: Command) -> None:
        """Add what `command` needs."""
        match command:
            case commands.CreateTransaction():
                self._add_parties(command.source, command.destination)
                self.accounts.update(each.account for each in command.preconditions)
            case commands.CreateBatch():
                for item in command.items:
                    if isinstance(item.wanted, Command):
                        self.add(item.wanted)
            case commands.OpenAccount():
                self.opened[command.id] = (command.ledger, command.currency)
            case commands.ReverseTransaction():
                self.transactions.add(command.reverses)
            case (
                commands.CaptureHold()
                | commands.VoidHold()
                | commands.ExpireHold()
                | commands.RedactTransaction()
            ):
                self.transactions.add(command.id)
            case (
                commands.ChangeAccount()
                | commands.FreezeAccount()
                | commands.UnfreezeAccount()
                | commands.CloseAccount()
                | commands.RedactAccount()
            ):
                self.accounts.add(command.id)

    def add_parties_of(self, transactions: Iterable[Transaction]) -> None:
        """Add the accounts that transactions name."""
        for transaction in transactions:
            self._add_parties(transaction.source, transaction.destination)

    def _add_parties(self, source: UUID | None, destination: UUID | None) -> None:
        parties = {each for each in (source, destination) if each}
        self.accounts.update(parties)
        if len(parties) == 1:
            self.dealing_outside.update(parties)


def begin(batch: Sequence[Envelope]) -> Ledger:
    """Lock and load every head that the commands of `batch` need."""
    needs = _Needs()
    for envelope in batch:
        needs.add(envelope.command)
    transactions = lock_transactions(needs.transactions) if needs.transactions else {}
    needs.add_parties_of(transactions.values())
    needs.accounts.update(_outside(needs))
    return Ledger(
        accounts=lock_accounts(needs.accounts) if needs.accounts else {},
        transactions=transactions,
        now=utc_now(),
    )


def _outside(needs: _Needs) -> set[UUID]:
    """Return the accounts that stand for the world outside of those that deal with it."""
    if not needs.dealing_outside:
        return set()
    # Ledger and currency of an account never change, so they may be read without a lock.
    known = models.Account.objects.filter(pk__in=needs.dealing_outside)
    outside = set(known.values_list("ledger", "currency").distinct())
    outside.update(needs.opened[each] for each in needs.dealing_outside & needs.opened.keys())
    return {external_account_id(ledger=ledger, currency=currency) for ledger, currency in outside}
