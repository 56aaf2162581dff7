"""Fixed statements for the tables that every command reads and writes.

# Note [Fixed statements]

Building a query takes Django ten times as long as it takes a database to answer it, and a
command needs six of them. So the few statements that stand on the path of every command are made
once for a table, as text, and values go to the driver in the form in which Django stores them:
everything else may still use the ORM on the same rows. Each statement works on any number of
rows, as a command is a batch of one.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import cache, cached_property, lru_cache
from operator import attrgetter
from typing import Any
from uuid import UUID

import msgspec
from django.db import connection, models

Row = Sequence[Any]
Convert = Callable[[Any], Any]

# SQLite allows 32,766 variables in a statement; databases answer long lists in pieces no slower.
KEYS_A_STATEMENT = 1000


class Table:
    """The rows of a model as tuples, in the order of `columns`.

    Args:
        columns: names of the model's fields; all of them by default, in their order. For `where`
            also `key__field`: a field of the row that the foreign key `key` leads to.
    """

    def __init__(self, model: type[models.Model], *, columns: Sequence[str] | None = None) -> None:
        self.model = model
        self.key: models.Field[Any, Any] = model._meta.pk
        own = [field.name for field in model._meta.concrete_fields]
        self.columns = tuple(columns or own)
        self.fields = [_stored(_field(model, name)) for name in self.columns]

    @cached_property
    def _adapts(self) -> "list[Convert | None]":
        return [_to_database(field) for field in self.fields]

    @cached_property
    def _converts(self) -> "list[Convert | None]":
        return [_from_database(field) for field in self.fields]

    def insert(self, rows: Iterable[Row], *, into: str = "") -> None:
        """Insert `rows`; raise Django's `IntegrityError` when one is there or is not allowed.

        Args:
            into: the name of a table with the same columns; the model's own by default.
        """
        self._write(_insert(self.model, self.columns, into), rows)

    def upsert(self, rows: Iterable[Row], *, update: Sequence[str]) -> None:
        """Insert `rows`, or update the columns `update` of those whose primary key is there."""
        self._write(_upsert(self.model, self.columns, tuple(update)), rows)

    def locked(self, keys: Iterable[Any]) -> list[tuple[Any, ...]]:
        """Lock and return the rows with these primary keys, in the order of the keys.

        The same order everywhere is what keeps two opposite transfers from waiting for each
        other. SQLite has no row locks: there the transaction itself (IMMEDIATE) is the lock.
        """
        suffix = " FOR UPDATE" if connection.features.has_select_for_update else ""
        return self.rows(keys, suffix=suffix)

    def rows(self, keys: Iterable[Any], *, suffix: str = "") -> list[tuple[Any, ...]]:
        """Return the rows with these primary keys, in the order of the keys.

        Args:
            suffix: what the statement ends with, such as the kind of lock.
        """
        adapt = _to_database(self.key)
        wanted = sorted({adapt(each) if adapt else each for each in keys})
        sql = _select_from(self.model, self.columns)
        found: list[tuple[Any, ...]] = []
        with connection.cursor() as cursor:
            for start in range(0, len(wanted), KEYS_A_STATEMENT):
                some = wanted[start : start + KEYS_A_STATEMENT]
                marks = ", ".join(["%s"] * len(some))
                order = f" ORDER BY {_names(self.model, [self.key.name])}{suffix}"
                cursor.execute(f"{sql} IN ({marks}){order}", some)
                found.extend(cursor.fetchall())
        return self._values(found)

    def where(self, condition: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return the rows that meet `condition`: SQL that both databases read alike.

        Args:
            condition: what stands behind WHERE, with `%s` for each of `parameters`, which are
                texts, numbers and aware instants.
        """
        sql = _select_joined(self.model, self.columns)
        with connection.cursor() as cursor:
            cursor.execute(f"{sql} WHERE {condition}", to_parameters(parameters))
            return self._values(cursor.fetchall())

    def _values(self, rows: Iterable[Row]) -> list[tuple[Any, ...]]:
        """Return what the driver has read as the values of the fields."""
        converts = self._converts
        return [
            tuple(
                value if convert is None or value is None else convert(value)
                for convert, value in zip(converts, row, strict=True)
            )
            for row in rows
        ]

    def _write(self, sql: str, rows: Iterable[Row]) -> None:
        adapts = self._adapts
        values = [
            [
                value if adapt is None or value is None else adapt(value)
                for adapt, value in zip(adapts, row, strict=True)
            ]
            for row in rows
        ]
        if values:
            with connection.cursor() as cursor:
                # Both drivers make the most of it: SQLite's prepares the statement once, and
                # MySQL's joins the rows into statements of many.
                cursor.executemany(sql, values)


