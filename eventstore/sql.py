"""Statements that databases spell differently, or that Django is too slow to make."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from django.db import connection, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Now
from django.db.models.sql.compiler import SQLCompiler

from eventstore.models import Event

ModelT = TypeVar("ModelT", bound=models.Model)


class DatabaseNow(Now):
    """The present instant on the database's clock, as Django stores times: in UTC.

    `Now` is the server's local time on MySQL: a server in another time zone would show every
    time wrongly, and its summer time would prolong or end every lease by an hour.
    """

    def as_mysql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra_context: Any
    ) -> tuple[str, tuple[str | int, ...]]:
        """Return the expression for MySQL and MariaDB."""
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **extra_context)


def upsert(rows: Sequence[ModelT], *, key: Sequence[str], fields: Sequence[str]) -> None:
    """Insert `rows` of one model, or update `fields` of those whose `key` is already there.

    One statement for all (SQLite: one for as many as its bound of variables allows).
    """
    if not rows:
        return
    # MySQL and MariaDB find the conflicting key themselves and refuse to be told.
    target = key if connection.features.supports_update_conflicts_with_target else None
    type(rows[0])._default_manager.bulk_create(
        rows, update_conflicts=True, unique_fields=target, update_fields=fields
    )


def lock_in_order(model: type[ModelT], ids: Iterable[Any]) -> dict[Any, ModelT]:
    """Lock the rows with these primary keys, in the order of the keys, in one statement.

    The same order everywhere is what keeps two opposite transfers from waiting for each other.
    SQLite has no row locks: there the transaction itself (IMMEDIATE) is the lock.
    """
    rows = model._default_manager.select_for_update().filter(pk__in=set(ids)).order_by("pk")
    return {row.pk: row for row in rows}


def newest_from(versions: Mapping[str, int]) -> dict[str, int]:
    """Return the newest version of each stream that has one at or behind the given version.

    Args:
        versions: by stream; a few hundred, since SQLite bounds how deep a condition is.
    """
    # By hand: Django needs ten times as long to build this condition as a database to answer it.
    table, stream, version = map(
        connection.ops.quote_name, (Event._meta.db_table, "stream", "version")
    )
    near = " OR ".join([f"({stream} = %s AND {version} >= %s)"] * len(versions))
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {stream}, MAX({version}) FROM {table}"  # noqa: S608 - our own names
            f" WHERE {near} GROUP BY {stream}",
            [value for pair in versions.items() for value in pair],
        )
        return dict(cursor.fetchall())
