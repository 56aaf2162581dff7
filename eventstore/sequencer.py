"""Give committed events their dense global position, and chain their hashes.

# Note [Never follow an auto-increment id]

A transaction that inserted row 1 may commit after one that inserted row 2. A reader that has
seen 2 and asks for what is above it misses 1 for ever. So `append` leaves the position empty, and
one sequencer at a time, holding a lease, gives positions to rows that it can see, which are
committed ones. Within a stream, version n+1 cannot commit before version n, because its writer
had to see n; ordering what is visible by `row` therefore keeps every stream in order, even
though two streams may be placed differently from their order of insertion.
"""

from django.db import connection, transaction

from eventstore import leases
from eventstore.models import Event
from eventstore.records import GENESIS_HASH
from eventstore.store import to_record

NAME = "sequencer"
BATCH_SIZE_MAX = 1000


def sequence(*, owner: str | None = None, batches_max: int = 50) -> int:
    """Place what has been committed since the last call; return how many events that were.

    Args:
        owner: of the lease; a fresh name by default.
        batches_max: of 1,000 events each, after which another call must go on.

    A second sequencer finds the lease taken and returns 0.
    """
    lease = leases.acquire(NAME, owner=owner or leases.new_owner())
    if lease is None:
        return 0
    placed = 0
    try:
        for _ in range(batches_max):
            before = lease.position
            lease = sequence_batch(lease)
            placed += lease.position - before
            if lease.position - before < BATCH_SIZE_MAX:
                break
    except leases.LeaseLost:
        return placed
    leases.release(lease)
    return placed


def sequence_batch(lease: leases.Lease) -> leases.Lease:
    """Place up to 1,000 events in one transaction and return the lease with its new position.

    Raises:
        LeaseLost: another sequencer has taken over; nothing was written.
    """
    # A look without the write lock first: an idle log costs its writers nothing.
    if not Event.objects.filter(position__isnull=True).exists():
        return lease
    with transaction.atomic():
        # First of all the fence. It locks the checkpoint's row, so that whoever takes the lease
        # over waits for this commit, and a late one finds its epoch gone before it has written.
        leases.advance(lease, lease.position)
        rows = list(Event.objects.filter(position__isnull=True).order_by("row")[:BATCH_SIZE_MAX])
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
    return bytes(Event.objects.values_list("hash", flat=True).get(position=position) or b"")
