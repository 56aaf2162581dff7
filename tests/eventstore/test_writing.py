"""Writers of one SQLite file take turns, and nobody keeps a turn that has ended."""

import os
import threading

import pytest
from django.db import OperationalError, connection

from eventstore import writing
from eventstore.models import Event
from eventstore.store import event_store
from eventstore.writing import write_transaction
from tests.eventstore.product import CounterOpened
from tests.eventstore.tools import in_threads

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        connection.vendor != "sqlite", reason="only SQLite has one writer at a time"
    ),
]


def save(stream: str) -> int:
    return event_store().save_events(stream, [CounterOpened(label=stream)], expected_version=0)


def test_writers_of_many_threads_all_come_to_their_turn() -> None:
    streams = [f"counter-{number}" for number in range(32)]
    versions = in_threads(*(lambda stream=stream: save(stream) for stream in streams))
    assert versions == [1] * 32
    assert Event.objects.count() == 32


def test_a_writer_that_fails_gives_its_turn_back() -> None:
    with pytest.raises(RuntimeError), write_transaction():
        raise RuntimeError
    assert save("counter-a") == 1


def test_a_write_within_a_transaction_needs_no_second_turn() -> None:
    with write_transaction():
        save("counter-a")
        with write_transaction():
            save("counter-b")
    assert Event.objects.count() == 2


def test_who_waits_too_long_is_told_that_the_database_is_locked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writing, "LOCK_TIMEOUT_S", 0.01)
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with write_transaction():
            entered.set()
            assert leave.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert entered.wait(10)
    with pytest.raises(OperationalError, match="database is locked"):
        save("counter-a")
    leave.set()
    thread.join()
    assert save("counter-a") == 1


def test_the_child_of_a_fork_does_not_wait_for_a_thread_that_it_does_not_have() -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with writing._lock:
            entered.set()
            assert leave.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert entered.wait(10)
    child = os.fork()
    if child == 0:
        os._exit(0 if writing._lock.acquire(timeout=1) else 1)
    leave.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
