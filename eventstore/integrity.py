"""Prove that the log is whole.

The log is a hash chain in global order: each event's hash covers the hash before it and its own
canonical bytes. Changing, removing or inserting anything behind the system's back breaks the
chain at that event. Everything is read in batches, of which one at a time is in memory.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from django.db.models import Count, F, Max

from eventstore.models import Checkpoint, Event
from eventstore.records import GENESIS_HASH, Record, chain_hash
from eventstore.rows import to_record
from eventstore.sequencer import NAME as SEQUENCER
from eventstore.store import event_store

BATCH_SIZE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The first thing found broken: where it is, and what is wrong with it."""

    subject: str
    detail: str


def log_faults() -> Iterator[Fault]:
    """Walk the whole chain; yield at most one fault, since all behind it would follow from it."""
    given_out = _head()
    previous_hash, position = GENESIS_HASH, 0
    while batch := event_store().read_log(after=position, limit=BATCH_SIZE):
        for record in batch:
            fault = chain_fault(record, position + 1, previous_hash)
            if fault is not None:
                yield fault
                return
            previous_hash, position = record.hash or b"", record.place
    if position < given_out:
        yield Fault(
            subject=f"position {position + 1}",
            detail=f"the log ends here, but {given_out} positions were given out",
        )
    # Read behind the events, in whose transaction the sequencer moves it.
    given_out = _head()
    if position > given_out:
        yield Fault(
            subject=f"position {position}",
            detail=f"has an event, but only {given_out} positions were given out",
        )


def _head() -> int:
    """Return how many positions the sequencer has given out."""
    rows = Checkpoint.objects.filter(name=SEQUENCER).values_list("position", flat=True)
    return rows.first() or 0


def chain_fault(record: Record, expected: int, previous_hash: bytes) -> Fault | None:
    """Return what is wrong with `record`, given the hash of the event before it; None if nothing.

    Args:
        expected: the position that it should have.
    """
    name = f"event {record.id} (position {record.position}, {record.stream} v{record.version})"
    if record.position != expected:
        return Fault(subject=f"position {expected}", detail=f"is missing; next is {name}")
    if chain_hash(previous_hash, record) != record.hash:
        return Fault(subject=name, detail="its hash does not match what it says")
    return None


def event_faults(*, positions: Collection[int]) -> Iterator[Fault]:
    """Check the events at `positions`, each onto the one before it; yield their faults in order.

    This shows that an event is as its predecessor's hash and its own say. That the chain up to
    there is whole, only `log_faults` shows.
    """
    needed = {*positions, *(position - 1 for position in positions)}
    records = {row.position: to_record(row) for row in Event.objects.filter(position__in=needed)}
    for position in sorted(positions):
        record, before = records.get(position), records.get(position - 1)
        if record is None or (before is None and position > 1):
            missing = position if record is None else position - 1
            yield Fault(subject=f"position {missing}", detail="is missing")
            continue
        previous_hash = (before.hash or b"") if before else GENESIS_HASH
        fault = chain_fault(record, position, previous_hash)
        if fault is not None:
            yield fault


def stream_faults(*, stream: str | None = None) -> Iterator[Fault]:
    """Yield a fault for each stream whose versions are not dense from 1."""
    rows = Event.objects.all() if stream is None else Event.objects.filter(stream=stream)
    # Versions are unique and at least 1, so they are dense when the highest is their number.
    broken = (
        rows.values_list("stream")
        .annotate(count=Count("row"), newest=Max("version"))
        .exclude(newest=F("count"))
        .order_by("stream")
    )
    after = ""
    while found := list(broken.filter(stream__gt=after)[:BATCH_SIZE]):
        for name, _, _ in found:
            yield from _first_gap(name)
        after = found[-1][0]


def _first_gap(stream: str) -> Iterator[Fault]:
    for expected, record in enumerate(event_store().get_events(stream), start=1):
        if record.version != expected:
            subject = f"{stream} v{expected}"
            yield Fault(subject=subject, detail=f"is missing; next is v{record.version}")
            return
