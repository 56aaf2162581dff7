"""A store that differs from the log is found out, and mended from it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from eventstore import leases, reconciliation, subscriptions
from eventstore.models import Event as EventRow
from eventstore.reconciliation import reconcile
from eventstore.records import Record
from eventstore.replication import fold_stream, replicate
from eventstore.store import LogBroken, event_store
from eventstore.stores import Document, StoreUnavailable
from eventstore.stores.sqlite import SQLiteStore
from tests.eventstore.product import FOLDS, follow
from tests.eventstore.tools import write, write_log

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _followed(copy: SQLiteStore) -> None:
    """A store that has followed a log of three counters and a note."""
    write_log(*["counter-a", "counter-b", "counter-a", "counter-c", "note-d", "counter-a"])
    subscriptions.run(follow(copy))


def found(store: SQLiteStore, *, repair: bool = False) -> list[tuple[str, str]]:
    return [(each.kind, each.subject) for each in reconcile(store, FOLDS, repair=repair)]


def change(store: SQLiteStore, statement: str, *values: object) -> None:
    """Change the store's file behind the system's back."""
    with closing(sqlite3.connect(store.path)) as connection, connection:
        assert connection.execute(statement, values).rowcount > 0


def test_a_store_that_has_followed_the_log_agrees_with_it(copy: SQLiteStore) -> None:
    assert found(copy) == []
    assert found(copy, repair=True) == []


def make_stale(store: SQLiteStore) -> None:
    """Put the document of `counter-a` back to version 2."""
    store.delete_documents(["counter-a"])
    store.write_documents([fold_stream(FOLDS, "counter-a", to_version=2)])


def empty(store: SQLiteStore) -> None:
    """Remove all that the store holds."""
    store.delete_events(range(1, 7))
    store.delete_documents(["counter-a", "counter-b", "counter-c"])


DAMAGE: dict[str, tuple[Callable[[SQLiteStore], None], list[tuple[str, str]]]] = {
    "a missing event": (lambda copy: copy.delete_events([3]), [("missing", "event 3")]),
    "a missing last event": (lambda copy: copy.delete_events([6]), [("missing", "event 6")]),
    "an altered event": (
        lambda copy: change(copy, "UPDATE events SET data = '{}' WHERE position = 2"),
        [("altered", "event 2")],
    ),
    "an event under another id": (
        lambda copy: change(copy, "UPDATE events SET id = ? WHERE position = 2", str(UUID(int=1))),
        [("altered", "event 2")],
    ),
    "an altered time": (
        lambda copy: change(
            copy,
            "UPDATE events SET occurred_at = '2026-01-01T00:00:00.000000Z' WHERE position = 2",
        ),
        [("altered", "event 2")],
    ),
    "an extra event": (
        lambda copy: copy.write_events(
            [replace(event_store().read_at(1), position=9, stream="counter-x", id=UUID(int=9))]
        ),
        [("extra", "event 9")],
    ),
    "a missing document": (
        lambda copy: copy.delete_documents(["counter-b"]),
        [("missing", "document counter-b")],
    ),
    "an altered document": (
        lambda copy: change(
            copy, "UPDATE documents SET body = replace(body, '2', '3') WHERE stream = 'counter-a'"
        ),
        [("altered", "document counter-a")],
    ),
    "a stale document": (
        make_stale,
        [("stale", "document counter-a")],
    ),
    "a document of a version that never was": (
        lambda copy: change(copy, "UPDATE documents SET version = 99 WHERE stream = 'counter-a'"),
        [("altered", "document counter-a")],
    ),
    "an extra document": (
        lambda copy: copy.write_documents([Document(stream="counter-x", version=1, body={})]),
        [("extra", "document counter-x")],
    ),
    "a document of a stream that has none": (
        lambda copy: copy.write_documents([Document(stream="note-d", version=1, body={})]),
        [("extra", "document note-d")],
    ),
    "everything gone": (
        empty,
        [
            *(("missing", f"event {position}") for position in range(1, 7)),
            *(("missing", f"document counter-{name}") for name in "abc"),
        ],
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_then_mended_and_then_the_store_agrees(
    copy: SQLiteStore, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(reconciliation, "BATCH_SIZE", 2)
    before = copy.list_events(after=0, limit=99), copy.list_documents(after="", limit=99)
    do, expected = DAMAGE[damage]
    do(copy)
    assert found(copy) == expected
    assert found(copy) == expected, "a look alone must not mend"
    assert found(copy, repair=True) == expected
    assert found(copy) == []
    after = copy.list_events(after=0, limit=99), copy.list_documents(after="", limit=99)
    assert after == before


def test_all_damage_at_once_is_found_and_mended(copy: SQLiteStore) -> None:
    copy.delete_events([3])
    change(copy, "UPDATE events SET actor = 'x' WHERE position = 2")
    copy.delete_documents(["counter-b"])
    copy.write_documents([Document(stream="counter-x", version=1, body={})])
    expected = [
        ("missing", "event 3"),
        ("altered", "event 2"),
        ("missing", "document counter-b"),
        ("extra", "document counter-x"),
    ]
    assert found(copy, repair=True) == expected
    assert found(copy) == []


def test_a_store_is_compared_as_far_as_its_lane_has_come(copy: SQLiteStore) -> None:
    write_log("counter-a", "counter-e")
    assert found(copy) == []
    subscriptions.run(follow(copy))
    copy.delete_events([8])
    assert found(copy) == [("missing", "event 8")]


def test_what_the_lane_writes_meanwhile_is_not_taken_for_a_fault(copy: SQLiteStore) -> None:
    def go_on() -> None:
        write_log("counter-a", "counter-new")
        subscriptions.run(follow(copy))

    copy.delete_events([1])
    copy.delete_documents(["counter-b"])
    differences = reconcile(copy, FOLDS, repair=True)
    subjects = []
    for difference in differences:
        subjects.append(difference.subject)
        go_on()
    assert subjects == ["event 1", "document counter-b"]
    assert found(copy) == []
    assert len(copy.list_events(after=0, limit=99)) == len(event_store().read_log())


def test_a_lane_that_was_reset_loses_nothing_of_its_store(copy: SQLiteStore) -> None:
    before = copy.list_events(after=0, limit=99)
    subscriptions.reset("copy", to=0)
    assert found(copy, repair=True) == []
    assert copy.list_events(after=0, limit=99) == before


def test_a_store_without_a_lane_is_compared_with_nothing(tmp_path: Path) -> None:
    other = SQLiteStore(name="other", path=tmp_path / "other.sqlite3")
    assert found(other) == []
    other.write_events([replace(event_store().read_at(1), position=77)])
    assert found(other) == [("extra", "event 77")]


@pytest.mark.parametrize("attack", ["altered", "removed"])
def test_the_last_good_copy_is_not_overwritten_from_a_broken_log(
    copy: SQLiteStore, attack: str
) -> None:
    good = copy.list_events(after=0, limit=99)
    row = EventRow.objects.filter(position=2)
    row.update(data='{"forged":true}') if attack == "altered" else row.delete()
    with pytest.raises(LogBroken, match="nothing is mended from it"):
        found(copy, repair=True)
    assert copy.list_events(after=0, limit=99) == good
    # A look is allowed, and tells where.
    kinds = {"altered": "altered", "removed": "extra"}
    assert (kinds[attack], "event 2") in found(copy)


def test_a_stream_that_this_code_cannot_read_does_not_keep_others_from_being_mended(
    copy: SQLiteStore,
) -> None:
    write("counter-b")
    EventRow.objects.filter(stream="counter-b", version=2).update(type="CounterForgotten")
    write_log("counter-c")
    subscriptions.run(follow(copy))
    copy.delete_documents(["counter-c"])
    expected = [("stale", "document counter-b"), ("missing", "document counter-c")]
    assert found(copy, repair=True) == expected
    assert found(copy) == [("stale", "document counter-b")]


def test_a_store_that_is_away_is_not_called_different(tmp_path: Path) -> None:
    away = SQLiteStore(name="copy", path=tmp_path / "nowhere" / "copy.sqlite3")
    with pytest.raises(StoreUnavailable):
        found(away)


def test_no_more_than_a_batch_is_asked_of_a_store_at_once(
    copy: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "BATCH_SIZE", 2)
    asked: list[int] = []

    class Watched(SQLiteStore):
        """The store, and how much was asked of it."""

        def list_events(self, *, after: int, limit: int) -> list[Record]:
            asked.append(limit)
            return super().list_events(after=after, limit=limit)

        def list_documents(self, *, after: str, limit: int) -> list[Document]:
            asked.append(limit)
            return super().list_documents(after=after, limit=limit)

    assert found(Watched(name="copy", path=copy.path)) == []
    assert len(asked) > 4
    assert max(asked) == 2


def test_a_store_can_be_reconciled_while_its_lane_is_held(copy: SQLiteStore) -> None:
    assert leases.acquire("copy", owner="worker") is not None
    copy.delete_events([2])
    assert found(copy, repair=True) == [("missing", "event 2")]
    replicate(copy, FOLDS, event_store().read_log())
    assert found(copy) == []
