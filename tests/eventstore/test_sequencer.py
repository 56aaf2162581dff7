"""Positions: dense, given once, to committed events only, and chained by their hashes."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F

from eventstore import leases, sequencer
from eventstore.integrity import log_faults
from eventstore.leases import Lease, LeaseLost
from eventstore.messages import Metadata
from eventstore.models import Checkpoint
from eventstore.models import Event as EventRow
from eventstore.sequencer import BATCH_SIZE_MAX, NAME, sequence
from eventstore.store import LogBroken, event_store
from tests.eventstore.product import NOON, CounterOpened
from tests.eventstore.tools import assert_log_is_in_order, expire_lease, write, write_log

pytestmark = pytest.mark.django_db


def taken() -> Lease:
    lease = leases.acquire(NAME, owner="worker-1")
    assert lease is not None
    return lease


def unsequenced() -> int:
    return EventRow.objects.filter(position__isnull=True).count()


def test_events_are_placed_in_the_order_of_their_insertion() -> None:
    streams = ["counter-b", "counter-a", "counter-b", "counter-c", "counter-a"]
    assert [record.stream for record in write_log(*streams)] == streams
    assert_log_is_in_order()


def test_each_event_is_placed_once() -> None:
    write("counter-a", 3)
    assert sequence() == 3
    assert sequence() == 0
    write("counter-a", 2)
    assert sequence() == 2
    assert len(assert_log_is_in_order()) == 5


def test_an_event_that_commits_late_with_a_low_row_is_not_skipped() -> None:
    write("counter-late")
    write("counter-early")
    late = EventRow.objects.get(stream="counter-late")
    row = late.row
    # Not committed yet: nobody sees it, and its row is taken.
    late.delete()
    sequence()
    late.row = row
    late.save(force_insert=True)
    assert late.row < EventRow.objects.get(stream="counter-early").row
    assert sequence() == 1
    assert [record.stream for record in assert_log_is_in_order()] == [
        "counter-early",
        "counter-late",
    ]
    assert list(log_faults()) == []


@pytest.mark.parametrize("microsecond", [0, 1, 120_000, 999_999])
def test_an_instant_is_hashed_as_it_is_shown_whatever_a_database_makes_of_it(
    microsecond: int,
) -> None:
    at = NOON.replace(microsecond=microsecond)
    event_store().save_events("counter-a", [CounterOpened()], expected_version=0, now=lambda: at)
    sequence()
    assert list(log_faults()) == []


def test_no_text_that_can_be_stored_is_hashed_in_another_way_than_it_is_shown() -> None:
    for number, text in enumerate(['"', "\\", "\u2028", "ä€𝄞", "\x7f", "\t\n", "'", "%s", ""]):
        event_store().save_events(
            f"counter-{number}{text}",
            [CounterOpened(label=text)],
            expected_version=0,
            metadata=Metadata(actor=text, correlation_id=text, causation_id=text, request_id=text),
        )
    assert sequence() == 9
    assert list(log_faults()) == []


def test_more_than_a_batch_is_placed_in_one_call() -> None:
    total = BATCH_SIZE_MAX * 2 + 345
    for start in range(0, total, 500):
        write(f"counter-{start}", min(500, total - start))
    assert sequence() == total
    assert len(assert_log_is_in_order()) == total
    assert list(log_faults()) == []


def test_a_call_places_no_more_than_its_batches() -> None:
    write("counter-a", BATCH_SIZE_MAX + 10)
    assert sequence(batches_max=1) == BATCH_SIZE_MAX
    assert unsequenced() == 10
    assert sequence(batches_max=1) == 10


def test_the_hash_chain_goes_on_over_batches_and_calls() -> None:
    write("counter-a", BATCH_SIZE_MAX - 1)
    sequence()
    write("counter-b", 3)
    sequence()
    write("counter-a", BATCH_SIZE_MAX)
    sequence()
    assert len(assert_log_is_in_order()) == BATCH_SIZE_MAX * 2 + 2
    assert list(log_faults()) == []


def test_a_second_sequencer_finds_the_lease_taken_and_writes_nothing() -> None:
    write("counter-a", 3)
    taken()
    assert sequence() == 0
    assert unsequenced() == 3


def test_a_sequencer_that_was_paused_past_its_lease_writes_nothing() -> None:
    write("counter-a", 3)
    late = taken()
    expire_lease(NAME)
    assert sequence() == 3
    write("counter-b", 2)
    before = list(EventRow.objects.order_by("row").values())
    with pytest.raises(LeaseLost):
        sequencer.sequence_batch(late)
    assert list(EventRow.objects.order_by("row").values()) == before
    assert sequence() == 2
    assert list(log_faults()) == []


def test_a_sequencer_whose_lease_is_taken_over_stops_without_an_error() -> None:
    write("counter-a", BATCH_SIZE_MAX + 1)
    writes = 0

    def take_over(
        execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        nonlocal writes
        writes += sql.startswith("UPDATE") and Checkpoint._meta.db_table in sql
        # The lease, the fence and the checkpoint of the first batch; now the second one's fence.
        if writes == 4:
            Checkpoint.objects.filter(name=NAME).update(epoch=F("epoch") + 1)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(take_over):
        assert sequence() == BATCH_SIZE_MAX
    assert unsequenced() == 1


def test_an_idle_log_costs_its_writers_nothing() -> None:
    write("counter-a")
    sequence()
    before = Checkpoint.objects.values().get(name=NAME)
    assert sequence() == 0
    assert Checkpoint.objects.values().get(name=NAME) == before


def test_nothing_is_chained_onto_a_tail_that_was_cut_off() -> None:
    write_log("counter-a", "counter-b", "counter-c")
    EventRow.objects.filter(position=3).delete()
    write("counter-d")
    with pytest.raises(LogBroken, match="position 3"):
        sequence()
    assert unsequenced() == 1
    checkpoint = Checkpoint.objects.get(name=NAME)
    assert checkpoint.position == 3
    assert checkpoint.last_error.startswith("LogBroken: ")
    # Given back, so that whoever mends the log need not wait.
    assert checkpoint.lease_expires_at is None


def test_nothing_is_chained_onto_a_hash_that_was_removed() -> None:
    write_log("counter-a")
    EventRow.objects.filter(position=1).update(hash=None)
    write("counter-a")
    with pytest.raises(LogBroken, match="no hash"):
        sequence()


def test_a_position_is_given_with_the_checkpoint_or_not_at_all() -> None:
    write_log("counter-a", "counter-b")
    write("counter-c")
    with transaction.atomic():
        sequence()
        transaction.set_rollback(True)
    assert unsequenced() == 1
    assert Checkpoint.objects.get(name=NAME).position == 2
    assert len(event_store().read_log()) == 2
