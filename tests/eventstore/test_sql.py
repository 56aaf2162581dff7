"""Statements that are made by hand."""

from functools import partial

import pytest
from django.db import connection, transaction

from eventstore.models import Checkpoint
from eventstore.sql import newest_from
from eventstore.tables import Table
from tests.eventstore.tools import in_threads, write

pytestmark = pytest.mark.django_db


CHECKPOINTS = Table(
    Checkpoint, columns=("name", "position", "state", "owner", "epoch", "last_error")
)


def upsert(*rows: Checkpoint) -> None:
    values = [[getattr(row, column) for column in CHECKPOINTS.columns] for row in rows]
    CHECKPOINTS.upsert(values, update=["position"])


def positions() -> dict[str, int]:
    return dict(Checkpoint.objects.values_list("name", "position"))


def test_rows_are_inserted_or_updated_by_their_key() -> None:
    rows = [Checkpoint(name="a", position=1), Checkpoint(name="b", position=2)]
    upsert(*rows)
    rows = [Checkpoint(name="b", position=20, owner="x"), Checkpoint(name="c", position=30)]
    upsert(*rows)
    assert positions() == {"a": 1, "b": 20, "c": 30}
    assert Checkpoint.objects.get(name="b").owner == ""


def test_nothing_is_written_of_nothing() -> None:
    upsert()
    assert positions() == {}


def test_locked_rows_come_by_their_key_and_those_that_are_missing_do_not() -> None:
    upsert(*(Checkpoint(name=name) for name in "cab"))
    locked = {row[0]: row for row in CHECKPOINTS.locked(["b", "x", "a", "b"])}
    assert list(locked) == ["a", "b"]
    assert locked["a"][0] == "a"


def test_the_newest_versions_are_those_of_streams_that_have_come_so_far() -> None:
    write("counter-a", 3)
    write("counter-b", 1)
    assert newest_from({"counter-a": 3, "counter-b": 2, "counter-c": 0}) == {"counter-a": 3}
    assert newest_from({"counter-a": 0, "counter-b": 1}) == {"counter-a": 3, "counter-b": 1}


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite locks the database, not rows")
def test_rows_are_locked_in_the_order_of_their_keys_whatever_order_was_asked_for() -> None:
    upsert(*(Checkpoint(name=name) for name in "ab"))

    def add(order: str) -> None:
        for _ in range(20):
            with transaction.atomic():
                for name, position, *_ in CHECKPOINTS.locked(order):
                    Checkpoint.objects.filter(name=name).update(position=position + 1)

    assert in_threads(partial(add, "ab"), partial(add, "ba")) == [None, None]
    assert positions() == {"a": 40, "b": 40}
