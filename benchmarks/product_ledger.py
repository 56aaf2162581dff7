"""The product's ledger, through its command bus."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from itertools import pairwise
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from benchmarks.product import close_connections, migrate
from benchmarks.threads import per_second

BATCH_SIZE = 1000
CURRENCY = "EUR"
FUNDS = 10**12
SCOPES = ("accounts:read", "accounts:write", "transactions:read", "transactions:write")


class ProductLedger:
    """Measures transfers; builds its database first, with funded accounts of one user.

    Args:
        accounts: how many.
    """

    def __init__(self, *, accounts: int) -> None:
        migrate()
        from django.conf import settings

        from eventstore.clock import utc_now
        from transactions.dispatch import commands as bus
        from transactions.domain import commands
        from users.key_handlers import grant_api_key
        from users.scopes import ALL_SCOPES

        # As in a web process, whose threads these stand for.
        bus.coalesce(batch_size_max=settings.COMMANDS_COALESCED_MAX)
        key, self._secret = grant_api_key(
            email="bench@example.com",
            name="bench",
            scopes=list(SCOPES),
            tier="unlimited",
            create_user=True,
            now=utc_now(),
        )
        self._owner = key.user_id
        self._accounts = [uuid7() for _ in range(accounts)]
        self._execute_all(
            [
                commands.OpenAccount(id=each, owner=self._owner, currency=CURRENCY)
                for each in self._accounts
            ],
            scopes=frozenset(SCOPES),
        )
        self._execute_all(
            [
                commands.CreateTransaction(
                    id=uuid7(), type="deposit", destination=each, amount=FUNDS, currency=CURRENCY
                )
                for each in self._accounts
            ],
            scopes=frozenset(ALL_SCOPES),
        )

    def transfers(self, *, threads: int, count: int, hot: bool = False) -> float:
        """Execute single transfers, each with an idempotency key; transfers a second.

        Args:
            threads: that call the bus at once.
            hot: let one account take part in every transfer, now sending, now receiving.
        """
        from transactions.dispatch import commands as bus

        given = [self._envelopes(count // threads, hot=hot) for _ in range(threads)]

        def run(number: int) -> int:
            for envelope in given[number]:
                _check(bus.execute(envelope))
            return len(given[number])

        return per_second(threads, run, close=close_connections)

    def latencies_ms(self, *, count: int) -> list[float]:
        """Execute transfers one after the other; return how long each took."""
        from transactions.dispatch import commands as bus

        times = []
        for envelope in self._envelopes(count):
            times.append(time.perf_counter())
            _check(bus.execute(envelope))
        times.append(time.perf_counter())
        return [(after - before) * 1000 for before, after in pairwise(times)]

    def batches(self, *, count: int, size: int = BATCH_SIZE) -> float:
        """Execute transfers in batches, each one commit, with their keys; transfers a second."""
        from transactions.dispatch import commands as bus

        given = [self._envelopes(size) for _ in range(count)]

        def run(_: int) -> int:
            for batch in given:
                for outcome in bus.execute_many(batch):
                    _check(outcome)
            return count * size

        return per_second(1, run, close=close_connections)

    def drain(self) -> dict[str, float]:
        """Give every event its position and let every lane catch up; events a second of each."""
        from eventstore import config, queries, sequencer, subscriptions

        before = _placed()
        started_s = time.perf_counter()
        rates = {"sequencer": _rate(sequencer.sequence)}
        for lane in config.subscriptions():
            rates[f"lane {lane.name}"] = _rate(partial(subscriptions.run, lane))
        elapsed_s = time.perf_counter() - started_s
        rates["all lanes one after the other"] = (_placed() - before) / elapsed_s
        lags = {status.name: status.lag_events for status in queries.lane_status()}
        if any(lags.values()):
            raise RuntimeError(f"lanes lag behind: {lags}")
        return rates

    def setting(self) -> dict[str, Any]:
        """Return what a client of the API needs: the secret of a key, and the accounts."""
        return {"secret": self._secret, "accounts": [str(each) for each in self._accounts]}

    def completed_count(self) -> int:
        """Return how many transactions are completed."""
        from transactions.models import Transaction

        return Transaction.objects.filter(status="completed").count()

    def _pairs(self, count: int, *, hot: bool) -> Iterator[tuple[UUID, UUID]]:
        others = self._accounts[1:]
        for number in range(count):
            one, other = random.sample(others, 2)
            if hot:
                other = self._accounts[0]
            yield (one, other) if number % 2 else (other, one)

    def _envelopes(self, count: int, *, hot: bool = False) -> list[Any]:
        from eventstore.messages import Envelope
        from transactions.domain import commands

        found = []
        for source, destination in self._pairs(count, hot=hot):
            command = commands.CreateTransaction(
                id=uuid7(),
                type="transfer",
                source=source,
                destination=destination,
                amount=1,
                currency=CURRENCY,
            )
            context = self._context(frozenset(SCOPES))
            found.append(
                Envelope(command=command, context=context, idempotency=self._claim(command.id))
            )
        return found

    def _context(self, scopes: frozenset[str]) -> Any:
        from eventstore.clock import utc_now
        from eventstore.messages import Context

        return Context(now=utc_now(), actor=self._owner, scopes=scopes, request_id=str(uuid7()))

    def _claim(self, transaction: UUID) -> Any:
        from eventstore.messages import Idempotency
        from transactions.api.presenters import transaction_response

        return Idempotency(
            actor=self._owner,
            method="POST",
            path="/api/transactions",
            key=str(transaction),
            fingerprint=sha256(transaction.bytes).hexdigest(),
            present=partial(
                transaction_response, instance="/api/transactions", request_id="request"
            ),
        )

    def _execute_all(self, commands: Sequence[Any], *, scopes: frozenset[str]) -> None:
        from eventstore.messages import Envelope
        from transactions.dispatch import commands as bus

        for start in range(0, len(commands), BATCH_SIZE):
            batch = [
                Envelope(command=command, context=self._context(scopes))
                for command in commands[start : start + BATCH_SIZE]
            ]
            for outcome in bus.execute_many(batch):
                if outcome.error is not None:
                    raise outcome.error


def _check(outcome: Any) -> None:
    if outcome.response is None or outcome.response.status != 201:
        raise RuntimeError(f"a transfer was answered with {outcome}")


def _placed() -> int:
    from eventstore.models import Event

    return Event.objects.filter(position__isnull=False).count()


def _rate(work: Callable[[], int]) -> float:
    started_s, total = time.perf_counter(), 0
    while done := work():
        total += done
    return total / (time.perf_counter() - started_s)
