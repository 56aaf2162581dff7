"""The product's past: a long history, reads of it at random instants, and a rebuild."""

import random
import time
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Any

from uuid_utils.compat import uuid7

from benchmarks.common import percentile
from benchmarks.history import CURRENCY, History
from benchmarks.product import close_connections, migrate

LIST_LIMIT = 50
# Transfers a second of the writer beside a rebuild.
WRITES_PER_S = 50


class ProductPast:
    """Measures time travel; builds its database first.

    Args:
        events: how long the log is.
        accounts: of one owner; one of them is hot.
    """

    def __init__(self, *, events: int, accounts: int) -> None:
        migrate()
        from eventstore.aggregates import take_snapshots
        from transactions.aggregates import AGGREGATES

        self._history = History(
            events=events, accounts=accounts, until=datetime.now(UTC), owner=uuid7()
        )
        self._history.write()
        take_snapshots(AGGREGATES)
        self._random = random.Random(11)
        self._cold = self._history.cold

    def reads_ms(self, *, what: str, by: str, count: int) -> list[float]:
        """Read the past so many times; return how long each read took, in milliseconds.

        Args:
            what: `hot` or `cold` for one account, `accounts`, `transactions` or `entries` for
                a list.
            by: `time` or `position`: instants are spread evenly over the whole history.
        """
        from transactions import queries
        from transactions.dispatch import queries as bus

        def query(instant: Any) -> Any:
            match what:
                case "hot":
                    return queries.GetAccount(id=self._history.hot, as_of=instant)
                case "cold":
                    return queries.GetAccount(id=self._random.choice(self._cold), as_of=instant)
                case "accounts":
                    return queries.ListAccounts(limit=LIST_LIMIT + 1, as_of=instant)
                case "transactions":
                    return queries.ListTransactions(limit=LIST_LIMIT + 1, as_of=instant)
                case _:
                    hot = self._history.hot
                    return queries.ListEntries(account=hot, limit=LIST_LIMIT + 1, as_of=instant)

        times = []
        for _ in range(count):
            asked = query(self._instant(by))
            started_s = time.perf_counter()
            bus.ask(asked, self._context())
            times.append((time.perf_counter() - started_s) * 1000)
        return times

    def read_ms(self, *, what: str, by: str, count: int, part: float) -> float:
        """Return a percentile (`part` is 0 to 1) of so many reads, in milliseconds."""
        return percentile(self.reads_ms(what=what, by=by, count=count), part)

    def full_replay_ms(self, *, count: int) -> float:
        """Return the median time of the hot account's state, made from its first event on."""
        from eventstore.aggregates import rebuild
        from eventstore.past import versions_at
        from transactions.aggregates import ACCOUNT
        from transactions.ledger import account_stream
        from transactions.models import Account

        stream = account_stream(self._history.hot)
        newest = Account.objects.get(pk=self._history.hot).version
        times = []
        for _ in range(count):
            [version] = versions_at({stream: newest}, self._instant("time")).values()
            started_s = time.perf_counter()
            rebuild(ACCOUNT, stream, to_version=version, from_snapshot=False)
            times.append((time.perf_counter() - started_s) * 1000)
        return percentile(times, 0.5)

    def rebuild(self) -> float:
        """Rebuild the entries while transfers are written; return events a second."""
        from eventstore.projections import rebuild_projection
        from transactions.projectors import ENTRIES

        over, failed = Event(), []

        def write() -> None:
            try:
                while not over.wait(1 / WRITES_PER_S):
                    self._transfer()
            except Exception as error:
                failed.append(error)
            finally:
                close_connections()

        writer = Thread(target=write)
        writer.start()
        try:
            done = rebuild_projection(ENTRIES)
        finally:
            over.set()
            writer.join()
        if failed:
            raise failed[0]
        return done.events_per_s

    def _transfer(self) -> None:
        from eventstore.messages import Envelope
        from eventstore.sequencer import sequence
        from transactions.dispatch import commands as bus
        from transactions.domain.commands import CreateTransaction

        source, destination = self._random.sample(self._cold, 2)
        command = CreateTransaction(
            id=uuid7(),
            type="transfer",
            source=source,
            destination=destination,
            amount=1,
            currency=CURRENCY,
        )
        outcome = bus.execute(Envelope(command=command, context=self._context()))
        if outcome.error is not None:
            raise outcome.error
        sequence()

    def _instant(self, by: str) -> Any:
        from eventstore.past import Instant

        history = self._history
        if by == "time":
            length = history.until - history.began_at
            return Instant(time=history.began_at + length * self._random.random())
        # From where all accounts are open.
        opened = history.accounts * 2
        return Instant(position=self._random.randint(opened, history.position))

    def _context(self) -> Any:
        from eventstore.messages import Context

        scopes = frozenset({"accounts:read", "transactions:read", "transactions:write"})
        return Context(
            now=datetime.now(UTC), actor=self._history.owner, scopes=scopes, request_id="request"
        )
