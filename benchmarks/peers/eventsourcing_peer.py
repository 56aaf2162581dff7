"""The library `eventsourcing` as a peer: its event store, and a transfer as its users write one.

It is run as its manual says: events through `EventStore.put` and `get`, commands through an
`Application` whose aggregates are loaded from its repository, all in one transaction. Its SQLite
is in WAL mode with full synchronisation, like the product's; its PostgreSQL has fsync on.
"""

import random
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import IntegrityError

from benchmarks.databases import HOST
from benchmarks.threads import per_second

BULK_SIZE = 1000
FUNDS = 10**12
# Beyond that a command of the library would only grow slower with every transfer.
SNAPSHOT_EVERY = 50


class Account(Aggregate):
    """An account, with the members that the product's has."""

    @event("Opened")
    def __init__(self, *, owner: UUID, currency: str, posted: int) -> None:
        self.owner = owner
        self.currency = currency
        self.posted = posted

    @event("Credited")
    def credit(self, *, transaction: UUID, amount: int, currency: str, posted: int) -> None:
        """Record money that arrived."""
        self.posted = posted

    @event("Debited")
    def debit(self, *, transaction: UUID, amount: int, currency: str, posted: int) -> None:
        """Record money that left."""
        self.posted = posted


class Transfer(Aggregate):
    """A transaction, with the members that the product's has."""

    @event("Created")
    def __init__(self, *, source: UUID, destination: UUID, amount: int, currency: str) -> None:
        self.source = source
        self.destination = destination
        self.amount = amount
        self.currency = currency
        self.status = "pending"

    @event("Completed")
    def complete(self) -> None:
        """Record that the money has moved."""
        self.status = "completed"


class Ledger(Application):
    """What a user of the library would write."""

    snapshotting_intervals = {Account: SNAPSHOT_EVERY}

    def transfer(self, source_id: UUID, destination_id: UUID, amount: int) -> None:
        """Move money: four events of three aggregates, in one transaction."""
        source = self.repository.get(source_id)
        destination = self.repository.get(destination_id)
        if source.posted < amount:
            raise ValueError("insufficient funds")
        transfer = Transfer(
            source=source_id, destination=destination_id, amount=amount, currency=source.currency
        )
        source.debit(
            transaction=transfer.id,
            amount=amount,
            currency=source.currency,
            posted=source.posted - amount,
        )
        destination.credit(
            transaction=transfer.id,
            amount=amount,
            currency=source.currency,
            posted=destination.posted + amount,
        )
        transfer.complete()
        self.save(transfer, source, destination)


class EventsourcingPeer:
    """Measures the library on SQLite, or on PostgreSQL.

    Args:
        file: of SQLite; None for PostgreSQL.
        port: of PostgreSQL.
        accounts: how many there are for transfers.
    """

    def __init__(self, *, file: Path | None = None, port: int = 0, accounts: int = 100) -> None:
        self._app = Ledger(env=_environment(file, port))
        self._accounts = []
        for _ in range(accounts):
            account = Account(owner=uuid4(), currency="EUR", posted=FUNDS)
            self._app.save(account)
            self._accounts.append(account.id)

    def append(self, *, threads: int, count: int) -> float:
        """Append one event at a time, each thread to an aggregate of its own; events a second."""
        given = [_events(self._opened(), count // threads) for _ in range(threads)]

        def write(number: int) -> int:
            for each in given[number]:
                self._app.events.put([each])
            return count // threads

        return per_second(threads, write)

    def bulk(self, *, appends: int) -> float:
        """Append 1,000 events at a time to one aggregate; events a second."""
        events = _events(self._opened(), appends * BULK_SIZE)
        return per_second(1, lambda _: self._put(events))

    def fill(self, *, count: int) -> UUID:
        """Make an aggregate of so many events; return its id."""
        account = self._opened()
        self._put(_events(account, count))
        return account.id

    def read(self, *, stream: UUID) -> float:
        """Read an aggregate's events, decoded; events a second."""
        return per_second(1, lambda _: sum(1 for _event in self._app.events.get(stream)))

    def replay(self, *, stream: UUID) -> float:
        """Rebuild an aggregate from its events; events a second."""
        return per_second(1, lambda _: self._app.repository.get(stream).version)

    def read_log(self, *, count: int) -> float:
        """Read the log in global order and decode it, up to so many events; events a second."""

        def read_all(_: int) -> int:
            start, found = 1, 0
            while found < count:
                batch = self._app.recorder.select_notifications(start=start, limit=500)
                if not batch:
                    break
                found += sum(1 for each in batch if self._app.mapper.to_domain_event(each))
                start = batch[-1].id + 1
            return found

        return per_second(1, read_all)

    def transfers(self, *, threads: int, count: int, hot: bool = False) -> float:
        """Execute transfers, again when another one was faster; transfers a second."""

        def run(_: int) -> int:
            for number in range(count // threads):
                one, other = random.sample(self._accounts[1:], 2)
                if hot:
                    other = self._accounts[0]
                self._transfer(*((one, other) if number % 2 else (other, one)))
            return count // threads

        return per_second(threads, run)

    def _transfer(self, source: UUID, destination: UUID) -> None:
        while True:
            try:
                return self._app.transfer(source, destination, 1)
            except IntegrityError:
                continue

    def _opened(self) -> Any:
        account = Account(owner=uuid4(), currency="EUR", posted=0)
        self._app.save(account)
        return account

    def _put(self, events: list[Any]) -> int:
        for start in range(0, len(events), BULK_SIZE):
            self._app.events.put(events[start : start + BULK_SIZE])
        return len(events)


def _events(account: Any, count: int) -> list[Any]:
    for number in range(1, count + 1):
        account.credit(transaction=uuid4(), amount=1, currency="EUR", posted=number)
    return list(account.collect_events())


def _environment(file: Path | None, port: int) -> dict[str, str]:
    if file is not None:
        return {
            "PERSISTENCE_MODULE": "eventsourcing.sqlite",
            "SQLITE_DBNAME": str(file),
            "SQLITE_LOCK_TIMEOUT": "20",
        }
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": "peer",
        "POSTGRES_HOST": HOST,
        "POSTGRES_PORT": str(port),
        "POSTGRES_USER": "bench",
        "POSTGRES_PASSWORD": "none",
        "POSTGRES_POOL_SIZE": "8",
        "POSTGRES_MAX_OVERFLOW": "32",
    }
