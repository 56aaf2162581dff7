"""The unit of work of a batch of commands: what it has locked, and what it will append.

All heads that the commands need are locked and loaded in one statement, in the order of their
ids. The commands are then decided in memory, one after the other, each seeing what those before
it have done, and everything is written at the end: one insert of events, one write of account
heads, one of transaction heads.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from eventstore.clock import utc_now
from eventstore.errors import PlatformError
from eventstore.messages import Context, Envelope, Metadata
from eventstore.sql import lock_in_order, upsert
from eventstore.store import NewEvent, event_store
from transactions import models
from transactions.domain import account as accounts
from transactions.domain import commands
from transactions.domain import transaction as transactions
from transactions.domain.account import Account
from transactions.domain.events import AccountEvent, AccountOpened, TransactionEvent
from transactions.domain.transaction import Transaction

ACCOUNT_COLUMNS = tuple(column.name for column in fields(Account))
TRANSACTION_COLUMNS = tuple(column.name for column in fields(Transaction))


class AccountNotFound(PlatformError):
    """No account that the caller may use has this id."""

    code = "account_not_found"


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
    """Locked accounts, and what has been decided on them so far.

    Args:
        accounts: by id, as they were loaded; evolved in place.
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
        self._loaded = dict(self.accounts)

    def account(self, account: UUID | None) -> Account:
        """Return the present state of an account; raise `AccountNotFound`."""
        found = self.accounts.get(account) if account else None
        if found is None:
            raise AccountNotFound(f"No account {account} was found.")
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
                )
            )
        return self._staged[-1].id

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
        event_store().append(self._staged)
        changed = [
            account
            for key, account in self.accounts.items()
            if account is not self._loaded.get(key)
        ]
        upsert(
            [account_head(account) for account in changed],
            key=["id"],
            fields=[name for name in ACCOUNT_COLUMNS if name != "id"],
        )
        upsert(
            [
                transaction_head(transaction, self.accounts)
                for transaction in self.transactions.values()
            ],
            key=["id"],
            fields=[
                "status",
                "failure_code",
                "failure_detail",
                "version",
                "updated_at",
                "completed_at",
            ],
        )


def account_state(row: models.Account) -> Account:
    """Return a head as the state of the aggregate."""
    return Account(**{name: getattr(row, name) for name in ACCOUNT_COLUMNS})


def account_head(account: Account) -> models.Account:
    """Return the head row of an account."""
    return models.Account(**_columns(account, ACCOUNT_COLUMNS))


def transaction_state(row: models.Transaction) -> Transaction:
    """Return a head as the state of the aggregate."""
    return Transaction(**{name: getattr(row, name) for name in TRANSACTION_COLUMNS})


def transaction_head(transaction: Transaction, known: dict[UUID, Account]) -> models.Transaction:
    """Return the head row of a transaction, with those who may read it."""
    source = known.get(transaction.source) if transaction.source else None
    destination = known.get(transaction.destination) if transaction.destination else None
    reached = destination is not None and transaction.status != "failed"
    return models.Transaction(
        **_columns(transaction, TRANSACTION_COLUMNS),
        source_owner=source.owner if source else None,
        destination_owner=destination.owner if destination and reached else None,
    )


def _columns(state: Any, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(state, name) for name in names}


def begin(batch: Sequence[Envelope]) -> Ledger:
    """Lock and load every head that the commands of `batch` need, in the order of their ids."""
    needed: set[UUID] = set()
    deposited: set[UUID] = set()
    opened: dict[UUID, tuple[str, str]] = {}
    for envelope in batch:
        match envelope.command:
            case commands.CreateTransaction() as command:
                needed.update(each for each in (command.source, command.destination) if each)
                if command.type == "deposit" and command.destination:
                    deposited.add(command.destination)
            case commands.OpenAccount() as command:
                opened[command.id] = (command.ledger, command.currency)
            case (
                commands.ChangeAccount()
                | commands.FreezeAccount()
                | commands.UnfreezeAccount()
                | commands.CloseAccount()
            ) as command:
                needed.add(command.id)
    # Ledger and currency of an account never change, so they may be read without a lock.
    outside = set(
        models.Account.objects.filter(pk__in=deposited).values_list("ledger", "currency").distinct()
    )
    outside.update(opened[account] for account in deposited & opened.keys())
    needed.update(
        external_account_id(ledger=ledger, currency=currency) for ledger, currency in outside
    )
    rows = lock_in_order(models.Account, needed) if needed else {}
    return Ledger(accounts={key: account_state(row) for key, row in rows.items()}, now=utc_now())
