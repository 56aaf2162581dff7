"""Give committed events their dense global position, and chain their hashes.

# Note [Never follow an auto-increment id]

A transaction that inserted row 1 may commit after one that inserted row 2. A reader that has
seen 2 and asks for what is above it misses 1 for ever. So `append` leaves the position empty, and
one sequencer at a time, holding a lease, gives positions to rows that it can see, which are
committed ones. Within a stream, version n+1 cannot commit before version n, because its writer
had to see n; ordering what is visible by `row` therefore keeps every stream in order, even
though two streams may be placed differently from their order of insertion.
"""

import json
import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from eventstore import leases
from eventstore.models import Event
from eventstore.records import GENESIS_HASH, canonical_bytes
from eventstore.store import LogBroken, event_store

logger = logging.getLogger(__name__)

NAME = "sequencer"
BATCH_SIZE_MAX = 1000

_TABLE = Event._meta.db_table
_COLUMNS = (
    "row",
    "id",
    "stream",
    "version",
    "type",
    "schema_version",
    "data",
    "actor",
    "correlation_id",
    "causation_id",
    "request_id",
    "occurred_at",
)


def sequence(*, owner: str | None = None, batches_max: int = 50) -> int:
    """Place what has been committed since the last call; return how many events that were.

    Args:
        owner: of the lease; a fresh name by default.
        batches_max: of 1,000 events each, after which another call must go on.

    A second sequencer finds the lease taken and returns 0.

    Raises:
        LogBroken: the event that was placed last is gone, so nothing can be chained onto it.
    """
    # A look without any lock first: an idle log costs its writers nothing.
    if not _waiting().exists():
        return 0
    lease = leases.acquire(NAME, owner=owner or leases.new_owner())
    if lease is None:
        return 0
    placed, error = 0, ""
    try:
        for _ in range(batches_max):
            before = lease.position
            lease = sequence_batch(lease)
            placed += lease.position - before
            if lease.position - before < BATCH_SIZE_MAX:
                break
    except leases.LeaseLost:
        logger.warning("the sequencer's lease was taken over")
    except Exception as cause:
        error = f"{type(cause).__name__}: {cause}"
        raise
    finally:
        leases.release(lease, error=error)
    return placed


def _waiting() -> QuerySet[Event]:
    return Event.objects.filter(position__isnull=True)


def sequence_batch(lease: leases.Lease) -> leases.Lease:
    """Place up to 1,000 events in one transaction and return the lease with its new position.

    Raises:
        LeaseLost: another sequencer has taken over; nothing was written.
        LogBroken: the event that was placed last is gone.
    """
    with transaction.atomic():
        # First of all the fence. It locks the checkpoint's row, so that whoever takes the lease
        # over waits for this commit, and a late one finds its epoch gone before it has written.
        leases.renew(lease)
        places = _chain(_claim(), after=lease.position)
        if places:
            _mark(places)
        return leases.advance(lease, lease.position + len(places))


def _claim() -> list[tuple[Any, ...]]:
    """Return what is committed and has no position yet, in the order of insertion, as stored."""
    names = ", ".join(map(_quote, _COLUMNS))
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {names} FROM {_quote(_TABLE)}"  # noqa: S608 - our own names
            f" WHERE {_quote('position')} IS NULL ORDER BY {_quote('row')} LIMIT {BATCH_SIZE_MAX}"
        )
        return list(cursor.fetchall())


def _chain(rows: Iterable[tuple[Any, ...]], *, after: int) -> list[tuple[int, bytes, int]]:
    """Return position, hash and row of each of `rows`, the first one behind the position `after`.

    From the columns as they are stored: making objects of them would take four times as long as
    the hashing.
    """
    previous_hash = _last_hash(after)
    places = []
    for position, stored in enumerate(rows, start=after + 1):
        row, event_id, stream, version, event_type, schema_version, data, *about, at = stored
        actor, correlation_id, causation_id, request_id = about
        event = canonical_bytes(
            data=data,
            event_id=_id_text(event_id),
            actor=actor,
            causation_id=causation_id,
            correlation_id=correlation_id,
            request_id=request_id,
            occurred_at=_time_text(at),
            position=position,
            schema_version=schema_version,
            stream=stream,
            event_type=event_type,
            version=version,
        )
        previous_hash = sha256(previous_hash + event).digest()
        places.append((position, previous_hash, row))
    return places


def _id_text(stored: str) -> str:
    """Return an id as it is written: not every database has a type for it and its hyphens."""
    if len(stored) != 32:
        return stored
    return f"{stored[:8]}-{stored[8:12]}-{stored[12:16]}-{stored[16:20]}-{stored[20:]}"


def _time_text(stored: datetime | str) -> str:
    """Return an instant, stored in UTC, as `format_time` writes it; SQLite stores it as text."""
    if isinstance(stored, str):
        stored = datetime.fromisoformat(stored)
    return f"{stored.isoformat(timespec='microseconds')}Z"


def _mark(places: Sequence[tuple[int, bytes, int]]) -> None:
    """Write position and hash of each row."""
    with connection.cursor() as cursor:
        if connection.vendor != "mysql":
            cursor.executemany(
                f"UPDATE {_quote(_TABLE)} SET position = %s, hash = %s"  # noqa: S608
                f" WHERE {_quote('row')} = %s",
                places,
            )
            return
        # One statement: the driver would make a round trip of each row. Each row is reached by
        # its key: a scan would lock, and wait for, rows that are not committed yet.
        cursor.execute(
            f"UPDATE JSON_TABLE(%s, '$[*]' COLUMNS (place BIGINT PATH '$[0]',"  # noqa: S608
            " digest CHAR(64) PATH '$[1]', number BIGINT PATH '$[2]')) AS placed"
            f" STRAIGHT_JOIN {_quote(_TABLE)} AS event FORCE INDEX (PRIMARY)"
            f" ON event.{_quote('row')} = placed.number"
            " SET event.position = placed.place, event.hash = UNHEX(placed.digest)",
            [json.dumps([(position, digest.hex(), row) for position, digest, row in places])],
        )


def _quote(name: str) -> str:
    return connection.ops.quote_name(name)


def _last_hash(position: int) -> bytes:
    if position == 0:
        return GENESIS_HASH
    last = event_store().read_at(position)
    if last.hash is None:
        raise LogBroken(f"The event at position {position} has no hash: run verify_events.")
    return last.hash
