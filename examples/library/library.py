"""A library's books: what can happen to them, and what may.

Everything that the event store has to be told of a product is here: the events with their
codec, an aggregate (a state and a pure function from event to state), and a lane that follows
the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from eventstore.aggregates import Aggregate, rebuild
from eventstore.codec import Codec
from eventstore.messages import Event
from eventstore.records import Record
from eventstore.replication import replicate
from eventstore.store import ConcurrencyConflict, event_store
from eventstore.stores.sqlite import SQLiteStore
from eventstore.subscriptions import Subscription
from resilience import RetryConfig, RetryWithBackoff


@dataclass(frozen=True, slots=True, kw_only=True)
class BookAcquired(Event):
    """The library owns a book."""

    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BookLent(Event):
    """Somebody has taken a book home. `until` is an ISO date."""

    reader: str
    until: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BookReturned(Event):
    """A book is back."""


def _with_date(data: dict[str, Any]) -> dict[str, Any]:
    """Version 1 of `BookLent` did not say until when."""
    return {**data, "until": "2026-12-31"}


CODEC = Codec(
    events={
        ("BookAcquired", 1): BookAcquired,
        ("BookLent", 2): BookLent,
        ("BookReturned", 1): BookReturned,
    },
    upcasters={("BookLent", 1): _with_date},
    # Stored encrypted with a key of the reader's own, so that a reader can be forgotten.
    personal={BookLent: {"reader": ""}},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """The state of a book."""

    title: str
    reader: str | None = None
    loans: int = 0
    version: int


def evolve(book: Book | None, event: Event, /, *, version: int, at: datetime) -> Book:  # noqa: ARG001
    """Return the book after `event`."""
    match event:
        case BookAcquired():
            return Book(title=event.title, version=version)
        case BookLent() if book is not None:
            return replace(book, reader=event.reader, loans=book.loans + 1, version=version)
        case BookReturned() if book is not None:
            return replace(book, reader=None, version=version)
    raise ValueError(f"{type(event).__name__} cannot follow {book}")


BOOK = Aggregate(category="book", state=Book, evolve=evolve, code_version=1)
FOLDS = {BOOK.category: BOOK.fold}


class AlreadyLent(Exception):
    """Somebody else has the book."""


# Who loses a race for a book decides anew, on what the winner has left.
_retry = RetryWithBackoff(
    RetryConfig(
        retries_max=5,
        base_s=0.01,
        cap_s=0.2,
        is_retryable=lambda error: isinstance(error, ConcurrencyConflict),
        had_no_effect=lambda error: isinstance(error, ConcurrencyConflict),
    ),
    name="lend",
)


def lend(stream: str, *, reader: str, reader_id: UUID, until: str) -> int:
    """Lend a book; return the new version of its stream. Raise `AlreadyLent`."""
    return _retry.call(_lend_once, stream, reader, reader_id, until)


def _lend_once(stream: str, reader: str, reader_id: UUID, until: str) -> int:
    book = rebuild(BOOK, stream)
    if book is None or book.reader is not None:
        raise AlreadyLent(stream)
    return event_store().save_events(
        stream,
        [BookLent(reader=reader, until=until)],
        expected_version=book.version,
        subject=reader_id,
    )


SHELF = SQLiteStore(name="shelf", path=Path(__file__).parent / "shelf.sqlite3")


def keep_shelf(records: Sequence[Record]) -> None:
    """Keep one document a book in a database of its own, as a search page would read it."""
    replicate(SHELF, FOLDS, records)


SUBSCRIPTIONS = (
    Subscription(
        name=SHELF.name,
        handle=keep_shelf,
        in_transaction=False,
        description="Keeps the present state of each book in a database of its own.",
    ),
)
