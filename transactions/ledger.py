"""The unit of work of a batch of commands: what it has locked, and what it will append.

The heads that the commands need were locked by `transactions.locks`. The commands are decided in
memory, one after the other, each seeing what those before it have done, and everything is written
at the end: one insert of events, one write of account heads, one of transaction heads.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from eventstore.errors import PlatformError
from eventstore.messages import Context, Metadata
from eventstore.rows import NewEvent
from eventstore.store import event_store
from transactions import rows
from transactions.domain import account as accounts
from transactions.domain import transaction as transactions
from transactions.domain.account import Account
from transactions.domain.events import CODEC, AccountEvent, AccountOpened, TransactionEvent
from transactions.domain.transaction import Transaction


class AccountNotFound(PlatformError):
    """No account that the caller may use has this id."""

    code = "account_not_found"


class TransactionNotFound(PlatformError):
    """No transaction that the caller may see has this id."""

    code = "transaction_not_found"


def account_stream(account: UUID) -> str:
    """Return the name of an account's stream."""
    return f"account-{account}"


def transaction_stream(transaction: UUID) -> str:
    """Return the name of a transaction's stream."""
    return f"transaction-{transaction}"


def external_account_id(*, ledger: str, currency: str) -> UUID:
    """Return the id of the account that stands for the world outside, in a ledger and currency.

    It can be computed, so that it can be locked in the same statement as all others: a UUIDv7
    (RFC 9562) of the instant zero whose random bits are a digest of the two names.
    """
    digest = int.from_bytes(sha256(f"{ledger}/{currency}".encode()).digest()[:16])
    random_a, random_b = (digest >> 64) & 0xFFF, digest & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=(0x7 << 76) | (random_a << 64) | (0b10 << 62) | random_b)


@dataclass
class Ledger:
    """Locked accounts and transactions, and what has been decided on them so far.

    Args:
        accounts: by id, as they were loaded; evolved in place.
        transactions: likewise.
        now: the instant of everything that is recorded, taken when the locks were there: so no
            event of a stream is older than the one before it.
    """

    accounts: dict[UUID, Account]
    now: datetime
    transactions: dict[UUID, Transaction] = field(default_factory=dict)
    _staged: list[NewEvent] = field(default_factory=list)
    # One entry a staged event: which state it replaced, and by which it can be put back.
    _replaced: list[tuple[dict[UUID, Any], UUID, Account | Transaction | None]] = field(
        default_factory=list
    )

    def __post_init__(self) -> None:
        self._loaded_accounts = dict(self.accounts)
        self._loaded = dict(self.transactions)

    def account(self, account: UUID | None) -> Account:
        """Return the present state of an account; raise `AccountNotFound`."""
        found = self.accounts.get(account) if account else None
        if found is None:
            raise AccountNotFound(f"No account {account} was found.")
        return found

    def transaction(self, transaction: UUID) -> Transaction:
        """Return the present state of a transaction; raise `TransactionNotFound`."""
        found = self.transactions.get(transaction)
        if found is None:
            raise TransactionNotFound(f"No transaction {transaction} was found.")
        return found

    def record(
        self,
        *events: AccountEvent | TransactionEvent,
        context: Context,
        correlation_id: UUID,
        causation_id: UUID | None = None,
    ) -> UUID:
        """Stage `events` and evolve the states that they belong to; return the id of the last."""
        metadata = Metadata(
            actor=str(context.actor) if context.actor else None,
            correlation_id=str(correlation_id),
            causation_id=str(causation_id) if causation_id else None,
            request_id=context.request_id,
        )
        for event in events:
            stream, version, at = self._evolve(event)
            self._staged.append(
                NewEvent(
                    id=uuid7(),
                    stream=stream,
                    version=version,
                    event=event,
                    metadata=metadata,
                    occurred_at=at,
                    subject=self._subject(event) if type(event) in CODEC.personal else None,
                )
            )
        return self._staged[-1].id

    def _subject(self, event: AccountEvent | TransactionEvent) -> UUID | None:
        """Return the person of whom `event` tells: the owner, or the one whose money it is."""
        if isinstance(event, AccountEvent):
            return self.accounts[event.account].owner
        transaction = self.transactions[event.transaction]
        account = self.accounts.get(
            transaction.source or transaction.destination or event.transaction
        )
        return account.owner if account else None

    def _evolve(self, event: AccountEvent | TransactionEvent) -> tuple[str, int, datetime]:
        """Apply `event`; return its stream, its version and its instant.

        Clocks of machines differ: an event is never given an instant before its predecessor's.
        """
        if isinstance(event, AccountEvent):
            account = self.accounts.get(event.account)
            version = account.version + 1 if account else 1
            at = max(self.now, account.updated_at) if account else self.now
            evolved = accounts.evolve(account, event, version=version, at=at)
            self._replaced.append((self.accounts, evolved.id, account))
            self.accounts[evolved.id] = evolved
            return account_stream(evolved.id), version, at
        transaction = self.transactions.get(event.transaction)
        version = transaction.version + 1 if transaction else 1
        at = max(self.now, transaction.updated_at) if transaction else self.now
        moved = transactions.evolve(transaction, event, version=version, at=at)
        self._replaced.append((self.transactions, moved.id, transaction))
        self.transactions[moved.id] = moved
        return transaction_stream(moved.id), version, at

    def external_account(self, *, ledger: str, currency: str, context: Context) -> Account:
        """Return the account of the outside world, opened when it is needed first."""
        account_id = external_account_id(ledger=ledger, currency=currency)
        if account_id not in self.accounts:
            opened = AccountOpened(
                account=account_id,
                owner=None,
                ledger=ledger,
                currency=currency,
                name="external",
                overdraft_limit=0,
                metadata={},
            )
            self.record(opened, context=context, correlation_id=account_id)
        return self.accounts[account_id]

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Forget what a command staged when it raises."""
        kept = len(self._staged)
        try:
            yield
        except Exception:
            while len(self._staged) > kept:
                self._staged.pop()
                states, key, before = self._replaced.pop()
                if before is None:
                    del states[key]
                else:
                    states[key] = before
            raise

    def flush(self) -> None:
        """Write events, account heads and transaction heads, one statement each.

        The events come first: their unique versions decide a race that no lock has decided.
        """
        event_store().append(self._staged, locked=True)
        rows.write_accounts(
            account
            for key, account in self.accounts.items()
            if account is not self._loaded_accounts.get(key)
        )
        new = [each for key, each in self.transactions.items() if key not in self._loaded]
        rows.insert_transactions(new, self.accounts)
        changed = [
            each
            for key, each in self.transactions.items()
            if key in self._loaded and each is not self._loaded[key]
        ]
        rows.change_transactions(changed, self.accounts)
