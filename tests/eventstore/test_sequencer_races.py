"""Sequencers that meet, sleep, and are killed: with real threads and processes."""

import os
import signal
import threading

import pytest
from django.db import connection, transaction

from eventstore.integrity import log_faults
from eventstore.models import Checkpoint
from eventstore.models import Event as EventRow
from eventstore.sequencer import NAME, sequence
from tests.eventstore.tools import (
    assert_log_is_in_order,
    expire_lease,
    in_threads,
    start_process,
    wait_for,
    wait_until_ready,
    write,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_two_sequencers_in_two_processes_never_give_a_position_twice() -> None:
    total = 240
    processes = [start_process("sequence_until", str(total)) for _ in range(2)]
    wait_until_ready(processes)
    for number in range(total // 2):
        write(f"counter-{number % 5}", 2)
    assert wait_for(*processes) == [0, 0]
    assert len(assert_log_is_in_order()) == total
    assert list(log_faults()) == []


def test_four_sequencers_in_four_threads_place_each_event_once() -> None:
    def keep_sequencing() -> int:
        return sum(sequence() for _ in range(20))

    def keep_writing() -> int:
        return sum(write("counter-a", 3) > 0 for _ in range(20)) * 3

    *placed, written = in_threads(*[keep_sequencing] * 4, keep_writing)
    numbers = [number for number in placed if isinstance(number, int)]
    assert len(numbers) == 4, placed
    assert sum(numbers) + sequence() == written == 60
    assert len(assert_log_is_in_order()) == 60
    assert list(log_faults()) == []


def test_a_sequencer_killed_between_claim_and_commit_loses_nothing() -> None:
    write("counter-a", 30)
    assert wait_for(start_process("sequence_and_die")) == [-9]
    assert EventRow.objects.filter(position__isnull=False).count() == 0
    # The dead one still has its lease, and another waits for its end.
    assert Checkpoint.objects.get(name=NAME).lease_expires_at is not None
    assert sequence() == 0
    expire_lease(NAME)
    assert sequence() == 30
    assert len(assert_log_is_in_order()) == 30
    assert list(log_faults()) == []


def test_a_sequencer_that_was_put_to_sleep_past_its_lease_changes_nothing_when_it_wakes() -> None:
    write("counter-a", 30)
    sleeper = start_process("pause_behind_the_lease_and_sequence")
    wait_until_ready([sleeper])
    os.waitid(os.P_PID, sleeper.pid, os.WSTOPPED | os.WNOWAIT)
    assert sequence() == 0
    expire_lease(NAME)
    assert sequence() == 30
    write("counter-b", 5)
    before = list(EventRow.objects.order_by("row").values())
    os.kill(sleeper.pid, signal.SIGCONT)
    assert wait_for(sleeper) == [0]
    assert list(EventRow.objects.order_by("row").values()) == before
    assert sequence() == 5
    assert len(assert_log_is_in_order()) == 35
    assert list(log_faults()) == []


def test_an_event_that_was_inserted_first_and_commits_last_is_placed_last_and_once() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time: nothing commits between")
    inserted, may_commit = threading.Event(), threading.Event()

    def insert_first_and_commit_last() -> None:
        with transaction.atomic():
            write("counter-late")
            inserted.set()
            assert may_commit.wait(20)

    def commit_and_sequence_meanwhile() -> list[int]:
        assert inserted.wait(20)
        placed = []
        for _ in range(3):
            write("counter-early")
            placed.append(sequence())
        may_commit.set()
        return placed

    committed, placed = in_threads(insert_first_and_commit_last, commit_and_sequence_meanwhile)
    assert (committed, placed) == (None, [1, 1, 1])
    assert sequence() == 1
    records = assert_log_is_in_order()
    assert [record.stream for record in records] == [*["counter-early"] * 3, "counter-late"]
    late, early = (
        EventRow.objects.filter(stream=stream).order_by("row").values_list("row", flat=True)[0]
        for stream in ("counter-late", "counter-early")
    )
    assert late < early
    assert list(log_faults()) == []
