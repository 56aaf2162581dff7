"""A store in an SQLite file: the embedded stand-in for MongoDB and for Spanner."""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from eventstore.clock import format_time
from eventstore.codec import canonical_json
from eventstore.messages import Metadata
from eventstore.records import Record
from eventstore.stores import Document, StoreUnavailable

BUSY_TIMEOUT_S = 10.0
_LOCKED_PAUSE_S = 0.005
# SQLite's default bound of variables in a statement is far above this.
KEYS_A_STATEMENT = 500

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    position INTEGER PRIMARY KEY, id TEXT NOT NULL, stream TEXT NOT NULL,
    version INTEGER NOT NULL, type TEXT NOT NULL, schema_version INTEGER NOT NULL,
    data TEXT NOT NULL, actor TEXT, correlation_id TEXT, causation_id TEXT, request_id TEXT,
    occurred_at TEXT NOT NULL, hash BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS events_stream_version ON events (stream, version);
CREATE TABLE IF NOT EXISTS documents (
    stream TEXT PRIMARY KEY, version INTEGER NOT NULL, body TEXT NOT NULL
) WITHOUT ROWID;
"""
_WRITE_DOCUMENT = """
INSERT INTO documents VALUES (?, ?, ?) ON CONFLICT (stream) DO UPDATE
SET version = excluded.version, body = excluded.body WHERE documents.version < excluded.version
"""
_REPAIR_DOCUMENT = _WRITE_DOCUMENT.replace("version < ", "version <= ")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Have the file written ahead; wait for others that do the same with a new one.

    SQLite itself does not wait for the lock under which it changes the mode.
    """
    ends_s = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "is locked" not in str(error) or time.monotonic() > ends_s:
                raise
            time.sleep(_LOCKED_PAUSE_S)


@dataclass(frozen=True)
class SQLiteStore:
    """A store in the file `path`, which is created with its tables when first written to."""

    name: str
    path: Path

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        """Open a connection for one batch: none is ever shared between threads or forks."""
        try:
            with closing(sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S)) as connection:
                _write_ahead(connection)
                # What is overwritten is gone from the file: a document may have told of a person.
                connection.executescript("PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;")
                connection.executescript(_SCHEMA)
                with connection:
                    yield connection
        except (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError):
            # The file answers: what it was given is at fault, and would be tomorrow.
            raise
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self.name}: {error}") from error

    def write_events(self, records: Sequence[Record]) -> None:
        """Insert the records, or overwrite those at the same position."""
        rows = [
            (
                record.position,
                str(record.id),
                record.stream,
                record.version,
                record.type,
                record.schema_version,
                record.data,
                record.metadata.actor,
                record.metadata.correlation_id,
                record.metadata.causation_id,
                record.metadata.request_id,
                format_time(record.occurred_at),
                record.hash,
            )
            for record in records
        ]
        with self._connect() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO events VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)", rows
            )

    def write_documents(self, documents: Sequence[Document], *, repair: bool = False) -> None:
        """Write each document unless the store has a newer one (`repair`: or the same)."""
        rows = [(each.stream, each.version, canonical_json(each.body)) for each in documents]
        with self._connect() as connection:
            connection.executemany(_REPAIR_DOCUMENT if repair else _WRITE_DOCUMENT, rows)

    def read_documents(self, streams: Iterable[str]) -> dict[str, Document]:
        """Return the documents of these streams, by stream."""
        keys = sorted(set(streams))
        found: dict[str, Document] = {}
        with self._connect() as connection:
            for start in range(0, len(keys), KEYS_A_STATEMENT):
                some = keys[start : start + KEYS_A_STATEMENT]
                marks = ",".join("?" * len(some))
                for row in connection.execute(
                    f"SELECT * FROM documents WHERE stream IN ({marks})",  # noqa: S608 - marks
                    some,
                ):
                    document = _document(row)
                    found[document.stream] = document
        return found

    def list_documents(self, *, after: str, limit: int) -> list[Document]:
        """Return up to `limit` documents whose stream sorts behind `after`, in that order."""
        with self._connect() as connection:
            rows = connection.execute(
                "SELECT * FROM documents WHERE stream > ? ORDER BY stream LIMIT ?", (after, limit)
            )
            return [_document(row) for row in rows]

    def list_events(self, *, after: int, limit: int) -> list[Record]:
        """Return up to `limit` records behind the position `after`, in the order of positions."""
        with self._connect() as connection:
            rows = connection.execute(
                "SELECT * FROM events WHERE position > ? ORDER BY position LIMIT ?", (after, limit)
            )
            return [_record(row) for row in rows]

    def delete_events(self, positions: Iterable[int]) -> None:
        """Remove rows that the log does not have."""
        with self._connect() as connection:
            connection.executemany(
                "DELETE FROM events WHERE position = ?", [(position,) for position in positions]
            )

    def delete_documents(self, streams: Iterable[str]) -> None:
        """Remove documents that the log does not have."""
        with self._connect() as connection:
            connection.executemany(
                "DELETE FROM documents WHERE stream = ?", [(stream,) for stream in streams]
            )

    def ping(self) -> None:
        """Return when the file can be read."""
        with self._connect() as connection:
            connection.execute("SELECT 1 FROM documents LIMIT 1").fetchone()


def _document(row: Sequence[Any]) -> Document:
    return Document(stream=row[0], version=row[1], body=json.loads(row[2]))


def _record(row: Sequence[Any]) -> Record:
    return Record(
        position=row[0],
        id=UUID(row[1]),
        stream=row[2],
        version=row[3],
        type=row[4],
        schema_version=row[5],
        data=row[6],
        metadata=Metadata(
            actor=row[7], correlation_id=row[8], causation_id=row[9], request_id=row[10]
        ),
        occurred_at=datetime.fromisoformat(row[11]),
        hash=bytes(row[12]),
    )
