"""A long history, written straight into the tables: what the ledger would have written, faster.

Transfers of one unit between the accounts of one owner, one account taking part in most of them.
Every transfer has four events, with their positions and hashes; the heads are those that the
events make, which `verify_events` confirms.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

CURRENCY = "EUR"
# Of a transfer: created, debited, credited, completed.
EVENTS_A_TRANSFER = 4
CHUNK = 5000
BETWEEN = timedelta(milliseconds=10)
# The transfers, of every five, in which the hot account takes part.
HOT_OF_FIVE = 4
FUNDS = 10**9
GENESIS_HASH = bytes(32)


@dataclass(kw_only=True)
class _Account:
    id: UUID
    stream: str
    opened_at: datetime
    updated_at: datetime
    posted: int = 0
    version: int = 1


@dataclass(kw_only=True)
class History:
    """A log of about `events` events, ending at `until`.

    Args:
        accounts: how many there are; the hot one is in the middle of the newest fifty.
    """

    events: int
    accounts: int
    until: datetime
    owner: UUID
    position: int = 0
    _hash: bytes = GENESIS_HASH
    _accounts: list[_Account] = field(default_factory=list)
    _transactions: list[tuple[Any, ...]] = field(default_factory=list)
    _random: random.Random = field(default_factory=lambda: random.Random(7))

    def __post_init__(self) -> None:
        self.transfers = (self.events - self.accounts * 2) // EVENTS_A_TRANSFER
        self.began_at = self.until - BETWEEN * (self.transfers + 2)
        for number in range(self.accounts):
            at = self.began_at + timedelta(microseconds=number)
            account = self._uuid7(at)
            self._accounts.append(
                _Account(id=account, stream=f"account-{account}", opened_at=at, updated_at=at)
            )
        self._accounts.sort(key=lambda each: each.id)

    @property
    def hot(self) -> UUID:
        """The account that takes part in most transfers."""
        return self._accounts[-25].id

    @property
    def cold(self) -> list[UUID]:
        """All other accounts."""
        return [each.id for each in self._accounts if each.id != self.hot]

    def write(self) -> None:
        """Write everything into the empty tables of the database."""
        from django.db import transaction

        from eventstore.models import Checkpoint, Event
        from transactions.models import Account, Transaction

        columns = [column.name for column in Event._meta.concrete_fields if column.name != "row"]
        with transaction.atomic():
            _insert(Event, columns, self._rows())
            _insert(Account, None, self._account_rows())
            _insert(Transaction, None, iter(self._transactions))
            Checkpoint.objects.update_or_create(
                name="sequencer", defaults={"position": self.position}
            )

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of the log, by position, and evolve the heads meanwhile."""
        for account in self._accounts:
            yield self._opened(account)
        for account in self._accounts:
            # Funded by a credit alone: its debit on the outside's account is left out.
            account.version += 1
            account.posted = FUNDS
            yield self._moved("AccountCredited", account, self.owner, FUNDS)
        hot = self._accounts[-25]
        for number in range(self.transfers):
            at = self.began_at + BETWEEN * (number + 1)
            one, other = self._random.sample(self._accounts, 2)
            if number % 5 < HOT_OF_FIVE:
                one = hot if other is not hot else one
            source, destination = (one, other) if number % 2 else (other, one)
            yield from self._transfer(at, source, destination)

    def _opened(self, account: _Account) -> tuple[Any, ...]:
        data = (
            f'{{"account":"{account.id}","currency":"{CURRENCY}","ledger":"main","metadata":{{}},'
            f'"name":"","overdraft_limit":0,"owner":"{self.owner}"}}'
        )
        return self._row(
            account.opened_at,
            account.stream,
            version=1,
            name="AccountOpened",
            schema_version=1,
            data=data,
            correlation=account.id,
        )

    def _moved(
        self, name: str, account: _Account, transaction: UUID, amount: int
    ) -> tuple[Any, ...]:
        data = (
            f'{{"account":"{account.id}","amount":{amount},"currency":"{CURRENCY}",'
            f'"posted":{account.posted},"transaction":"{transaction}"}}'
        )
        at = account.updated_at
        return self._row(
            at,
            account.stream,
            version=account.version,
            name=name,
            schema_version=1,
            data=data,
            correlation=transaction,
        )

    def _transfer(
        self, at: datetime, source: _Account, destination: _Account
    ) -> Iterator[tuple[Any, ...]]:
        transaction = self._uuid7(at)
        stream = f"transaction-{transaction}"
        data = (
            f'{{"amount":1,"currency":"{CURRENCY}","description":"","destination":'
            f'"{destination.id}","expires_at":null,"metadata":{{}},"reference":"",'
            f'"reverses":null,"source":"{source.id}","transaction":"{transaction}",'
            f'"type":"transfer"}}'
        )
        yield self._row(
            at,
            stream,
            version=1,
            name="TransactionCreated",
            schema_version=2,
            data=data,
            correlation=transaction,
        )
        for account, change, name in (
            (source, -1, "AccountDebited"),
            (destination, 1, "AccountCredited"),
        ):
            account.version += 1
            account.posted += change
            account.updated_at = at
            yield self._moved(name, account, transaction, 1)
        data = f'{{"transaction":"{transaction}"}}'
        yield self._row(
            at,
            stream,
            version=2,
            name="TransactionCompleted",
            schema_version=1,
            data=data,
            correlation=transaction,
        )
        self._transactions.append(
            (
                transaction, "transfer", "completed", source.id, destination.id, self.owner,
                self.owner, 1, CURRENCY, "", "", {}, "", "", None, 0, None, 0, 2, at, at, at,
            )
        )  # fmt: skip

    def _row(
        self,
        at: datetime,
        stream: str,
        *,
        version: int,
        name: str,
        schema_version: int,
        data: str,
        correlation: UUID,
    ) -> tuple[Any, ...]:
        """Return one row of the log; its hash is over the bytes of `Record.canonical_bytes`."""
        event = self._uuid7(at)
        self.position += 1
        text = (
            f'{{"data":{data},"id":"{event}","metadata":{{"actor":"{self.owner}",'
            f'"causation_id":null,"correlation_id":"{correlation}","request_id":"request"}},'
            f'"occurred_at":"{at.replace(tzinfo=None).isoformat(timespec="microseconds")}Z",'
            f'"position":{self.position},"schema_version":{schema_version},'
            f'"stream":"{stream}","type":"{name}","version":{version}}}'
        )
        self._hash = sha256(self._hash + text.encode()).digest()
        return (
            event, self.position, stream, version, name, schema_version, data, str(self.owner),
            str(correlation), None, "request", at, self._hash,
        )  # fmt: skip

    def _account_rows(self) -> Iterator[tuple[Any, ...]]:
        for each in self._accounts:
            yield (
                each.id, self.owner, "main", CURRENCY, "", "open", 0, each.posted, 0, {},
                each.version, each.opened_at, each.updated_at,
            )  # fmt: skip

    def _uuid7(self, at: datetime) -> UUID:
        """Return an id as it would have been made at an instant (RFC 9562)."""
        milliseconds = int(at.astimezone(UTC).timestamp() * 1000)
        bits = self._random.getrandbits(74)
        return UUID(
            int=milliseconds << 80
            | 0x7 << 76
            | (bits >> 62) << 64
            | 0b10 << 62
            | bits & (1 << 62) - 1
        )


def _insert(model: Any, columns: Sequence[str] | None, rows: Iterator[tuple[Any, ...]]) -> None:
    from eventstore.tables import Table

    table, chunk = Table(model, columns=columns), []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK:
            table.insert(chunk)
            chunk = []
    table.insert(chunk)
