"""The product's event store, through its public functions alone."""

from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from benchmarks.product import close_connections, migrate
from benchmarks.threads import per_second

BULK_SIZE = 1000
CURRENCY = "EUR"


class ProductStore:
    """Measures appends and reads; builds its database first."""

    def __init__(self) -> None:
        migrate()
        from eventstore.store import event_store

        self._log = event_store()

    def append(self, *, threads: int, count: int) -> float:
        """Append one event at a time, each thread to a stream of its own; events a second."""
        streams = [self._opened() for _ in range(threads)]
        events = [_credits(account, count // threads) for _, account in streams]

        def write(number: int) -> int:
            for version, event in enumerate(events[number], start=1):
                self._log.save_events(streams[number][0], [event], expected_version=version)
            return count // threads

        return per_second(threads, write, close=close_connections)

    def append_hot(self, *, threads: int, count: int) -> float:
        """Append one event at a time, all threads to one stream; events a second.

        Each reads where the stream stands, and does so again when another was faster.
        """
        from eventstore.store import ConcurrencyConflict

        stream, account = self._opened()
        events = _credits(account, count)
        version = 1

        def write(number: int) -> int:
            nonlocal version
            for event in events[number::threads]:
                while True:
                    expected = version
                    try:
                        self._log.save_events(stream, [event], expected_version=expected)
                    except ConcurrencyConflict:
                        behind = self._log.get_events(stream, from_version=expected)
                        version = max(version, *(each.version for each in behind))
                    else:
                        version = max(version, expected + 1)
                        break
            return len(events[number::threads])

        return per_second(threads, write, close=close_connections)

    def bulk(self, *, appends: int) -> float:
        """Append 1,000 events at a time to one stream; events a second."""
        stream, account = self._opened()
        events = _credits(account, appends * BULK_SIZE)
        return per_second(1, lambda _: self._save(stream, events), close=close_connections)

    def fill(self, *, count: int) -> str:
        """Make a stream of so many events; return its name."""
        stream, account = self._opened()
        self._save(stream, _credits(account, count))
        return stream

    def read(self, *, stream: str) -> float:
        """Read a stream from its beginning and decode every event; events a second."""

        def read_all(_: int) -> int:
            return len([self._log.event_of(each) for each in self._log.get_events(stream)])

        return per_second(1, read_all, close=close_connections)

    def replay(self, *, stream: str) -> float:
        """Rebuild an aggregate from its events; events a second."""
        from eventstore.aggregates import rebuild
        from transactions.aggregates import ACCOUNT

        def rebuilt(_: int) -> int:
            state = rebuild(ACCOUNT, stream)
            return state.version if state else 0

        return per_second(1, rebuilt, close=close_connections)

    def sequence(self) -> int:
        """Give everything that was appended its position; return how many events that were."""
        from eventstore.sequencer import sequence

        total = 0
        while placed := sequence():
            total += placed
        return total

    def read_log(self, *, count: int) -> float:
        """Read the log in global order and decode it, up to so many events; events a second."""

        def read_all(_: int) -> int:
            after = found = 0
            while found < count and (batch := self._log.read_log(after=after)):
                found += len([self._log.event_of(each) for each in batch])
                after = batch[-1].position or 0
            return found

        return per_second(1, read_all, close=close_connections)

    def _opened(self) -> tuple[str, UUID]:
        from transactions.domain.events import AccountOpened
        from transactions.ledger import account_stream

        account = uuid7()
        first = AccountOpened(
            account=account,
            owner=uuid7(),
            ledger="main",
            currency=CURRENCY,
            name="",
            overdraft_limit=0,
            metadata={},
        )
        stream = account_stream(account)
        self._log.save_events(stream, [first], expected_version=0)
        return stream, account

    def _save(self, stream: str, events: list[Any]) -> int:
        for start in range(0, len(events), BULK_SIZE):
            some = events[start : start + BULK_SIZE]
            self._log.save_events(stream, some, expected_version=start + 1)
        return len(events)


def _credits(account: UUID, count: int) -> list[Any]:
    from transactions.domain.events import AccountCredited

    return [
        AccountCredited(
            account=account, transaction=uuid7(), amount=1, currency=CURRENCY, posted=number
        )
        for number in range(1, count + 1)
    ]
