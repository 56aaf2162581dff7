"""The event store in a Django project that has nothing else: run as a process of its own.

    python -m tests.eventstore.alone FUNCTION ARGUMENT...

The database is that of the environment variable `ALONE_DATABASE`, as Django's settings in JSON.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import django
from django.conf import settings

if not settings.configured:
    settings.configure(
        INSTALLED_APPS=["eventstore"],
        DATABASES={"default": json.loads(os.environ["ALONE_DATABASE"])},
        USE_TZ=True,
        EVENTSTORE_CODEC="tests.eventstore.product.CODEC",
        EVENTSTORE_SUBSCRIPTIONS="tests.eventstore.product.SUBSCRIPTIONS",
    )
    django.setup()

from django.db import connection

from eventstore import leases, subscriptions
from eventstore.records import Record
from eventstore.replication import replicate
from eventstore.sequencer import NAME as SEQUENCER
from eventstore.sequencer import sequence, sequence_batch
from eventstore.store import event_store
from eventstore.stores.sqlite import SQLiteStore
from eventstore.subscriptions import Subscription
from tests.eventstore.product import FOLDS, CounterOpened, have_effects


def die() -> None:
    """End this process as the kernel does when memory is short: at once."""
    os.kill(os.getpid(), signal.SIGKILL)


def append_and_die(stream: str) -> None:
    """Commit an event, and die before anybody can be told of it."""
    event_store().save_events(stream, [CounterOpened(label=stream)], expected_version=0)
    die()


def sequence_until(total: str) -> None:
    """Say that this process is ready, and place events until so many have their position."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not event_store().read_log(after=int(total) - 1, limit=1):
        sequence()


def sequence_and_die() -> None:
    """Die when the positions are written, and before they are committed."""

    def die_behind_the_claim(
        execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Mapping[str, Any]
    ) -> Any:
        result = execute(sql, params, many, context)
        if "hash" in sql and sql.startswith("UPDATE"):
            die()
        return result

    with connection.execute_wrapper(die_behind_the_claim):
        sequence()


def pause_behind_the_lease_and_sequence() -> None:
    """Take the lease, stop as a machine does that is put to sleep, and go on when woken up."""
    lease = leases.acquire(SEQUENCER, owner="sleeper")
    assert lease is not None
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        sequence_batch(lease)
    except leases.LeaseLost:
        return
    raise AssertionError("it was let through")


def have_effects_and_die() -> None:
    """Die when the effects are written, and before they are committed with the checkpoint."""

    def handle(records: Sequence[Record]) -> None:
        have_effects(records)
        die()

    subscriptions.run(Subscription(name="effects", handle=handle, in_transaction=True))


def replicate_and_die(path: str) -> None:
    """Die when a batch is in the store, and before its checkpoint says so."""

    def handle(records: Sequence[Record]) -> None:
        replicate(SQLiteStore(name="copy", path=Path(path)), FOLDS, records)
        die()

    subscriptions.run(Subscription(name="copy", handle=handle, in_transaction=False))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
