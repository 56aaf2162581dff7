"""What the event store keeps in clear text beside the log, for whoever forgets a person.

The log itself is forgotten by `eventstore.keyring`. Snapshots and the answers that are kept for
repeated requests were made from what was opened, and are emptied here. Nothing here knows what
the texts mean: the product says which ones are to go.
"""

from collections.abc import Collection, Mapping
from uuid import UUID

from django.db import OperationalError, connection

from eventstore.models import IdempotencyRecord, Snapshot


def drop_snapshots(streams: Collection[str]) -> int:
    """Delete the snapshots of `streams`, a few hundred at a time; return how many there were."""
    return Snapshot.objects.filter(stream__in=streams).delete()[0]


def delete_answers(actor: UUID) -> int:
    """Delete the answers that are kept for requests of `actor`; return how many there were.

    Only for somebody who cannot ask any more: the same request would have its effect again.
    """
    return IdempotencyRecord.objects.filter(actor=str(actor)).delete()[0]


def list_answers(*, after: str, limit: int) -> list[tuple[str, bytes]]:
    """Return up to `limit` kept answers as (digest, body) behind the digest `after`, in order."""
    rows = IdempotencyRecord.objects.filter(digest__gt=after).order_by("digest")
    return [(digest, bytes(body)) for digest, body in rows.values_list("digest", "body")[:limit]]


def replace_answers(bodies: Mapping[str, bytes]) -> None:
    """Give kept answers another body, by digest. They still stand for the effect that was had."""
    for digest, body in bodies.items():
        IdempotencyRecord.objects.filter(digest=digest).update(body=body)


def rewrite_file() -> bool | None:
    """Leave nothing that was deleted in the file of the primary store, where it is SQLite's.

    SQLite keeps deleted text in free pages and in its write-ahead log until they are used
    again. This writes the whole file anew, which takes as long as copying it, and writers wait.

    Returns:
        whether it was done; False while others are in the way, None where there is no such file.
    """
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        return None
    try:
        with connection.cursor() as cursor:
            cursor.execute("VACUUM")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            is_busy = bool(cursor.fetchone()[0])
    except OperationalError:
        return False
    return not is_busy
