"""What the tests of the event store share: writing, threads, processes and a look at the log."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from django.db import connection, connections
from django.db.models import Max

from eventstore.messages import Event
from eventstore.models import Checkpoint
from eventstore.models import Event as EventRow
from eventstore.records import Record
from eventstore.sequencer import sequence
from eventstore.sql import DatabaseNow
from eventstore.store import event_store
from tests.eventstore.product import CounterOpened, CounterRaised, Effect

PROCESS_TIMEOUT_S = 30
THREAD_TIMEOUT_S = 30

ResultT = TypeVar("ResultT")


def write(stream: str, count: int = 1, *, note: str = "") -> int:
    """Append `count` events to `stream`, wherever it stands; return its version."""
    version = EventRow.objects.filter(stream=stream).aggregate(newest=Max("version"))["newest"]
    events: list[Event] = [CounterRaised(note=note) for _ in range(count)]
    if not version:
        events[0] = CounterOpened(label=stream)
    return event_store().save_events(stream, events, expected_version=version or 0)


def write_log(*streams: str) -> list[Record]:
    """Append an event to each of `streams` in turn, place them, and return the log."""
    for stream in streams:
        write(stream)
    sequence()
    return event_store().read_log(limit=10_000)


def assert_log_is_in_order() -> list[Record]:
    """Check that positions are dense and that each stream is in order; return the log."""
    records = event_store().read_log(limit=100_000)
    assert [record.position for record in records] == list(range(1, len(records) + 1))
    by_stream = sorted(records, key=lambda record: record.stream)
    for stream, of_stream in groupby(by_stream, key=lambda record: record.stream):
        versions = [record.version for record in of_stream]
        assert versions == list(range(1, len(versions) + 1)), stream
    return records


def effects(lane: str = "effects") -> list[tuple[str, int]]:
    """Return (stream, version) of every effect of a lane, in the order of happening."""
    return list(Effect.objects.filter(lane=lane).order_by("pk").values_list("stream", "version"))


def expire_lease(name: str) -> None:
    """Let the lease on a checkpoint run out, as if its worker had been silent for long enough."""
    Checkpoint.objects.filter(name=name).update(
        lease_expires_at=DatabaseNow() - timedelta(seconds=1)
    )


def in_threads(*functions: Callable[[], ResultT]) -> list[ResultT | Exception]:
    """Run the functions at once, each in a thread with a connection of its own.

    Returns:
        what each returned or raised, in the order of the functions.
    """
    results: list[ResultT | Exception] = [RuntimeError("did not end")] * len(functions)
    barrier = threading.Barrier(len(functions))

    def call(index: int, function: Callable[[], ResultT]) -> None:
        try:
            barrier.wait(THREAD_TIMEOUT_S)
            results[index] = function()
        except Exception as error:
            results[index] = error
        finally:
            connections.close_all()

    threads = [
        threading.Thread(target=call, args=(index, function))
        for index, function in enumerate(functions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(THREAD_TIMEOUT_S)
    return results


def start_process(function: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a function of `tests.eventstore.alone` in a process of its own, on this database."""
    keys = ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS")
    database: dict[str, Any] = {key: connection.settings_dict[key] for key in keys}
    database["NAME"] = str(database["NAME"])
    return subprocess.Popen(
        [sys.executable, "-m", "tests.eventstore.alone", function, *arguments],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        env={**os.environ, "ALONE_DATABASE": json.dumps(database)},
    )


def wait_until_ready(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait until each process has written a line."""
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"


def wait_for(*processes: subprocess.Popen[bytes]) -> list[int]:
    """Wait for processes to end; return their exit codes, negative for a signal."""
    codes = []
    for process in processes:
        with process:
            codes.append(process.wait(PROCESS_TIMEOUT_S))
    return codes
