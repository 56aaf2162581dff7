"""The stores that follow the log: one small writer each.

What makes them safe to write to at least once is the shape of what they hold: events are
immutable rows keyed by position, and a document carries the version of its stream and is written
only forward.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from eventstore.errors import PlatformError
from eventstore.records import Record


class StoreUnavailable(PlatformError):
    """A store cannot be reached; nothing is wrong with what was to be written."""

    code = "store_unavailable"
    retryable = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The present state of one stream, as a store keeps it.

    Args:
        stream: its key.
        version: of the last event that is in it.
        body: JSON values.
    """

    stream: str
    version: int
    body: dict[str, Any]


class Store(Protocol):
    """A database that follows the log.

    Every method raises `StoreUnavailable` when the database is away.
    """

    @property
    def name(self) -> str:
        """The name of its lane, and of its checkpoint."""

    def write_events(self, records: Sequence[Record]) -> None:
        """Insert the records, or overwrite those at the same position."""

    def write_documents(self, documents: Sequence[Document], *, repair: bool = False) -> None:
        """Write each document unless the store has a newer one.

        Args:
            repair: overwrite also one of the same version, which may have been altered.
        """

    def read_documents(self, streams: Iterable[str]) -> dict[str, Document]:
        """Return the documents of these streams, by stream."""

    def list_documents(self, *, after: str, limit: int) -> list[Document]:
        """Return up to `limit` documents whose stream sorts behind `after`, in that order."""

    def list_events(self, *, after: int, limit: int) -> list[Record]:
        """Return up to `limit` records behind the position `after`, in the order of positions."""

    def delete_events(self, positions: Iterable[int]) -> None:
        """Remove rows that the log does not have."""

    def delete_documents(self, streams: Iterable[str]) -> None:
        """Remove documents that the log does not have."""

    def ping(self) -> None:
        """Return when the store answers."""
