"""What the API, the health page and the metrics read of the log."""

from datetime import timedelta
from uuid import UUID

import pytest

from eventstore import queries, subscriptions
from eventstore.messages import Metadata
from eventstore.models import Event as EventRow
from eventstore.sequencer import sequence
from eventstore.store import event_store
from tests.eventstore.product import EFFECTS, NOON, CounterOpened, CounterRaised
from tests.eventstore.tools import write, write_log

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("effects_table")]


def test_the_status_of_an_empty_log_is_all_zero() -> None:
    status = queries.log_status()
    assert (status.head, status.unsequenced, status.oldest_unsequenced_s) == (0, 0, 0.0)


def test_the_status_tells_how_long_an_event_has_waited_for_its_position() -> None:
    write_log("counter-a", "counter-b")
    for number in range(2):
        event_store().save_events(
            f"counter-{number}",
            [CounterOpened()],
            expected_version=0,
            now=lambda number=number: NOON + timedelta(seconds=number),  # type: ignore[misc]
        )
    status = queries.log_status(now=NOON + timedelta(seconds=90))
    assert (status.head, status.unsequenced, status.oldest_unsequenced_s) == (2, 2, 90.0)


def test_a_clock_that_is_behind_makes_no_negative_age() -> None:
    write("counter-a")
    assert queries.log_status(now=NOON - timedelta(days=9)).oldest_unsequenced_s == 0.0


def test_lanes_are_told_in_the_order_of_their_table_also_before_they_have_run() -> None:
    write_log("counter-a")
    lanes = queries.lane_status()
    assert [(lane.name, lane.position, lane.lag_events) for lane in lanes] == [
        ("effects", 0, 1),
        ("idle", 0, 1),
    ]
    subscriptions.run(EFFECTS)
    assert queries.checkpoints()["effects"] == 1
    assert queries.checkpoints()["sequencer"] == 1


def test_events_are_listed_behind_a_position_and_by_every_filter() -> None:
    operation = Metadata(actor="alice", correlation_id="op-1")
    event_store().save_events(
        "counter-a", [CounterOpened(), CounterRaised()], expected_version=0, metadata=operation
    )
    event_store().save_events("counter-b", [CounterOpened()], expected_version=0)
    sequence()

    def found(after: int = 0, limit: int = 10, **filters: str) -> list[int]:
        listed = queries.list_events(after=after, limit=limit, filters=filters)
        return [record.place for record in listed]

    assert found() == [1, 2, 3]
    assert found(after=1, limit=1) == [2]
    assert found(stream="counter-a") == [1, 2]
    assert found(type="CounterOpened") == [1, 3]
    assert found(actor="alice", type="CounterOpened") == [1]
    assert found(correlation_id="op-1", after=1) == [2]
    assert found(stream="counter-x") == []


def test_an_event_is_found_by_its_id_once_it_has_its_position() -> None:
    write("counter-a")
    event_id = next(event_store().get_events("counter-a")).id
    assert queries.get_event(event_id) is None
    sequence()
    record = queries.get_event(event_id)
    assert record is not None
    assert record.place == 1
    assert queries.get_event(UUID(int=1)) is None


def test_an_operation_is_placed_when_all_its_events_are() -> None:
    operation = Metadata(correlation_id="op-1")
    event_store().save_events(
        "counter-a", [CounterOpened(), CounterRaised()], expected_version=0, metadata=operation
    )
    assert queries.newest_positions(["op-1", "op-2"]) == {}
    sequence()
    assert queries.newest_positions(["op-1", "op-2"]) == {"op-1": 2}
    event_store().save_events(
        "counter-a", [CounterRaised()], expected_version=2, metadata=operation
    )
    assert queries.newest_positions(["op-1"]) == {}
    assert EventRow.objects.filter(position__isnull=True).count() == 1


def test_streams_know_their_newest_version() -> None:
    write("counter-a", 3)
    assert queries.newest_version("counter-a") == 3
    assert queries.newest_version("counter-x") == 0
