"""Raw SQL as a peer: the statements of an append and of a transfer, and nothing else.

It writes the same rows into the same tables as the product. What a row looks like is copied from
one that the product has written, so it stays the same work when the tables change; only ids,
streams, versions and balances are put in anew. Nothing is validated, decided, encoded or presented.
"""

import random
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from uuid_utils.compat import uuid7

from benchmarks.product import close_connections
from benchmarks.product_ledger import ProductLedger
from benchmarks.threads import per_second

BULK_SIZE = 1000
ATTEMPTS_MAX = 50
# MySQL and MariaDB: lock wait time-out, deadlock.
RETRYABLE = frozenset({1205, 1213})
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table, and a row of it that the product wrote."""

    name: str
    columns: tuple[str, ...]

    def insert(self, rows: Sequence[Row], mark: str) -> tuple[str, list[Any]]:
        """Return the statement that inserts `rows`, and its parameters."""
        one = f"({', '.join([mark] * len(self.columns))})"
        names = ", ".join(_quoted(self.columns, mark))
        statement = f"INSERT INTO {self.name} ({names}) VALUES {', '.join([one] * len(rows))}"
        return statement, [row[column] for row in rows for column in self.columns]


class RawSql:
    """Measures SQL on the tables and the accounts of a ledger."""

    def __init__(self, product: ProductLedger) -> None:
        product.transfers(threads=1, count=1)
        from django.apps import apps
        from django.db import connection

        self._settings: Mapping[str, Any] = connection.settings_dict
        self._is_sqlite = connection.vendor == "sqlite"
        self._mark = "?" if self._is_sqlite else "%s"
        tables = {
            name: apps.get_model(model)._meta.db_table
            for name, model in (
                ("event", "eventstore.Event"),
                ("idempotency", "eventstore.IdempotencyRecord"),
                ("account", "transactions.Account"),
                ("transaction", "transactions.Transaction"),
            )
        }
        opened = self._connect()
        self._read_templates(opened, tables)
        opened.close()
        close_connections()
        self._account_ids = [self._id(each) for each in product.setting()["accounts"]]

    def append(self, *, threads: int, count: int) -> float:
        """Insert one event a commit, each thread into a stream of its own; events a second."""
        streams = [f"account-{uuid7()}" for _ in range(threads)]

        def write(number: int) -> int:
            connection = self._connect()
            cursor = connection.cursor()
            for version in range(1, count // threads + 1):
                self._begin(cursor)
                self._look_up_version(cursor, streams[number])
                self._insert(cursor, self._event, [self._new_event(streams[number], version)])
                connection.commit()
            connection.close()
            return count // threads

        return per_second(threads, write)

    def bulk(self, *, appends: int) -> float:
        """Insert 1,000 events a commit, in statements as large as allowed; events a second."""
        stream = f"account-{uuid7()}"
        # SQLite bounds the parameters of a statement.
        statement_size = 32_000 // len(self._event.columns)

        def write(_: int) -> int:
            connection = self._connect()
            cursor = connection.cursor()
            for start in range(0, appends * BULK_SIZE, BULK_SIZE):
                rows = [
                    self._new_event(stream, version)
                    for version in range(start + 1, start + BULK_SIZE + 1)
                ]
                self._begin(cursor)
                self._look_up_version(cursor, stream)
                for first in range(0, BULK_SIZE, statement_size):
                    self._insert(cursor, self._event, rows[first : first + statement_size])
                connection.commit()
            connection.close()
            return appends * BULK_SIZE

        return per_second(1, write)

    def transfers(self, *, threads: int, count: int) -> float:
        """Make transfers, one a commit, on so many connections; transfers a second."""

        def write(_: int) -> int:
            connection = self._connect()
            for _each in range(count // threads):
                self._until_it_holds(connection, lambda: self._transfer(connection))
            connection.close()
            return count // threads

        return per_second(threads, write)

    def _transfer(self, connection: Any) -> None:
        cursor = connection.cursor()
        pair = random.sample(self._account_ids, 2)
        self._begin(cursor)
        for_update = "" if self._is_sqlite else " FOR UPDATE"
        marks = f"{self._mark}, {self._mark}"
        cursor.execute(
            f"SELECT id, version, posted FROM {self._account} WHERE id IN ({marks})"
            f" ORDER BY id{for_update}",
            pair,
        )
        heads = {row[0]: row[1:] for row in cursor.fetchall()}
        key = uuid4().hex * 2
        cursor.execute(
            f"SELECT status FROM {self._idempotency.name} WHERE digest = {self._mark}", [key]
        )
        transaction = uuid7()
        self._insert(cursor, self._event, self._new_events(transaction, pair, heads))
        for account, amount in zip(pair, (-1, 1), strict=True):
            version, posted = heads[account]
            cursor.execute(
                f"UPDATE {self._account} SET posted = {self._mark}, version = {self._mark},"
                f" updated_at = {self._mark} WHERE id = {self._mark}",
                [posted + amount, version + 1, self._events[0]["occurred_at"], account],
            )
        head = {
            **self._transaction_row,
            "id": self._id(transaction),
            "source": pair[0],
            "destination": pair[1],
        }
        self._insert(cursor, self._transaction, [head])
        record = {**self._idempotency_row, "digest": key, "key": key}
        self._insert(cursor, self._idempotency, [record])
        connection.commit()

    def _new_events(
        self, transaction: UUID, pair: list[Any], heads: Mapping[Any, Any]
    ) -> list[Row]:
        """Return the events of one transfer: copies, in streams of their own."""
        accounts = iter(pair)
        number, rows = 0, []
        for event in self._events:
            if event["stream"].startswith("transaction-"):
                number += 1
                stream, version = f"transaction-{transaction}", number
            else:
                account = next(accounts)
                stream, version = f"account-{UUID(str(account))}", heads[account][0] + 1
            rows.append({**event, "id": self._id(uuid7()), "stream": stream, "version": version})
        return rows

    def _new_event(self, stream: str, version: int) -> Row:
        return {
            **self._events[2],
            "id": self._id(uuid7()),
            "stream": stream,
            "version": version,
        }

    def _look_up_version(self, cursor: Any, stream: str) -> None:
        cursor.execute(
            f"SELECT MAX(version) FROM {self._event.name} WHERE stream = {self._mark}", [stream]
        )
        cursor.fetchall()

    def _insert(self, cursor: Any, table: Table, rows: Sequence[Row]) -> None:
        cursor.execute(*table.insert(rows, self._mark))

    def _begin(self, cursor: Any) -> None:
        # MySQL's connector begins by itself; SQLite must take its lock before it reads.
        if self._is_sqlite:
            cursor.execute("BEGIN IMMEDIATE")

    def _until_it_holds(self, connection: Any, work: Callable[[], None]) -> None:
        for attempt in range(ATTEMPTS_MAX):
            try:
                return work()
            except Exception as error:
                connection.rollback()
                lost = error.args and error.args[0] in RETRYABLE
                if not lost or attempt == ATTEMPTS_MAX - 1:
                    raise
        return None

    def _connect(self) -> Any:
        if self._is_sqlite:
            connection = sqlite3.connect(
                self._settings["NAME"], isolation_level=None, timeout=60, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            return connection
        import MySQLdb

        opened = MySQLdb.connect(
            host=self._settings["HOST"],
            port=int(self._settings["PORT"]),
            user=self._settings["USER"],
            database=self._settings["NAME"],
            charset="utf8mb4",
        )
        opened.cursor().execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        return opened

    def _read_templates(self, connection: Any, tables: Mapping[str, str]) -> None:
        """Read the rows of the last transfer, to be copied."""
        cursor = connection.cursor()
        self._account = tables["account"]
        self._event, newest = _rows(cursor, tables["event"], "row DESC", 4, without="row")
        self._events = [{**row, "position": None, "hash": None} for row in reversed(newest)]
        self._transaction, found = _rows(cursor, tables["transaction"], "id DESC", 1)
        self._transaction_row = found[0]
        self._idempotency, records = _rows(cursor, tables["idempotency"], "created_at DESC", 1)
        self._idempotency_row = records[0]
        self._is_hyphenated = "-" in str(self._transaction_row["id"])

    def _id(self, value: UUID | str) -> str:
        """Return an id as the database keeps it."""
        text = str(value)
        return text if self._is_hyphenated else text.replace("-", "")


def _rows(
    cursor: Any, table: str, order: str, count: int, *, without: str = ""
) -> tuple[Table, list[Row]]:
    # `row` is a word of MariaDB's language, which must be quoted; SQLite takes these quotes, too.
    column, _, direction = order.partition(" ")
    cursor.execute(f"SELECT * FROM {table} ORDER BY `{column}` {direction} LIMIT {count}")
    names = [description[0] for description in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    kept = tuple(name for name in names if name != without)
    return Table(name=table, columns=kept), rows


def _quoted(columns: Sequence[str], mark: str) -> list[str]:
    quote = '"' if mark == "?" else "`"
    return [f"{quote}{column}{quote}" for column in columns]
