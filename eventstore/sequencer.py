"""Give committed events their dense global position, and chain their hashes.

# Note [Never follow an auto-increment id]

A transaction that inserted row 1 may commit after one that inserted row 2. A reader that has
seen 2 and asks for what is above it misses 1 for ever. So `append` leaves the position empty, and
one sequencer at a time, holding a lease, gives positions to rows that it can see, which are
committed ones. Within a stream, version n+1 cannot commit before version n, because its writer
had to see n; ordering what is visible by `row` therefore keeps every stream in order, even
though two streams may be placed differently from their order of insertion.
"""

import logging

from django.db import connection, transaction
from django.db.models import QuerySet

from eventstore import leases
from eventstore.models import Event
from eventstore.records import GENESIS_HASH
from eventstore.rows import to_record
from eventstore.store import LogBroken, event_store

logger = logging.getLogger(__name__)

NAME = "sequencer"
BATCH_SIZE_MAX = 1000


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
        rows = list(_waiting().order_by("row")[:BATCH_SIZE_MAX])
        previous_hash, position, updates = _last_hash(lease.position), lease.position, []
        for row in rows:
            position += 1
            record = to_record(row).chained(position=position, previous_hash=previous_hash)
            previous_hash = record.hash or b""
            updates.append((position, previous_hash, row.row))
        if updates:
            table = connection.ops.quote_name(Event._meta.db_table)
            with connection.cursor() as cursor:
                cursor.executemany(
                    f"UPDATE {table} SET position = %s, hash = %s"  # noqa: S608 - our own table
                    f" WHERE {connection.ops.quote_name('row')} = %s",
                    updates,
                )
        return leases.advance(lease, position)


def _last_hash(position: int) -> bytes:
    if position == 0:
        return GENESIS_HASH
    last = event_store().read_at(position)
    if last.hash is None:
        raise LogBroken(f"The event at position {position} has no hash: run verify_events.")
    return last.hash