def to_parameters(values: Iterable[Any]) -> list[Any]:
    """Return texts, numbers and aware instants as values for a statement made by hand."""
    return [_naive(each) if isinstance(each, datetime) else each for each in values]


@cache
def _insert(model: type[models.Model], columns: tuple[str, ...], into: str = "") -> str:
    marks = ", ".join(["%s"] * len(columns))
    table = connection.ops.quote_name(into) if into else _table(model)
    return f"INSERT INTO {table} ({_names(model, columns)}) VALUES ({marks})"  # noqa: S608


@cache
def _upsert(model: type[models.Model], columns: tuple[str, ...], update: tuple[str, ...]) -> str:
    names = [_names(model, [column]) for column in update]
    if connection.vendor == "mysql":
        # `VALUES()`: MariaDB does not know the newer alias for the new row.
        changes = ", ".join(f"{name} = VALUES({name})" for name in names)
        return f"{_insert(model, columns)} ON DUPLICATE KEY UPDATE {changes}"
    changes = ", ".join(f"{name} = excluded.{name}" for name in names)
    key = _names(model, [model._meta.pk.name])
    return f"{_insert(model, columns)} ON CONFLICT ({key}) DO UPDATE SET {changes}"


@cache
def _select_from(model: type[models.Model], columns: tuple[str, ...]) -> str:
    key = _names(model, [model._meta.pk.name])
    return f"SELECT {_names(model, columns)} FROM {_table(model)} WHERE {key}"  # noqa: S608


@cache
def _select_joined(model: type[models.Model], columns: tuple[str, ...]) -> str:
    """Return the SELECT of columns of which some stand behind a foreign key."""
    names, joins = [], {}
    for column in columns:
        name, _, behind = column.partition("__")
        if not behind:
            names.append(f"{_table(model)}.{_names(model, [name])}")
            continue
        other = _target(model, name)
        here = f"{_table(model)}.{_names(model, [name])}"
        there = f"{_table(other)}.{_names(other, [other._meta.pk.name])}"
        joins[name] = f" JOIN {_table(other)} ON {there} = {here}"
        names.append(f"{_table(other)}.{_names(other, [behind])}")
    return f"SELECT {', '.join(names)} FROM {_table(model)}{''.join(joins.values())}"  # noqa: S608


def _field(model: type[models.Model], column: str) -> "models.Field[Any, Any]":
    name, _, behind = column.partition("__")
    if behind:
        return _field(_target(model, name), behind)
    return next(field for field in model._meta.concrete_fields if field.name == name)


def _target(model: type[models.Model], key: str) -> type[models.Model]:
    """Return the model that a foreign key leads to."""
    related = _field(model, key).related_model
    if not isinstance(related, type):
        raise TypeError(f"{model.__name__}.{key} is no foreign key")
    return related


def _table(model: type[models.Model]) -> str:
    return connection.ops.quote_name(model._meta.db_table)


def _names(model: type[models.Model], columns: Sequence[str]) -> str:
    stored = {field.name: field.column for field in model._meta.concrete_fields}
    return ", ".join(connection.ops.quote_name(stored[each] or each) for each in columns)


def _stored(field: "models.Field[Any, Any]") -> "models.Field[Any, Any]":
    """Return the field whose values are stored: of a foreign key, the one that it points to."""
    return _stored(field.target_field) if isinstance(field, models.ForeignKey) else field


@cache
def _to_database(field: "models.Field[Any, Any]") -> Convert | None:
    """Return what turns a value of `field` into what Django would hand to the driver; or None."""
    match field:
        case models.UUIDField():
            if connection.features.has_native_uuid_field:
                return str
            return attrgetter("hex")
        case models.DateTimeField():
            return _naive
        case models.JSONField():
            return lambda value: msgspec.json.encode(value).decode()
        case _:
            return None


@cache
def _from_database(field: "models.Field[Any, Any]") -> Convert | None:
    """Return what turns the driver's value into that of `field`; None when it is one already."""
    match field:
        case models.UUIDField():
            return lambda value: value if isinstance(value, UUID) else UUID(value)
        case models.DateTimeField():
            return _aware
        case models.JSONField():
            return json.loads
        case models.BinaryField():
            return bytes
        case _:
            return None


# The rows of a batch share a few instants.
@lru_cache(maxsize=1024)
def _naive(instant: datetime) -> str:
    """Return an aware instant as text in UTC, as both databases understand it."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(" ")


@lru_cache(maxsize=1024)
def _aware(stored: datetime | str) -> datetime:
    instant = stored if isinstance(stored, datetime) else datetime.fromisoformat(stored)
    return instant.replace(tzinfo=UTC)
