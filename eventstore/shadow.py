"""A copy of a table's definition, filled beside it, that takes its place at once."""

from dataclasses import dataclass, field

from django.db import connection, models

LOCK_WAIT_S = 10


@dataclass(frozen=True)
class Shadow:
    """The copy of the table of `model`, and what is left of the table after the swap."""

    model: type[models.Model]
    live: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "live", self.model._meta.db_table)

    @property
    def name(self) -> str:
        """The table that is filled."""
        return f"{self.live}__next"

    @property
    def old(self) -> str:
        """The table that was live before the swap, until it is dropped."""
        return f"{self.live}__old"

    def exists(self) -> bool:
        """Return whether there is a copy to go on with."""
        return self.name in connection.introspection.table_names()

    def make(self) -> None:
        """Make an empty copy; what is left of an earlier one goes."""
        self._run(f"DROP TABLE IF EXISTS {_quoted(self.name)}")
        self.drop_old()
        if connection.vendor == "mysql":
            self._run(f"CREATE TABLE {_quoted(self.name)} LIKE {_quoted(self.live)}")
            return
        [[definition]] = self._read("type = 'table' AND name = %s")
        self._run(definition.replace(_quoted(self.live), _quoted(self.name), 1))

    def swap(self) -> None:
        """Let the copy be the live table; readers find the one or the other whole.

        On SQLite it gets its indexes here: their names belong to the whole database, and a
        table without them is filled in half the time. On MySQL and MariaDB the rename waits for
        those who use the table, at most `LOCK_WAIT_S`, and then fails with nothing done.
        """
        live, copy, old = map(_quoted, (self.live, self.name, self.old))
        if connection.vendor == "mysql":
            self._run(f"SET SESSION lock_wait_timeout = {LOCK_WAIT_S}")
            try:
                self._run(f"RENAME TABLE {live} TO {old}, {copy} TO {live}")
            finally:
                self._run("SET SESSION lock_wait_timeout = DEFAULT")
            return
        indexes = self._read("type = 'index' AND tbl_name = %s AND sql IS NOT NULL", "name, sql")
        for name, _ in indexes:
            self._run(f"DROP INDEX {_quoted(name)}")
        self._run(f"ALTER TABLE {live} RENAME TO {old}")
        self._run(f"ALTER TABLE {copy} RENAME TO {live}")
        for _, definition in indexes:
            self._run(definition)

    def drop_old(self) -> None:
        """Drop what was live before."""
        self._run(f"DROP TABLE IF EXISTS {_quoted(self.old)}")

    def _read(self, condition: str, columns: str = "sql") -> list[tuple[str, ...]]:
        """Return what SQLite keeps of the definition of the live table."""
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {columns} FROM sqlite_master WHERE {condition}",  # noqa: S608
                [self.live],
            )
            found: list[tuple[str, ...]] = cursor.fetchall()
            return found

    def _run(self, statement: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)
