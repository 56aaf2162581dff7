"""Sequencers that meet, and one that is killed: with real threads and processes."""

import pytest

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
