"""Projections: tables that are made of the log alone, and can be made again.

# Note [Beside the live table]

A projection is rebuilt into a table of its own, a copy of the live one's definition, while the
lane keeps writing the live one and everybody reads it. Every batch and the position it ends at
are one transaction, so a rebuild that was killed goes on where it was. Once the copy has come as
far as the log, the lane's lease is taken from its worker; the copy is brought to where the lane
stands, and takes the live one's name, and the lane goes on where the copy ends. SQLite does that
in one transaction. MySQL and MariaDB commit around each statement that changes a table, but
rename two tables at once. A worker that wakes up meanwhile finds its epoch gone. Should the swap
have taken longer than the lease, the lane may have moved on in the old table: it is put back to
where the copy ends. To handle an event again does no harm, as its row is known by its id.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.db import connection, models, transaction

from eventstore import leases, subscriptions
from eventstore.errors import PlatformError
from eventstore.models import Event as EventRow
from eventstore.sequencer import NAME as SEQUENCER
from eventstore.shadow import Shadow
from eventstore.store import event_store
from eventstore.tables import Table

BATCH_POSITIONS = 5000
# The rename must wait for readers of the table: shorter than the lease that fences the lane.
SWAP_LEASE_S = 60
# Between two batches, so that those who wait for SQLite's one write lock come to their turn.
PAUSE_S = 0.002

Projected = tuple[int, Any, str, int, str, Any]
_EVENTS = Table(
    EventRow, columns=("position", "id", "type", "schema_version", "data", "occurred_at")
)


class RebuildRunning(PlatformError):
    """Another process is rebuilding this projection."""

    code = "rebuild_running"
    retryable = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """What a projection needs of an event of the log."""

    position: int
    id: Any
    event: Any
    occurred_at: Any


@dataclass(frozen=True, kw_only=True)
class Projection:
    """A table that one lane makes of the log.

    Args:
        name: of its lane.
        model: of its rows; no event may make a row that another one has made.
        types: of the events that it is made of; none of them may have personal members.
        rows: makes the rows of events, as values of the model's fields in their order.
        code_version: of `rows`: a rebuild begun by another version is begun anew.
    """

    name: str
    model: type[models.Model]
    types: frozenset[str]
    rows: Callable[[Sequence[Placed]], list[Sequence[Any]]]
    code_version: int = 1

    @cached_property
    def checkpoint(self) -> str:
        """The name under which a rebuild keeps how far it has come."""
        return f"rebuild-{self.name}-{self.code_version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What a rebuild did: events of the log that it read, rows that it made, and its time."""

    events: int
    rows: int
    seconds: float

    @property
    def events_per_s(self) -> float:
        """Events of the log a second, those of other types included."""
        return self.events / self.seconds if self.seconds else 0.0


def rebuild_projection(
    projection: Projection,
    *,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Rebuilt:
    """Make a projection again from position 0, beside the live one, and swap it in.

    What was killed is taken up where it was. The live table is untouched until the swap.

    Args:
        progress: called with the position reached and the newest one.

    Raises:
        RebuildRunning: another process is at it.
        LeaseLost: this process stood still for so long that another one has begun.
        UnknownEvent: an event cannot be read; the live table stays.
    """
    lease = leases.acquire(projection.checkpoint, owner=leases.new_owner())
    if lease is None:
        raise RebuildRunning(f"{projection.name} is being rebuilt; try again when that has ended.")
    began_s, began_at = clock(), lease.position
    try:
        shadow = Shadow(projection.model)
        if lease.position == 0 or not shadow.exists():
            lease, began_at = leases.advance(lease, 0), 0
            shadow.make()
        work = _Rebuild(projection, shadow, lease)
        while work.lease.position < (head := leases.position_of(SEQUENCER)):
            work.next_batch(upto=head)
            progress(work.lease.position, head)
            pause(PAUSE_S)
        work.swap()
        lease = work.lease
    finally:
        leases.release(lease)
    return Rebuilt(events=work.ended_at - began_at, rows=work.rows, seconds=clock() - began_s)


class _Rebuild:
    """A rebuild on its way: the copy, and the lease whose position says how far it has come."""

    def __init__(self, projection: Projection, shadow: Shadow, lease: leases.Lease) -> None:
        self.projection, self.shadow, self.lease = projection, shadow, lease
        self.rows = 0
        self.ended_at = lease.position
        self._table = Table(projection.model)
        self._codec = event_store().codec

    def next_batch(self, *, upto: int) -> None:
        """Project the next positions into the copy and move on, in one transaction."""
        last = min(self.lease.position + BATCH_POSITIONS, upto)
        rows = self._rows(after=self.lease.position, upto=last)
        with transaction.atomic():
            leases.renew(self.lease)
            self._table.insert(rows, into=self.shadow.name)
            self.lease = leases.advance(self.lease, last)
        self.rows += len(rows)
        self.ended_at = last

    def _rows(self, *, after: int, upto: int) -> list[Sequence[Any]]:
        types = sorted(self.projection.types)
        marks = ", ".join(["%s"] * len(types))
        found = _EVENTS.where(
            f"position > %s AND position <= %s AND type IN ({marks}) ORDER BY position",
            [after, upto, *types],
        )
        return self.projection.rows(
            [
                Placed(
                    position=position,
                    id=key,
                    event=self._codec.decode(name, schema_version, data),
                    occurred_at=at,
                )
                for position, key, name, schema_version, data, at in found
            ]
        )

    def swap(self) -> None:
        """Bring the copy to where the lane stands, and give it the live table's name."""
        lane = leases.take_over(
            self.projection.name, owner=leases.new_owner(), lease_s=SWAP_LEASE_S
        )
        try:
            while self.lease.position < lane.position:
                self.next_batch(upto=lane.position)
            leases.renew(self.lease)
            at_once = (
                transaction.atomic() if connection.features.can_rollback_ddl else nullcontext()
            )
            with at_once:
                leases.confirm(lane, lease_s=SWAP_LEASE_S)
                self.shadow.swap()
                subscriptions.reset(self.projection.name, to=self.ended_at)
                self.lease = leases.advance(self.lease, 0)
        finally:
            leases.release(lane)
        self.shadow.drop_old()
