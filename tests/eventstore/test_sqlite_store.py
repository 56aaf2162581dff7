"""A store in an SQLite file: what is written twice is there once, and never turned back."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from eventstore.messages import Metadata
from eventstore.records import Record
from eventstore.stores import Document, StoreUnavailable
from eventstore.stores.sqlite import KEYS_A_STATEMENT, SQLiteStore
from tests.eventstore.tools import in_threads


def record(position: int, *, stream: str = "counter-a", version: int | None = None) -> Record:
    return Record(
        id=UUID(int=position),
        position=position,
        stream=stream,
        version=version or position,
        type="CounterRaised",
        schema_version=1,
        data='{"note":"\u2028 ß"}',
        metadata=Metadata(actor="x", request_id="r"),
        occurred_at=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        hash=bytes(range(32)),
    )


def document(version: int, *, stream: str = "counter-a", total: int = 0) -> Document:
    return Document(stream=stream, version=version, body={"total": total})


def test_an_event_comes_back_as_it_went_in(copy: SQLiteStore) -> None:
    records = [record(1), record(2)]
    copy.write_events(records)
    assert copy.list_events(after=0, limit=10) == records


def test_an_event_that_is_there_already_is_no_error(copy: SQLiteStore) -> None:
    copy.write_events([record(1), record(2)])
    copy.write_events([record(2), record(3)])
    assert copy.list_events(after=0, limit=10) == [record(1), record(2), record(3)]


def test_an_event_that_was_altered_is_written_over(copy: SQLiteStore) -> None:
    copy.write_events([replace(record(1), data="{}")])
    copy.write_events([record(1)])
    assert copy.list_events(after=0, limit=10) == [record(1)]


def test_an_event_takes_its_place_from_one_that_does_not_belong_there(copy: SQLiteStore) -> None:
    copy.write_events([record(9, version=1)])
    copy.write_events([record(1, version=1)])
    assert copy.list_events(after=0, limit=10) == [record(1, version=1)]


def test_events_are_listed_behind_a_position_up_to_a_limit(copy: SQLiteStore) -> None:
    copy.write_events([record(position) for position in (5, 3, 1, 4, 2)])
    assert [each.position for each in copy.list_events(after=2, limit=2)] == [3, 4]


def test_a_document_is_written_only_forward(copy: SQLiteStore) -> None:
    copy.write_documents([document(2, total=2)])
    copy.write_documents([document(1, total=1)])
    copy.write_documents([document(2, total=99)])
    assert copy.read_documents(["counter-a"]) == {"counter-a": document(2, total=2)}
    copy.write_documents([document(3, total=3)])
    assert copy.read_documents(["counter-a"]) == {"counter-a": document(3, total=3)}


def test_a_batch_that_is_partly_stale_is_written_as_far_as_it_is_not(copy: SQLiteStore) -> None:
    copy.write_documents([document(5, stream="counter-a", total=5)])
    copy.write_documents(
        [document(4, stream="counter-a"), document(1, stream="counter-b", total=1)]
    )
    assert copy.list_documents(after="", limit=10) == [
        document(5, stream="counter-a", total=5),
        document(1, stream="counter-b", total=1),
    ]


def test_a_repair_overwrites_the_same_version_but_none_that_is_newer(copy: SQLiteStore) -> None:
    copy.write_documents([document(2, total=99)])
    copy.write_documents([document(2, total=2)], repair=True)
    assert copy.read_documents(["counter-a"])["counter-a"] == document(2, total=2)
    copy.write_documents([document(1, total=1)], repair=True)
    assert copy.read_documents(["counter-a"])["counter-a"] == document(2, total=2)


def test_documents_are_listed_by_name_behind_another(copy: SQLiteStore) -> None:
    streams = ["counter-c", "counter-a", "counter-d", "counter-b"]
    copy.write_documents([document(1, stream=stream) for stream in streams])
    listed = copy.list_documents(after="counter-a", limit=2)
    assert [each.stream for each in listed] == ["counter-b", "counter-c"]


def test_more_documents_are_read_than_one_statement_asks_for(copy: SQLiteStore) -> None:
    streams = [f"counter-{number}" for number in range(KEYS_A_STATEMENT * 2 + 1)]
    copy.write_documents([document(1, stream=stream) for stream in streams])
    assert copy.read_documents([*streams, "counter-x"]).keys() == set(streams)
    assert copy.read_documents([]) == {}


def test_events_and_documents_are_removed(copy: SQLiteStore) -> None:
    copy.write_events([record(1), record(2)])
    copy.write_documents([document(1), document(1, stream="counter-b")])
    copy.delete_events([1, 77])
    copy.delete_documents(["counter-a", "counter-x"])
    assert copy.list_events(after=0, limit=10) == [record(2)]
    assert copy.list_documents(after="", limit=10) == [document(1, stream="counter-b")]


def test_a_batch_is_written_whole_or_not_at_all(copy: SQLiteStore) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        copy.write_events([record(1), replace(record(2), hash=None)])
    assert copy.list_events(after=0, limit=10) == []


def test_what_is_wrong_with_a_record_is_not_blamed_on_the_store(copy: SQLiteStore) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        copy.write_events([replace(record(1), hash=None)])
    copy.ping()


def use_all(store: SQLiteStore) -> list[Callable[[], object]]:
    return [
        partial(store.ping),
        partial(store.write_events, [record(1)]),
        partial(store.write_documents, [document(1)]),
        partial(store.read_documents, ["counter-a"]),
        partial(store.list_documents, after="", limit=1),
        partial(store.list_events, after=0, limit=1),
        partial(store.delete_events, [1]),
        partial(store.delete_documents, ["counter-a"]),
    ]


@pytest.mark.parametrize("index", range(8))
def test_a_store_without_its_folder_is_unavailable_to_every_call(
    tmp_path: Path, index: int
) -> None:
    store = SQLiteStore(name="copy", path=tmp_path / "nowhere" / "copy.sqlite3")
    with pytest.raises(StoreUnavailable, match="copy: unable to open database file"):
        use_all(store)[index]()


@pytest.mark.parametrize("index", range(8))
def test_a_store_whose_file_is_corrupt_is_unavailable_to_every_call(
    tmp_path: Path, index: int
) -> None:
    path = tmp_path / "copy.sqlite3"
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(StoreUnavailable, match="copy: file is not a database"):
        use_all(SQLiteStore(name="copy", path=path))[index]()


def test_a_store_whose_pages_are_damaged_is_unavailable(copy: SQLiteStore) -> None:
    copy.write_events([record(position) for position in range(1, 200)])
    with closing(sqlite3.connect(copy.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damaged = bytearray(copy.path.read_bytes())
    damaged[4096:] = b"\xff" * (len(damaged) - 4096)
    copy.path.write_bytes(damaged)
    with pytest.raises(StoreUnavailable, match="malformed"):
        copy.list_events(after=0, limit=1000)


def test_a_store_whose_file_was_removed_begins_anew(copy: SQLiteStore) -> None:
    copy.write_events([record(1)])
    for path in copy.path.parent.iterdir():
        path.unlink()
    assert copy.list_events(after=0, limit=10) == []
    copy.write_events([record(2)])
    assert copy.list_events(after=0, limit=10) == [record(2)]


def test_four_writers_at_once_wait_for_each_other(copy: SQLiteStore) -> None:
    def write(writer: int) -> None:
        for version in range(1, 6):
            copy.write_documents([document(version, total=version)])
            copy.write_events([record(writer * 10 + version, stream=f"counter-{writer}")])

    results = in_threads(*(partial(write, writer) for writer in range(4)))
    assert results == [None] * 4
    assert copy.read_documents(["counter-a"]) == {"counter-a": document(5, total=5)}
    assert len(copy.list_events(after=0, limit=100)) == 20
