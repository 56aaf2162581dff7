"""Aggregates: states that are rebuilt from the events of one stream, and their snapshots."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from eventstore import keyring, leases
from eventstore.clock import utc_now
from eventstore.marks import mark_log
from eventstore.messages import Event
from eventstore.models import Event as EventRow
from eventstore.models import Snapshot as SnapshotRow
from eventstore.records import Record
from eventstore.replication import category
from eventstore.store import event_store
from eventstore.tables import Table

logger = logging.getLogger(__name__)

SNAPSHOT_EVERY_EVENTS = 1000
LOG_BATCH_SIZE = 5000
STREAM_BATCH_SIZE = 1000

StateT = TypeVar("StateT")

_EVENTS = Table(
    EventRow,
    columns=("id", "stream", "version", "type", "schema_version", "data", "occurred_at"),
)


class Evolve(Protocol[StateT]):
    """Makes the next state from the one before (None at first) and an event."""

    def __call__(
        self, state: StateT | None, event: Event, /, *, version: int, at: datetime
    ) -> StateT:
        """Return the state after `event`, the one with `version` in its stream, of `at`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skim(Generic[StateT]):
    """How a state is made without reading every event, where events tell what is afterwards.

    Nothing is checked on the way: whether each event could follow the one before is the question
    of a whole replay, as `rebuild` makes it.

    Args:
        last_of: sets of types, which may overlap: only the last event of each set is needed. All
            events of other types are.
        evolve: like that of the aggregate, but the event before may be left out.
    """

    last_of: Sequence[frozenset[str]]
    evolve: Evolve[StateT]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate(Generic[StateT]):
    """A kind of stream.

    Args:
        category: what the names of its streams begin with: `account` of `account-<id>`.
        state: a frozen dataclass.
        evolve: a pure function.
        code_version: of `evolve`; snapshots of another one are ignored.
        skim: a shorter way to a state of the past; None when all events are needed.
    """

    category: str
    state: type[StateT]
    evolve: Evolve[StateT]
    code_version: int
    skim: Skim[StateT] | None = None

    def apply(self, state: StateT | None, record: Record) -> StateT:
        """Return the state after `record`; raise `UnknownEvent` or `ValueError`."""
        return self.evolve(
            state,
            event_store().event_of(record),
            version=record.version,
            at=record.occurred_at,
        )

    def fold(self, body: dict[str, Any] | None, record: Record) -> dict[str, Any]:
        """Return the document after `record` from the one before; both are JSON values."""
        before = msgspec.convert(body, self.state) if body is not None else None
        after: dict[str, Any] = msgspec.to_builtins(self.apply(before, record))
        return after


def rebuild(
    aggregate: Aggregate[StateT],
    stream: str,
    *,
    to_version: int | None = None,
    from_snapshot: bool = True,
) -> StateT | None:
    """Return the state of `stream` from its newest usable snapshot and the events behind it.

    Args:
        to_version: the last version to apply; None for all.
        from_snapshot: begin at a snapshot where there is one; otherwise at the first event.

    Returns:
        None when the stream has no events up to there.
    """
    snapshot = None
    if from_snapshot:
        snapshot = event_store().get_latest_snapshot(
            stream, code_version=aggregate.code_version, to_version=to_version
        )
    state = msgspec.convert(snapshot.state, aggregate.state) if snapshot else None
    from_version = snapshot.version + 1 if snapshot else 1
    for version, event, at in _read_stream(stream, from_version, to_version):
        state = aggregate.evolve(state, event, version=version, at=at)
    return state


def _read_stream(
    stream: str, from_version: int, to_version: int | None
) -> Iterator[tuple[int, Event, datetime]]:
    """Yield version, event and instant of what is in a stream, in batches."""
    while to_version is None or from_version <= to_version:
        upto = from_version + STREAM_BATCH_SIZE - 1
        if to_version is not None:
            upto = min(upto, to_version)
        reached = 0
        for _, version, event, at in read_stretches(
            "stream = %s AND version BETWEEN %s AND %s", [stream, from_version, upto]
        ):
            reached = version
            yield version, event, at
        if reached < upto:
            return
        from_version = upto + 1


def read_stretches(
    condition: str, parameters: Sequence[Any]
) -> Iterator[tuple[str, int, Event, datetime]]:
    """Yield stream, version, event and instant of the events that meet a condition, in order.

    Args:
        condition: as for `Table.where`.

    Raises:
        UnknownEvent: the codec does not know an event, or its data does not fit.
    """
    codec = event_store().codec
    for key, stream, version, name, schema_version, data, at in _EVENTS.where(
        f"{condition} ORDER BY stream, version", parameters
    ):
        open_sealed = partial(keyring.unseal, event=key)
        yield stream, version, codec.decode(name, schema_version, data, open_sealed=open_sealed), at


def take_snapshots(
    aggregates: Iterable[Aggregate[Any]], *, every_events: int = SNAPSHOT_EVERY_EVENTS
) -> int:
    """Take a snapshot of each stream at every version that is a multiple of `every_events`.

    Each aggregate has a reader of the log for it, named for the version of its code too: when
    that changes, the log is read once more. A snapshot is only ever of what is committed, and
    readers apply what lies behind it, so an append at the same time does not matter. The log has
    its marks made on the way.

    Returns:
        how many were taken.
    """
    mark_log()
    return sum(_follow(aggregate, every_events) for aggregate in aggregates)


def _follow(aggregate: Aggregate[Any], every_events: int) -> int:
    name = f"snapshots-{aggregate.category}-{aggregate.code_version}-{every_events}"
    lease = leases.acquire(name, owner=leases.new_owner())
    if lease is None:
        return 0
    taken = 0
    try:
        while batch := _read_versions(lease.position):
            for _, stream, version in batch:
                if version % every_events == 0 and category(stream) == aggregate.category:
                    taken += _take_snapshot(aggregate, stream, version)
            lease = leases.advance(lease, batch[-1][0])
    except leases.LeaseLost:
        return taken
    finally:
        leases.release(lease)
    return taken


def _read_versions(after: int) -> list[tuple[int, str, int]]:
    rows = EventRow.objects.filter(position__gt=after).order_by("position")
    found = rows.values_list("position", "stream", "version")[:LOG_BATCH_SIZE]
    return [(position or 0, stream, version) for position, stream, version in found]


def _take_snapshot(aggregate: Aggregate[Any], stream: str, version: int) -> bool:
    try:
        state = rebuild(aggregate, stream, to_version=version)
    except Exception:
        # Nothing hangs on a snapshot, and the other streams shall have theirs.
        logger.warning("%s cannot be rebuilt, so it has no snapshot", stream, exc_info=True)
        return False
    event_store().create_snapshot(
        stream,
        version=version,
        state=msgspec.to_builtins(state),
        code_version=aggregate.code_version,
        now=utc_now(),
    )
    _drop_other_code_versions(stream, aggregate.code_version)
    return True


def _drop_other_code_versions(stream: str, code_version: int) -> None:
    SnapshotRow.objects.filter(stream=stream).exclude(code_version=code_version).delete()
