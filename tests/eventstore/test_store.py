"""Appending to streams and reading them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from uuid_utils.compat import uuid7

from eventstore.messages import Metadata
from eventstore.models import Event as EventRow
from eventstore.rows import NewEvent
from eventstore.sequencer import sequence
from eventstore.store import (
    READ_BATCH_SIZE,
    STREAM_LENGTH_MAX,
    STREAMS_A_CHECK,
    ConcurrencyConflict,
    EventStore,
    LogBroken,
    event_store,
)
from tests.eventstore.product import NOON, CounterOpened, CounterRaised
from tests.eventstore.tools import write, write_log

pytestmark = pytest.mark.django_db


@pytest.fixture
def store() -> EventStore:
    return event_store()


def new(stream: str, version: int, *, at: datetime = NOON) -> NewEvent:
    return NewEvent(
        id=uuid7(),
        stream=stream,
        version=version,
        event=CounterRaised(by=version),
        metadata=Metadata(),
        occurred_at=at,
    )


def stored() -> list[tuple[str, int]]:
    return list(EventRow.objects.order_by("row").values_list("stream", "version"))


def test_a_new_stream_begins_at_version_0(store: EventStore) -> None:
    events = [CounterOpened(label="a"), CounterRaised(by=2)]
    assert store.save_events("counter-a", events, expected_version=0) == 2
    assert [store.event_of(record) for record in store.get_events("counter-a")] == events
    assert [record.version for record in store.get_events("counter-a")] == [1, 2]


def test_an_event_keeps_who_asked_for_it_when_and_why(store: EventStore) -> None:
    metadata = Metadata(
        actor="an actor", correlation_id="an operation", causation_id="a cause", request_id="r-1"
    )
    store.save_events(
        "counter-a", [CounterOpened()], expected_version=0, metadata=metadata, now=lambda: NOON
    )
    record = next(store.get_events("counter-a"))
    assert record.metadata == metadata
    assert record.occurred_at == NOON
    assert record.occurred_at.microsecond == 6


@pytest.mark.parametrize("expected", [0, 1, 2, 4, 17])
def test_another_version_than_the_expected_one_is_a_conflict_and_writes_nothing(
    store: EventStore, expected: int
) -> None:
    write("counter-a", 3)
    before = stored()
    with pytest.raises(ConcurrencyConflict, match=f"counter-a is at version 3, not {expected}"):
        store.save_events(
            "counter-a", [CounterRaised(), CounterRaised()], expected_version=expected
        )
    assert stored() == before


def test_a_conflict_can_be_told_to_the_client_and_tried_again(store: EventStore) -> None:
    assert ConcurrencyConflict.code == "concurrency_conflict"
    assert ConcurrencyConflict.retryable


def test_a_transaction_goes_on_after_a_conflict_that_it_expected(store: EventStore) -> None:
    write("counter-a")
    with transaction.atomic():
        with pytest.raises(ConcurrencyConflict):
            store.append([new("counter-a", 1)])
        store.append([new("counter-a", 2)])
    assert stored() == [("counter-a", 1), ("counter-a", 2)]


def test_a_writer_who_is_overtaken_between_look_and_insert_has_a_conflict(
    store: EventStore,
) -> None:
    overtaken = False

    def overtake(
        execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        nonlocal overtaken
        if sql.startswith("INSERT") and not overtaken:
            overtaken = True
            store.append([new("counter-a", 1)])
        return execute(sql, params, many, context)

    with transaction.atomic():
        with connection.execute_wrapper(overtake), pytest.raises(ConcurrencyConflict):
            store.append([new("counter-b", 1), new("counter-a", 1)])
        store.append([new("counter-c", 1)])
    assert ("counter-b", 1) not in stored()
    assert ("counter-c", 1) in stored()


def test_several_streams_are_appended_to_together(store: EventStore) -> None:
    write("counter-a", 2)
    store.append(
        [new("counter-a", 3), new("counter-b", 1), new("counter-a", 4), new("counter-b", 2)]
    )
    assert stored()[2:] == [
        ("counter-a", 3),
        ("counter-b", 1),
        ("counter-a", 4),
        ("counter-b", 2),
    ]


def test_a_conflict_on_one_stream_keeps_all_others_from_being_written(store: EventStore) -> None:
    write("counter-b", 5)
    before = stored()
    with pytest.raises(ConcurrencyConflict, match="counter-b"):
        store.append([new("counter-a", 1), new("counter-b", 5), new("counter-c", 1)])
    assert stored() == before


def test_a_conflict_is_found_among_more_streams_than_one_statement_asks_for(
    store: EventStore,
) -> None:
    streams = [f"counter-{number:04}" for number in range(STREAMS_A_CHECK * 2 + 1)]
    store.append([new(stream, 1) for stream in streams])
    with pytest.raises(ConcurrencyConflict, match=streams[-1]):
        store.append([*(new(stream, 2) for stream in streams[:-1]), new(streams[-1], 3)])
    store.append([new(stream, 2) for stream in streams])
    assert EventRow.objects.filter(version=2).count() == len(streams)


@pytest.mark.parametrize("versions", [(1, 3), (1, 1), (2, 1), (0, 1), (-1,)])
def test_a_gap_within_what_is_appended_is_refused(
    store: EventStore, versions: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="does not follow"):
        store.append([new("counter-a", version) for version in versions])
    assert stored() == []


def test_a_gap_behind_what_is_stored_is_refused(store: EventStore) -> None:
    write("counter-a", 2)
    with pytest.raises(ConcurrencyConflict):
        store.append([new("counter-a", 4)])


def test_a_stream_name_that_some_database_would_cut_is_refused_by_all(store: EventStore) -> None:
    store.append([new("c" * STREAM_LENGTH_MAX, 1)])
    with pytest.raises(ValueError, match="longer than 80"):
        store.append([new("c" * (STREAM_LENGTH_MAX + 1), 1)])


def test_appending_nothing_writes_nothing(store: EventStore) -> None:
    store.append([])
    assert store.save_events("counter-a", [], expected_version=0) == 0
    assert stored() == []


def test_an_event_without_a_time_zone_is_refused(store: EventStore) -> None:
    naive = datetime(2026, 1, 2, 12)  # noqa: DTZ001 - that is the point
    with pytest.raises(ValueError, match="no time zone"):
        store.save_events("counter-a", [CounterRaised(at=naive)], expected_version=0)
    assert stored() == []


def test_a_long_stream_is_read_whole_in_batches(store: EventStore) -> None:
    count = READ_BATCH_SIZE * 2 + 1
    write("counter-a", count)
    write("counter-b", 3)
    assert [record.version for record in store.get_events("counter-a")] == [*range(1, count + 1)]


@pytest.mark.parametrize(
    ("from_version", "to_version", "expected"),
    [
        (1, None, [1, 2, 3, 4, 5]),
        (3, None, [3, 4, 5]),
        (2, 4, [2, 3, 4]),
        (1, 1, [1]),
        (5, 99, [5]),
        (6, None, []),
        (4, 3, []),
    ],
)
def test_a_range_of_versions_is_read_with_both_its_ends(
    store: EventStore, from_version: int, to_version: int | None, expected: list[int]
) -> None:
    write("counter-a", 5)
    found = store.get_events("counter-a", from_version=from_version, to_version=to_version)
    assert [record.version for record in found] == expected


def test_a_range_of_versions_ends_within_a_later_batch(store: EventStore) -> None:
    write("counter-a", READ_BATCH_SIZE + 20)
    found = store.get_events("counter-a", from_version=11, to_version=READ_BATCH_SIZE + 11)
    assert [record.version for record in found] == [*range(11, READ_BATCH_SIZE + 12)]


def test_the_log_has_only_what_has_its_position(store: EventStore) -> None:
    write("counter-a", 2)
    assert store.read_log() == []
    sequence()
    write("counter-a", 1)
    assert [record.place for record in store.read_log()] == [1, 2]


def test_a_record_without_a_position_does_not_pretend_to_have_one(store: EventStore) -> None:
    write("counter-a")
    record = next(store.get_events("counter-a"))
    assert record.position is None
    with pytest.raises(ValueError, match="no position yet"):
        _ = record.place


def test_replay_hands_over_every_event_in_global_order(store: EventStore) -> None:
    write("counter-a", READ_BATCH_SIZE)
    write("counter-b", READ_BATCH_SIZE)
    write("counter-a", 7)
    sequence(batches_max=10)
    seen: list[int] = []
    last = store.replay_events(lambda record: seen.append(record.place))
    assert last == READ_BATCH_SIZE * 2 + 7
    assert seen == [*range(1, last + 1)]


def test_replay_goes_on_behind_a_position(store: EventStore) -> None:
    write_log(*["counter-a"] * 5)
    seen: list[int] = []
    assert store.replay_events(lambda record: seen.append(record.place), after=3) == 5
    assert seen == [4, 5]
    assert store.replay_events(lambda record: seen.append(record.place), after=5) == 5
    assert seen == [4, 5]


def test_an_event_that_must_be_in_the_log_is_missed(store: EventStore) -> None:
    write_log("counter-a", "counter-a")
    assert store.read_at(2).version == 2
    EventRow.objects.filter(position=2).delete()
    with pytest.raises(LogBroken, match="position 2"):
        store.read_at(2)


def test_the_newest_snapshot_up_to_a_version_is_found(store: EventStore) -> None:
    for version in (10, 20, 30):
        store.create_snapshot(
            "counter-a", version=version, state={"at": version}, code_version=1, now=NOON
        )
    store.create_snapshot("counter-a", version=40, state={}, code_version=2, now=NOON)
    store.create_snapshot("counter-b", version=29, state={}, code_version=1, now=NOON)

    def newest(to_version: int | None) -> int | None:
        found = store.get_latest_snapshot("counter-a", code_version=1, to_version=to_version)
        return found.version if found else None

    assert [newest(to) for to in (None, 30, 29, 20, 10, 9)] == [30, 30, 20, 20, 10, None]


def test_a_snapshot_is_written_once(store: EventStore) -> None:
    for state in ({"first": True}, {"second": True}):
        store.create_snapshot(
            "counter-a", version=10, state=state, code_version=1, now=NOON + timedelta(hours=1)
        )
    found = store.get_latest_snapshot("counter-a", code_version=1)
    assert found is not None
    assert found.state == {"first": True}


def test_times_are_those_of_the_request_in_utc(store: EventStore) -> None:
    before = datetime.now(UTC)
    write("counter-a")
    occurred_at = next(store.get_events("counter-a")).occurred_at
    assert before <= occurred_at <= datetime.now(UTC)
    assert occurred_at.utcoffset() == timedelta(0)
