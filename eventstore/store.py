"""The log: append and read events, take snapshots.

    store = EventStore(codec=CODEC)
    store.save_events("account-1", [AccountOpened(...)], expected_version=0)
    for record in store.get_events("account-1", from_version=1):
        print(store.event_of(record))

What is appended has no position yet: `eventstore.sequencer` gives it one after the commit.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Max
from uuid_utils.compat import uuid7

from eventstore import config, keyring
from eventstore.clock import utc_now
from eventstore.codec import Codec, canonical_json
from eventstore.errors import PlatformError
from eventstore.messages import Event, Metadata
from eventstore.models import Event as EventRow
from eventstore.models import Snapshot as SnapshotRow
from eventstore.records import Record
from eventstore.rows import NEW_EVENTS, NewEvent, new_rows, records_where, to_record
from eventstore.sql import newest_from
from eventstore.writing import write_transaction

READ_BATCH_SIZE = 500
STREAM_LENGTH_MAX = 80
# Streams whose versions are asked for in one statement: SQLite bounds how deep a condition is.
STREAMS_A_CHECK = 200


class ConcurrencyConflict(PlatformError):
    """A stream is not at the version that the writer expected; read it again and decide anew."""

    code = "concurrency_conflict"
    retryable = True


class LogBroken(PlatformError):
    """The log is not what was written: something has changed it behind the system's back."""

    code = "log_broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state of a stream right after the event with `version`, as JSON values."""

    stream: str
    version: int
    code_version: int
    state: Any


