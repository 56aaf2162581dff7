"""The product as a contender: its event store, and its ledger behind the command bus.

Both are built in a process of their own (`benchmarks.contender`), whose environment names the
database; they migrate it as an operator would, and then measure through public interfaces only.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

CURRENCY = "EUR"
FUNDS = 10**12
BATCH_SIZE = 1000
SECRET_KEY = "of a database that lives for a minute"


def environment(*, folder: Path, database_url: str = "", redis_url: str = "") -> dict[str, str]:
    """Return the variables with which the product runs on a private database.

    Args:
        folder: of everything embedded; without `database_url`, SQLite is in it, too.
    """
    return {
        "DJANGO_SETTINGS_MODULE": "platform_site.settings",
        "DATA_DIR": str(folder),
        "SECRET_KEY": SECRET_KEY,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
    }


def migrated() -> None:
    """Set Django up, and make the tables."""
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def in_threads(threads: int, work: Callable[[int], int]) -> float:
    """Run `work(number of the thread)` in so many threads at once; return its sum a second.

    Raises:
        Exception: the first that a thread raised.
    """
    done, errors = [0] * threads, []
    start = threading.Barrier(threads + 1)

    def run(number: int) -> None:
        from django.db import connections

        start.wait()
        try:
            done[number] = work(number)
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for each in running:
        each.start()
    start.wait()
    started_s = time.perf_counter()
    for each in running:
        each.join()
    elapsed_s = time.perf_counter() - started_s
    if errors:
        raise errors[0]
    return sum(done) / elapsed_s


def store() -> Mapping[str, Callable[..., Any]]:
    """Build the event store; return what can be measured on it."""
    migrated()
    from eventstore.aggregates import rebuild
    from eventstore.store import ConcurrencyConflict, event_store
    from transactions.aggregates import ACCOUNT
    from transactions.domain.events import CODEC, AccountCredited, AccountOpened
    from transactions.ledger import account_stream

    log = event_store()

    def opened() -> tuple[str, UUID]:
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
        log.save_events(stream, [first], expected_version=0)
        return stream, account

    def credits_to(account: UUID, count: int, *, posted: int = 0) -> list[AccountCredited]:
        return [
            AccountCredited(
                account=account,
                transaction=uuid7(),
                amount=1,
                currency=CURRENCY,
                posted=posted + number,
            )
            for number in range(1, count + 1)
        ]

    def append(*, writers: int, count: int) -> float:
        """Append one event at a time, each writer to a stream of its own; events a second."""
        streams = [opened() for _ in range(writers)]
        events = [credits_to(account, count) for _, account in streams]

        def write(number: int) -> int:
            for version, event in enumerate(events[number], start=1):
                log.save_events(streams[number][0], [event], expected_version=version)
            return count

        return in_threads(writers, write)

    def append_hot(*, writers: int, count: int) -> float:
        """Append one event at a time, all writers to one stream; events a second."""
        stream, account = opened()
        events = credits_to(account, writers * count)
        version = [1]

        def write(number: int) -> int:
            for event in events[number * count : (number + 1) * count]:
                while True:
                    # What a writer believes is a step behind once another has committed.
                    expected = version[0]
                    try:
                        version[0] = log.save_events(stream, [event], expected_version=expected)
                        break
                    except ConcurrencyConflict:
                        newest = max(
                            (
                                each.version
                                for each in log.get_events(stream, from_version=expected)
                            ),
                            default=expected,
                        )
                        version[0] = max(version[0], newest)
            return count

        return in_threads(writers, write)

    def bulk(*, appends: int) -> float:
        """Append 1,000 events at a time to one stream; events a second."""
        stream, account = opened()
        events = credits_to(account, appends * BATCH_SIZE)

        def write(_: int) -> int:
            for start in range(0, len(events), BATCH_SIZE):
                some = events[start : start + BATCH_SIZE]
                log.save_events(stream, some, expected_version=start + 1)
            return len(events)

        return in_threads(1, write)

    def filled(count: int) -> str:
        stream, account = opened()
        events = credits_to(account, count)
        for start in range(0, count, BATCH_SIZE):
            some = events[start : start + BATCH_SIZE]
            log.save_events(stream, some, expected_version=start + 1)
        return stream

    def read(*, stream: str) -> float:
        """Read a stream from the beginning and decode it; events a second."""
        return in_threads(
            1, lambda _: sum(1 for each in log.get_events(stream) if each.event(CODEC))
        )

    def replay(*, stream: str) -> float:
        """Rebuild an aggregate from its events; events a second."""

        def rebuilt(_: int) -> int:
            state = rebuild(ACCOUNT, stream)
            return state.version if state else 0

        return in_threads(1, rebuilt)

    def read_log(*, count: int) -> float:
        """Read the log in global order, decoded; events a second."""
        from eventstore.sequencer import sequence

        while sequence():
            pass

        def read_all(_: int) -> int:
            after = found = 0
            while found < count and (batch := log.read_log(after=after)):
                found += sum(1 for each in batch if each.event(CODEC))
                after = batch[-1].position or 0
            return found

        return in_threads(1, read_all)

    measures = (append, append_hot, bulk, filled, read, replay, read_log)
    return {each.__name__: each for each in measures}


def ledger(*, accounts: int, profile: bool = False) -> Mapping[str, Callable[..., Any]]:
    """Build the ledger with so many funded accounts of one user; return what can be measured.

    Args:
        profile: answer `profile` measurements too.
    """
    migrated()
    from eventstore.clock import utc_now
    from eventstore.messages import Context, Envelope, Idempotency
    from transactions.api.presenters import transaction_response
    from transactions.dispatch import commands as bus
    from transactions.domain import commands
    from users.key_handlers import grant_api_key
    from users.scopes import ALL_SCOPES, USER_SCOPES

    key, secret = grant_api_key(
        email="bench@example.com",
        name="bench",
        scopes=["accounts:read", "accounts:write", "transactions:read", "transactions:write"],
        tier="unlimited",
        create_user=True,
        now=utc_now(),
    )
    owner = key.user_id
    present = partial(transaction_response, instance="/api/transactions", request_id="request")

    def context(scopes: frozenset[str]) -> Context:
        return Context(now=utc_now(), actor=owner, scopes=scopes, request_id=str(uuid7()))

    def claim(command: commands.CreateTransaction) -> Idempotency:
        return Idempotency(
            actor=owner,
            method="POST",
            path="/api/transactions",
            key=str(command.id),
            fingerprint=sha256(command.id.bytes).hexdigest(),
            present=present,
        )

    def run_all(batch: Sequence[Any], scopes: frozenset[str]) -> None:
        for start in range(0, len(batch), BATCH_SIZE):
            some = [
                Envelope(command=command, context=context(scopes))
                for command in batch[start : start + BATCH_SIZE]
            ]
            for outcome in bus.execute_many(some):
                if outcome.error is not None:
                    raise outcome.error

    ids = [uuid7() for _ in range(accounts)]
    run_all([commands.OpenAccount(id=each, owner=owner, currency=CURRENCY) for each in ids],
            frozenset(USER_SCOPES))  # fmt: skip
    run_all(
        [
            commands.CreateTransaction(
                id=uuid7(), type="deposit", destination=each, amount=FUNDS, currency=CURRENCY
            )
            for each in ids
        ],
        frozenset(ALL_SCOPES),
    )

    def pairs(count: int, *, hot: bool = False) -> Iterator[tuple[UUID, UUID]]:
        """Yield the two sides of each transfer; the hot account is one of them in each."""
        for number in range(count):
            one, other = random.sample(ids[1:], 2)
            if hot:
                other = ids[0]
            yield (one, other) if number % 2 else (other, one)

    def envelopes(count: int, *, hot: bool = False) -> list[Envelope]:
        found = []
        for source, destination in pairs(count, hot=hot):
            command = commands.CreateTransaction(
                id=uuid7(),
                type="transfer",
                source=source,
                destination=destination,
                amount=1,
                currency=CURRENCY,
            )
            found.append(
                Envelope(
                    command=command,
                    context=context(frozenset(USER_SCOPES)),
                    idempotency=claim(command),
                )
            )
        return found

    def transfers(*, threads: int, count: int, hot: bool = False) -> float:
        """Execute single transfers in so many threads; transfers a second."""
        each_thread = [envelopes(count // threads, hot=hot) for _ in range(threads)]

        def run(number: int) -> int:
            for envelope in each_thread[number]:
                outcome = bus.execute(envelope)
                if outcome.response is None or outcome.response.status != 201:
                    raise RuntimeError(f"a transfer was answered with {outcome}")
            return len(each_thread[number])

        return in_threads(threads, run)

    def latencies_ms(*, count: int) -> list[float]:
        """Execute transfers one after the other; return how long each took."""
        times = []
        for envelope in envelopes(count):
            times.append(time.perf_counter())
            bus.execute(envelope)
        times.append(time.perf_counter())
        return [(after - before) * 1000 for before, after in pairwise(times)]

    def batches(*, count: int) -> float:
        """Execute transfers in batches of 1,000, each one commit; transfers a second."""
        given = [envelopes(BATCH_SIZE) for _ in range(count)]

        def run(_: int) -> int:
            done = 0
            for batch in given:
                outcomes = bus.execute_many(batch)
                done += sum(1 for each in outcomes if each.response and each.response.status == 201)
            if done != count * BATCH_SIZE:
                raise RuntimeError(f"only {done} transfers of a batch were done")
            return done

        return in_threads(1, run)

    def drained() -> dict[str, float]:
        """Give every event its position and let every lane catch up; events a second of each."""
        from eventstore import config, queries, sequencer, subscriptions

        def rate(work: Callable[[], int]) -> float:
            started_s, total = time.perf_counter(), 0
            while done := work():
                total += done
            return total / (time.perf_counter() - started_s)

        rates = {"sequencer": rate(sequencer.sequence)}
        for lane in config.subscriptions():
            rates[lane.name] = rate(partial(subscriptions.run, lane))
        lags = {status.name: status.lag_events for status in queries.lane_status()}
        if any(lags.values()):
            raise RuntimeError(f"lanes lag behind: {lags}")
        return rates

    def setting() -> dict[str, Any]:
        """Return what a client of the API needs: the secret of a key, and the accounts."""
        return {"secret": secret, "accounts": [str(each) for each in ids]}

    def transaction_count() -> int:
        """Return how many transactions are completed."""
        from transactions.models import Transaction

        return Transaction.objects.filter(status="completed").count()

    measures: list[Callable[..., Any]] = [
        transfers, latencies_ms, batches, drained, setting, transaction_count,
    ]  # fmt: skip
    if profile:
        from benchmarks.profiling import profiled

        measures.append(profiled(transfers, batches))
    return {each.__name__: each for each in measures}
