"""Fixed statements: what they store and read is what the ORM stores and reads."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from eventstore.models import Event, Snapshot, SubjectKey
from eventstore.tables import KEYS_A_STATEMENT, Table

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
KEYS = Table(SubjectKey)
EVENTS = Table(Event, columns=[field.name for field in Event._meta.concrete_fields[1:]])
# All that UTF-8 can say, and both databases store; a lone surrogate is not a character.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
offsets = st.builds(timezone, st.timedeltas(timedelta(hours=-14), timedelta(hours=14)))
# Of the years that MySQL and MariaDB know, with room for the offset.
times = st.datetimes(timezones=st.just(UTC) | offsets).filter(lambda at: 1000 < at.year < 9999)
# MariaDB refuses what RFC 9562 does not know.
ids = st.uuids(version=4) | st.builds(uuid7)
nothing = st.none()
events = st.fixed_dictionaries(
    {
        "id": ids,
        "position": nothing,
        "stream": ids.map(str),
        "version": st.integers(1, 2**31 - 1),
        "type": st.sampled_from(["CounterOpened", "Ünïcode"]),
        "schema_version": st.integers(1, 32767),
        "data": texts,
        "actor": nothing | texts,
        "correlation_id": nothing | ids.map(str),
        "causation_id": nothing,
        "request_id": nothing | texts,
        "occurred_at": times | times.map(lambda at: at.replace(microsecond=0)),
        "hash": nothing | st.binary(min_size=32, max_size=32),
    }
)


def raw(event: UUID) -> tuple[Any, ...]:
    """Return the row as the driver reads it, without its primary key."""
    value = event if connection.features.has_native_uuid_field else event.hex
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {Event._meta.db_table} WHERE id = %s", [str(value)])
        [row] = cursor.fetchall()
    return tuple(row[1:])


def as_read(event: UUID) -> dict[str, Any]:
    row = Event.objects.values(*EVENTS.columns).get(id=event)
    return {**row, "hash": bytes(row["hash"]) if row["hash"] is not None else None}


@settings(max_examples=60)
@given(values=events)
def test_a_row_is_stored_byte_for_byte_as_the_orm_stores_it(values: dict[str, Any]) -> None:
    with transaction.atomic():
        Event.objects.create(**values)
        wanted = raw(values["id"])
        transaction.set_rollback(True)
    with transaction.atomic():
        EVENTS.insert([[values[column] for column in EVENTS.columns]])
        assert raw(values["id"]) == wanted
        assert as_read(values["id"]) == values
        transaction.set_rollback(True)


@settings(max_examples=60)
@given(
    values=st.fixed_dictionaries(
        {
            "subject": ids,
            "key": st.binary(min_size=32, max_size=32),
            "created_at": times,
            "forgotten_at": nothing | times,
        }
    )
)
def test_a_row_is_read_as_the_orm_reads_it(values: dict[str, Any]) -> None:
    with transaction.atomic():
        SubjectKey.objects.create(**values)
        [row] = KEYS.rows([values["subject"]])
        assert dict(zip(KEYS.columns, row, strict=True)) == values
        assert KEYS.locked([values["subject"]]) == [row]
        assert row[2].utcoffset() == timedelta(0)
        assert isinstance(row[1], bytes)
        transaction.set_rollback(True)


def key_row(subject: UUID, key: bytes = bytes(32)) -> list[Any]:
    return [subject, key, NOW, None]


def test_an_upsert_inserts_what_is_new_and_changes_only_what_it_names() -> None:
    old, new = uuid7(), uuid7()
    KEYS.insert([key_row(old)])
    later = NOW + timedelta(days=1)
    rows = [[each, b"x" * 32, later, later] for each in (new, old)]
    KEYS.upsert(rows, update=["forgotten_at"])
    assert KEYS.rows([old, new]) == [(old, bytes(32), NOW, later), (new, b"x" * 32, later, later)]


def test_an_upsert_of_a_key_that_comes_twice_keeps_the_last() -> None:
    subject = uuid7()
    rows = [key_row(subject, bytes([number]) * 32) for number in range(3)]
    KEYS.upsert(rows, update=["key"])
    assert [row[1] for row in KEYS.rows([subject])] == [bytes([2]) * 32]


def test_an_insert_of_what_is_there_is_refused_and_changes_nothing() -> None:
    subject = uuid7()
    KEYS.insert([key_row(subject)])
    with pytest.raises(IntegrityError), transaction.atomic():
        KEYS.insert([key_row(uuid7()), key_row(subject, b"x" * 32)])
    assert KEYS.rows([subject]) == [(subject, bytes(32), NOW, None)]
    assert SubjectKey.objects.count() == 1


def test_rows_come_in_the_order_of_their_keys_and_each_once() -> None:
    subjects = [UUID(int=number << 96) for number in (3, 1, 2**31, 2)]
    KEYS.insert(map(key_row, subjects))
    asked = [*subjects, *subjects[:2], uuid7()]
    assert [row[0] for row in KEYS.locked(asked)] == sorted(subjects)
    assert [row[0] for row in KEYS.rows(reversed(asked))] == sorted(subjects)


def test_more_keys_than_a_statement_takes_are_read_in_several_and_in_one_order() -> None:
    subjects = [UUID(int=number) for number in range(1, KEYS_A_STATEMENT + 8)]
    KEYS.insert(map(key_row, subjects))
    with CaptureQueriesContext(connection) as asked:
        assert [row[0] for row in KEYS.rows(reversed(subjects))] == subjects
    assert len(asked) == 2


def test_nothing_is_said_to_the_database_about_no_rows() -> None:
    with CaptureQueriesContext(connection) as asked:
        KEYS.insert([])
        KEYS.upsert([], update=["key"])
        assert KEYS.rows([]) == KEYS.locked([]) == []
    assert len(asked) == 0


def test_a_thousand_rows_are_one_statement() -> None:
    with CaptureQueriesContext(connection) as asked:
        KEYS.insert(key_row(uuid7()) for _ in range(1000))
    assert len(asked) == 1
    assert SubjectKey.objects.count() == 1000


def test_a_column_that_is_not_named_takes_what_the_database_gives_it() -> None:
    names = ("stream", "version", "code_version", "state", "taken_at")
    Table(Snapshot, columns=names).insert([["counter-1", 1, 1, "{}", NOW]])
    row = Snapshot.objects.get()
    assert (row.pk is not None, row.stream, row.taken_at) == (True, "counter-1", NOW)


def test_rows_that_are_locked_are_locked_in_the_database() -> None:
    with transaction.atomic(), CaptureQueriesContext(connection) as asked:
        KEYS.locked([uuid7()])
        KEYS.rows([uuid7()])
    locks = [each["sql"].endswith("FOR UPDATE") for each in asked.captured_queries]
    assert locks == [connection.vendor == "mysql", False]