def _first_versions(events: Sequence[NewEvent]) -> dict[str, int]:
    """Return the first new version of each stream, after a look at what is new alone."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for new in events:
        if len(new.stream) > STREAM_LENGTH_MAX:
            raise ValueError(f"{new.stream}: longer than {STREAM_LENGTH_MAX} characters")
        behind = last.get(new.stream)
        if new.version < 1 or (behind is not None and new.version != behind + 1):
            raise ValueError(f"{new.stream}: version {new.version} does not follow {behind or 0}")
        first.setdefault(new.stream, new.version)
        last[new.stream] = new.version
    return first


def _check_not_taken(first: Mapping[str, int]) -> None:
    """Raise `ConcurrencyConflict` unless each stream is right before its first new version.

    Only what is at that version or behind it is read, along the index: a look at the newest
    version of a long stream would cost SQLite a walk over all of it.
    """
    streams = list(first)
    for start in range(0, len(streams), STREAMS_A_CHECK):
        some = streams[start : start + STREAMS_A_CHECK]
        newest = newest_from({each: first[each] - 1 for each in some})
        for each in some:
            if newest.get(each, 0) != first[each] - 1:
                stored = EventRow.objects.filter(stream=each).aggregate(newest=Max("version"))
                raise ConcurrencyConflict(
                    f"{each} is at version {stored['newest'] or 0}, not {first[each] - 1}."
                )


@dataclass(frozen=True)
class EventStore:
    """The log in the primary database, for the events of one codec."""

    codec: Codec

    def append(self, events: Sequence[NewEvent], *, locked: bool = False) -> None:
        """Write `events`, all or none, inside the caller's transaction.

        Args:
            events: of any number of streams; those of one stream in the order of their versions,
                the first one right behind the last that is stored.
            locked: the caller has read the versions from rows that it has locked, and rolls
                everything back after a conflict: they are not looked at again.

        Raises:
            ConcurrencyConflict: a stream is not where the writer believed it to be.
            SubjectForgotten: an event would tell something of a person who was forgotten.
            ValueError: the versions of a stream have a gap, or its name is too long.
        """
        if not events:
            return
        first = _first_versions(events)
        rows = new_rows(self.codec, events)
        if locked:
            self._insert(rows)
            return
        _check_not_taken(first)
        # A savepoint, so that a caller who expects the conflict can go on.
        with transaction.atomic():
            self._insert(rows)

    def _insert(self, rows: Sequence[Sequence[Any]]) -> None:
        try:
            NEW_EVENTS.insert(rows)
        except IntegrityError as error:
            # Somebody appended between the check and the insert, as READ COMMITTED allows.
            raise ConcurrencyConflict("A stream has moved on; try again.") from error

    def event_of(self, record: Record) -> Event:
        """Return the event in `record`, opened as far as the keys are there.

        Raises:
            UnknownEvent: the codec does not know it, or its data does not fit.
        """
        return self.codec.decode(
            record.type,
            record.schema_version,
            record.data,
            open_sealed=partial(keyring.unseal, event=record.id),
        )

    def save_events(
        self,
        stream: str,
        events: Sequence[Event],
        *,
        expected_version: int,
        metadata: Metadata | None = None,
        subject: UUID | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> int:
        """Append `events` to one stream and return its new version.

        Args:
            expected_version: of the stream before; 0 when it must not exist yet.
            subject: the person of whom the personal members of the events tell.

        Raises:
            ConcurrencyConflict: the stream is at another version; nothing was written.
            SubjectForgotten: an event would tell something of a person who was forgotten.
        """
        occurred_at = now()
        with write_transaction():
            self.append(
                [
                    NewEvent(
                        id=uuid7(),
                        stream=stream,
                        version=version,
                        event=event,
                        metadata=metadata or Metadata(),
                        occurred_at=occurred_at,
                        subject=subject,
                    )
                    for version, event in enumerate(events, start=expected_version + 1)
                ]
            )
        return expected_version + len(events)

    def get_events(
        self, stream: str, *, from_version: int = 1, to_version: int | None = None
    ) -> Iterator[Record]:
        """Yield the records of one stream in the order of their versions, in batches."""
        rows = EventRow.objects.filter(stream=stream).order_by("version")
        while True:
            batch = rows.filter(version__gte=from_version)
            if to_version is not None:
                batch = batch.filter(version__lte=to_version)
            found = list(batch[:READ_BATCH_SIZE])
            yield from map(to_record, found)
            if len(found) < READ_BATCH_SIZE:
                return
            from_version = found[-1].version + 1

    def read_log(self, *, after: int = 0, limit: int = READ_BATCH_SIZE) -> list[Record]:
        """Return up to `limit` records behind the position `after`, in global order."""
        return records_where("position > %s ORDER BY position LIMIT %s", [after, limit])

    def read_at(self, position: int) -> Record:
        """Return the record at `position`, which was given out; raise `LogBroken` without one."""
        row = EventRow.objects.filter(position=position).first()
        if row is None:
            raise LogBroken(f"The event at position {position} is gone: run verify_events.")
        return to_record(row)

    def replay_events(self, handler: Callable[[Record], None], *, after: int = 0) -> int:
        """Hand every record behind the position `after` to `handler`; return the last position."""
        while batch := self.read_log(after=after):
            for record in batch:
                handler(record)
            after = batch[-1].position or after
        return after

    def create_snapshot(
        self, stream: str, *, version: int, state: Any, code_version: int, now: datetime
    ) -> None:
        """Keep `state` (JSON values) as that of `stream` right after `version`.

        Args:
            code_version: of the functions that made the state; a snapshot of another one is
                ignored when read, and replaced in time.
        """
        SnapshotRow.objects.get_or_create(
            stream=stream,
            version=version,
            code_version=code_version,
            defaults={"state": canonical_json(state), "taken_at": now},
        )

    def get_latest_snapshot(
        self, stream: str, *, code_version: int, to_version: int | None = None
    ) -> Snapshot | None:
        """Return the newest snapshot of `stream`, at most at `to_version`; None without one."""
        rows = SnapshotRow.objects.filter(stream=stream, code_version=code_version)
        if to_version is not None:
            rows = rows.filter(version__lte=to_version)
        row = rows.order_by("-version").first()
        if row is None:
            return None
        return Snapshot(
            stream=stream,
            version=row.version,
            code_version=code_version,
            state=json.loads(row.state),
        )


@lru_cache(maxsize=1)
def event_store() -> EventStore:
    """Return the event store with the product's codec."""
    return EventStore(codec=config.codec())
