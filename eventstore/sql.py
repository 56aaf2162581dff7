"""Statements that databases spell differently, or that Django is too slow to make."""

from collections.abc import Mapping
from typing import Any

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Now
from django.db.models.sql.compiler import SQLCompiler

from eventstore.models import Event


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
