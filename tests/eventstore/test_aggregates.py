"""States rebuilt from events, with and without a snapshot, now and at an instant of the past."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventstore import aggregates, leases, marks
from eventstore.aggregates import rebuild, take_snapshots
from eventstore.codec import UnknownEvent
from eventstore.messages import Event
from eventstore.models import Checkpoint
from eventstore.models import Event as EventRow
from eventstore.models import Snapshot as SnapshotRow
from eventstore.past import Instant, versions_at
from eventstore.replication import fold_stream
from eventstore.sequencer import sequence
from eventstore.store import event_store
from tests.eventstore.product import (
    COUNTER,
    FOLDS,
    NOON,
    CounterOpened,
    CounterRaised,
    evolve,
)
from tests.eventstore.tools import write, write_log

pytestmark = pytest.mark.django_db

OTHER_CODE = replace(COUNTER, code_version=2)


def snapshots() -> list[tuple[str, int, int]]:
    rows = SnapshotRow.objects.exclude(stream=marks.STREAM).order_by(
        "stream", "version", "code_version"
    )
    return list(rows.values_list("stream", "version", "code_version"))


def test_a_state_is_what_its_events_make() -> None:
    write("counter-a", 4)
    state = rebuild(COUNTER, "counter-a")
    assert state is not None
    assert (state.label, state.total, state.raised, state.version) == ("counter-a", 3, 3, 4)


def test_a_stream_without_events_has_no_state() -> None:
    assert rebuild(COUNTER, "counter-x") is None
    write("counter-a", 2)
    assert rebuild(COUNTER, "counter-a", to_version=0) is None


def test_a_state_of_the_past_ends_with_its_version() -> None:
    write("counter-a", 9)
    for version in (1, 5, 9, 99):
        state = rebuild(COUNTER, "counter-a", to_version=version)
        assert state is not None
        assert state.version == min(version, 9)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    raises=st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=12),
    snapshot_at=st.lists(st.integers(1, 13), max_size=3),
    to_version=st.none() | st.integers(1, 13),
)
def test_a_state_is_the_same_with_and_without_snapshots(
    raises: list[int], snapshot_at: list[int], to_version: int | None
) -> None:
    EventRow.objects.all().delete()
    SnapshotRow.objects.all().delete()
    events: list[Event] = [CounterOpened(label="é"), *(CounterRaised(by=by) for by in raises)]
    event_store().save_events("counter-a", events, expected_version=0)
    for version in snapshot_at:
        if version <= len(events):
            event_store().create_snapshot(
                "counter-a",
                version=version,
                state=fold_stream(FOLDS, "counter-a", to_version=version).body,
                code_version=COUNTER.code_version,
                now=NOON,
            )
    plain = rebuild(COUNTER, "counter-a", to_version=to_version, from_snapshot=False)
    assert rebuild(COUNTER, "counter-a", to_version=to_version) == plain
    applied = raises[: to_version - 1] if to_version else raises
    assert plain is not None
    assert plain.total == sum(applied)


def test_a_snapshot_saves_the_events_before_it() -> None:
    write("counter-a", 6)
    state = rebuild(COUNTER, "counter-a", to_version=5)
    assert state is not None
    forged = {**fold_stream(FOLDS, "counter-a", to_version=5).body, "total": 1000}
    event_store().create_snapshot("counter-a", version=5, state=forged, code_version=1, now=NOON)
    from_snapshot = rebuild(COUNTER, "counter-a")
    assert from_snapshot is not None
    assert from_snapshot.total == 1001
    from_events = rebuild(COUNTER, "counter-a", from_snapshot=False)
    assert from_events is not None
    assert from_events.total == 5


def test_a_snapshot_of_other_code_is_ignored() -> None:
    write("counter-a", 6)
    event_store().create_snapshot(
        "counter-a", version=5, state={"of": "other code"}, code_version=2, now=NOON
    )
    assert rebuild(COUNTER, "counter-a") == rebuild(COUNTER, "counter-a", from_snapshot=False)


def test_a_snapshot_is_taken_at_every_thousandth_version() -> None:
    assert aggregates.SNAPSHOT_EVERY_EVENTS == 1000
    write("counter-a", 999)
    write("counter-b", 1)
    sequence()
    assert take_snapshots([COUNTER]) == 0
    write("counter-a", 1)
    sequence()
    assert take_snapshots([COUNTER]) == 1
    assert snapshots() == [("counter-a", 1000, 1)]
    assert take_snapshots([COUNTER]) == 0


def test_snapshots_are_taken_of_streams_that_have_grown_by_so_many_events() -> None:
    write_log(*["counter-a"] * 7, *["counter-b"] * 3, "counter-c")
    assert take_snapshots([COUNTER], every_events=3) == 3
    assert snapshots() == [("counter-a", 3, 1), ("counter-a", 6, 1), ("counter-b", 3, 1)]
    write_log("counter-a", "counter-a", "counter-c", "counter-c")
    assert take_snapshots([COUNTER], every_events=3) == 2
    assert snapshots() == [
        ("counter-a", 3, 1),
        ("counter-a", 6, 1),
        ("counter-a", 9, 1),
        ("counter-b", 3, 1),
        ("counter-c", 3, 1),
    ]


def test_a_snapshot_is_the_state_at_its_version_whatever_was_appended_meanwhile() -> None:
    write_log(*["counter-a"] * 3)
    write("counter-a", 4)
    take_snapshots([COUNTER], every_events=3)
    assert snapshots() == [("counter-a", 3, 1)]
    snapshot = event_store().get_latest_snapshot("counter-a", code_version=1)
    assert snapshot is not None
    assert snapshot.state["total"] == 2
    state = rebuild(COUNTER, "counter-a")
    assert state == rebuild(COUNTER, "counter-a", from_snapshot=False)
    assert state is not None
    assert state.total == 6


def test_only_streams_of_the_aggregate_have_snapshots() -> None:
    write_log(*["counter-a", "counters-b", "note-c"] * 2)
    assert take_snapshots([COUNTER], every_events=2) == 1
    assert snapshots() == [("counter-a", 2, 1)]


def test_new_code_takes_new_snapshots_and_drops_those_of_other_code() -> None:
    write_log(*["counter-a"] * 5, *["counter-b"] * 4)
    take_snapshots([COUNTER], every_events=2)
    assert take_snapshots([OTHER_CODE], every_events=2) == 4
    assert snapshots() == [(f"counter-{each}", version, 2) for each in "ab" for version in (2, 4)]


def test_a_snapshot_of_a_long_log_reads_each_event_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregates, "LOG_BATCH_SIZE", 2)
    write_log(*["counter-a"] * 7)
    assert take_snapshots([COUNTER], every_events=3) == 2
    assert snapshots() == [("counter-a", 3, 1), ("counter-a", 6, 1)]
    checkpoint = Checkpoint.objects.get(name="snapshots-counter-1-3")
    assert checkpoint.position == 7


def test_two_at_once_do_not_take_the_same_snapshots() -> None:
    write_log(*["counter-a"] * 3)
    assert leases.acquire("snapshots-counter-1-3", owner="another") is not None
    assert take_snapshots([COUNTER], every_events=3) == 0


def test_a_stream_that_cannot_be_read_keeps_no_other_from_its_snapshot() -> None:
    write("counter-a", 3)
    write("counter-b", 3)
    EventRow.objects.filter(stream="counter-a", version=2).update(type="CounterForgotten")
    sequence()
    assert take_snapshots([COUNTER], every_events=3) == 1
    assert snapshots() == [("counter-b", 3, 1)]
    with pytest.raises(UnknownEvent):
        rebuild(COUNTER, "counter-a")


def test_a_position_of_the_past_is_inclusive() -> None:
    write_log("counter-a", "counter-b", "counter-a", "counter-b", "counter-c")
    newest = {"counter-a": 2, "counter-b": 2, "counter-c": 1}

    def at(position: int) -> dict[str, int]:
        return versions_at(newest, Instant(position=position))

    assert at(0) == {}
    assert at(1) == {"counter-a": 1}
    assert at(3) == {"counter-a": 2, "counter-b": 1}
    assert at(5) == {"counter-a": 2, "counter-b": 2, "counter-c": 1}
    assert versions_at({"counter-b": 2}, Instant(position=5)) == {"counter-b": 2}
    assert versions_at({}, Instant(position=5)) == {}


def test_the_exact_instant_of_an_event_has_it_and_a_microsecond_before_has_not() -> None:
    version = 0
    for at in (NOON, NOON + timedelta(microseconds=2)):
        version = event_store().save_events(
            "counter-a",
            [CounterOpened() if version == 0 else CounterRaised()],
            expected_version=version,
            now=lambda at=at: at,  # type: ignore[misc]
        )

    def at_time(microseconds: int) -> int:
        instant = Instant(time=NOON + timedelta(microseconds=microseconds))
        return versions_at({"counter-a": 2}, instant).get("counter-a", 0)

    assert [at_time(each) for each in (-1, 0, 1, 2, 3)] == [0, 1, 1, 2, 2]


def test_a_time_of_the_past_knows_what_has_no_position_yet() -> None:
    write("counter-a")
    newest = {"counter-a": 1}
    assert versions_at(newest, Instant(time=NOON + timedelta(days=36_500))) == newest
    assert versions_at(newest, Instant(position=10**9)) == {}


def test_an_event_that_cannot_follow_is_not_applied() -> None:
    event_store().save_events("counter-a", [CounterRaised()], expected_version=0)
    with pytest.raises(ValueError, match="CounterRaised cannot follow None"):
        rebuild(COUNTER, "counter-a")


def test_a_document_is_the_state_as_json() -> None:
    write("counter-a", 3)
    document = fold_stream(FOLDS, "counter-a", to_version=3)
    state = None
    for record in event_store().get_events("counter-a"):
        event = event_store().event_of(record)
        state = evolve(state, event, version=record.version, at=record.occurred_at)
    assert state is not None
    assert document.body["total"] == state.total == 2
    assert document.body["version"] == document.version == 3
