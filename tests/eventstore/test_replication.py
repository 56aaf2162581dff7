"""The log in another store: the same whatever happens on the way, and mended where it lost."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventstore import subscriptions
from eventstore.codec import UnknownEvent
from eventstore.models import Event as EventRow
from eventstore.models import ParkedEvent
from eventstore.queries import lane_status
from eventstore.records import Record
from eventstore.replication import category, fold_stream, replicate
from eventstore.sequencer import sequence
from eventstore.store import event_store
from eventstore.stores import Document
from eventstore.stores.sqlite import SQLiteStore
from tests.eventstore.product import FOLDS, NOON, follow
from tests.eventstore.tools import write, write_log

pytestmark = pytest.mark.django_db


def contents(store: SQLiteStore) -> tuple[list[Record], list[Document]]:
    return store.list_events(after=0, limit=1000), store.list_documents(after="", limit=1000)


def test_the_category_of_a_stream_is_what_stands_before_the_first_hyphen() -> None:
    assert category("counter-a-b") == "counter"
    assert category("counter") == "counter"


def test_a_store_holds_every_event_as_it_was_written_and_a_document_a_stream(
    copy: SQLiteStore,
) -> None:
    log = write_log("counter-a", "counter-b", "counter-a", "note-c")
    replicate(copy, FOLDS, log)
    events, documents = contents(copy)
    assert events == log
    # No fold is known for notes, so they have no document.
    assert [(each.stream, each.version) for each in documents] == [
        ("counter-a", 2),
        ("counter-b", 1),
    ]
    assert documents[0].body["total"] == 1
    assert documents == [
        fold_stream(FOLDS, "counter-a", to_version=2),
        fold_stream(FOLDS, "counter-b", to_version=1),
    ]


def test_a_batch_can_be_written_twice(copy: SQLiteStore) -> None:
    log = write_log(*["counter-a", "counter-b"] * 3)
    replicate(copy, FOLDS, log)
    before = contents(copy)
    replicate(copy, FOLDS, log)
    replicate(copy, FOLDS, log[2:4])
    assert contents(copy) == before


def test_a_store_that_has_kept_up_is_written_without_asking_the_log_again(
    copy: SQLiteStore, django_assert_num_queries: Any
) -> None:
    log = write_log(*["counter-a", "counter-b"] * 3)
    with django_assert_num_queries(0):
        replicate(copy, FOLDS, log[:4])
        replicate(copy, FOLDS, log[4:])
        replicate(copy, FOLDS, log)


def test_a_late_batch_does_not_turn_a_document_back(copy: SQLiteStore) -> None:
    log = write_log(*["counter-a"] * 5)
    replicate(copy, FOLDS, log[3:])
    replicate(copy, FOLDS, log[:3])
    _, (document,) = contents(copy)
    assert (document.version, document.body["total"]) == (5, 4)


def test_a_store_that_lost_its_documents_is_mended_by_the_next_event(copy: SQLiteStore) -> None:
    replicate(copy, FOLDS, write_log(*["counter-a", "counter-b"] * 3))
    copy.delete_documents(["counter-a", "counter-b"])
    replicate(copy, FOLDS, write_log("counter-a")[-1:])
    _, documents = contents(copy)
    assert documents == [fold_stream(FOLDS, "counter-a", to_version=4)]


def test_a_store_that_lost_part_of_a_stream_is_mended_by_the_next_event(copy: SQLiteStore) -> None:
    log = write_log(*["counter-a"] * 6)
    copy.write_documents([fold_stream(FOLDS, "counter-a", to_version=2)])
    replicate(copy, FOLDS, log[4:5])
    _, documents = contents(copy)
    assert documents == [fold_stream(FOLDS, "counter-a", to_version=5)]


def test_an_event_that_cannot_be_read_parks_its_stream_and_the_store_has_the_others(
    copy: SQLiteStore,
) -> None:
    write("counter-a")
    write("counter-b", 2)
    write("counter-a")
    EventRow.objects.filter(stream="counter-b", version=2).update(type="CounterForgotten")
    sequence()
    assert subscriptions.run(follow(copy)) == 4
    parked = ParkedEvent.objects.get()
    assert (parked.stream, parked.position) == ("counter-b", 3)
    assert parked.error == "UnknownEvent: No schema CounterForgotten version 1 is known."
    _, documents = contents(copy)
    assert [(each.stream, each.version) for each in documents] == [
        ("counter-a", 2),
        ("counter-b", 1),
    ]


def test_a_stream_that_does_not_exist_has_no_document() -> None:
    with pytest.raises(ValueError, match="counter-x has no events"):
        fold_stream(FOLDS, "counter-x", to_version=1)


def test_an_unknown_event_is_not_folded() -> None:
    write("counter-a")
    EventRow.objects.update(schema_version=9)
    with pytest.raises(UnknownEvent):
        fold_stream(FOLDS, "counter-a", to_version=1)


@pytest.mark.parametrize("damage", ["unreadable", "no folder", "a folder"])
def test_a_lane_whose_store_is_gone_stops_and_the_other_goes_on(
    tmp_path: Path, damage: str
) -> None:
    write_log("counter-a", "counter-b")
    paths = {
        "unreadable": tmp_path / "broken.sqlite3",
        "no folder": tmp_path / "nowhere" / "broken.sqlite3",
        "a folder": tmp_path,
    }
    if damage == "unreadable":
        paths[damage].write_bytes(b"this is no database" * 1000)
    broken = SQLiteStore(name="effects", path=paths[damage])
    whole = SQLiteStore(name="idle", path=tmp_path / "whole.sqlite3")
    assert subscriptions.run(follow(broken)) == 0
    assert subscriptions.run(follow(whole)) == 2
    assert [lane.state for lane in lane_status()] == ["failing", "running"]
    assert lane_status()[0].last_error.startswith("StoreUnavailable: effects: ")
    assert not ParkedEvent.objects.exists()
    mended = SQLiteStore(name="effects", path=tmp_path / "mended.sqlite3")
    assert subscriptions.run(follow(mended)) == 2
    assert contents(mended) == contents(whole)


LOG_LENGTH = 20


@pytest.fixture
def log() -> list[Record]:
    """A log of three streams."""
    return write_log(*["counter-a", "counter-b", "counter-a", "counter-c", "counter-a"] * 4)


@pytest.fixture(scope="module")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without anything in it, to be copied: to make one takes longer than to use it."""
    path = tmp_path_factory.mktemp("empty") / "empty.sqlite3"
    SQLiteStore(name="empty", path=path).ping()
    return path


@st.composite
def batches(draw: st.DrawFn) -> list[list[int]]:
    """Draw batches of indexes: in any order, overlapping and repeated; together they are all."""
    whole = [list(range(start, start + 5)) for start in range(0, LOG_LENGTH, 5)]
    starts = st.integers(0, LOG_LENGTH - 1)
    ranges = draw(st.lists(st.tuples(starts, st.integers(1, 6)), max_size=8))
    some = [list(range(start, min(start + length, LOG_LENGTH))) for start, length in ranges]
    return list(draw(st.permutations(whole + some)))


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(order=batches())
def test_any_order_and_repetition_of_batches_ends_in_the_same_store(
    log: list[Record], empty_file: Path, order: list[list[int]]
) -> None:
    assert len(log) == LOG_LENGTH
    with tempfile.TemporaryDirectory() as folder:
        copy = SQLiteStore(name="copy", path=Path(folder) / "copy.sqlite3")
        shutil.copy(empty_file, copy.path)
        for batch in order:
            replicate(copy, FOLDS, [log[index] for index in batch])
        events, documents = contents(copy)
    assert events == log
    assert documents == [
        fold_stream(FOLDS, "counter-a", to_version=12),
        fold_stream(FOLDS, "counter-b", to_version=4),
        fold_stream(FOLDS, "counter-c", to_version=4),
    ]


def test_a_document_has_the_times_of_its_events(copy: SQLiteStore) -> None:
    write_log("counter-a")
    EventRow.objects.update(occurred_at=NOON)
    replicate(copy, FOLDS, event_store().read_log())
    _, (document,) = contents(copy)
    assert document.body["changed_at"] == "2026-01-02T12:00:00.000006Z"
