"""Prove that the log is whole, and that the stores agree with it.

The log is a hash chain in global order: each event's hash covers the hash before it and its own
canonical bytes. Changing, removing or inserting anything behind the system's back breaks the
chain at that event. Both checks read in batches and hold one batch in memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from django.db.models import Max

from eventstore.models import Checkpoint, Event
from eventstore.records import GENESIS_HASH, Record, chain_hash
from eventstore.replication import Folds, category, fold_stream
from eventstore.sequencer import NAME as SEQUENCER
from eventstore.store import event_store, to_record
from eventstore.stores import Document, Store

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
            fault = _chain_fault(record, position + 1, previous_hash)
            if fault is not None:
                yield fault
                return
            previous_hash, position = record.hash or b"", record.place
    if position < given_out:
        yield Fault(
            subject=f"position {position + 1}",
            detail=f"the log ends here, but {given_out} positions were given out",
        )


def _head() -> int:
    """Return how many positions the sequencer has given out."""
    rows = Checkpoint.objects.filter(name=SEQUENCER).values_list("position", flat=True)
    return rows.first() or 0


def _chain_fault(record: Record, expected: int, previous_hash: bytes) -> Fault | None:
    name = f"event {record.id} (position {record.position}, {record.stream} v{record.version})"
    if record.position != expected:
        return Fault(subject=f"position {expected}", detail=f"is missing; next is {name}")
    if chain_hash(previous_hash, record) != record.hash:
        return Fault(subject=name, detail="its hash does not match what it says")
    return None


def stream_faults(*, stream: str | None = None) -> Iterator[Fault]:
    """Yield a fault for each stream whose versions are not dense from 1."""
    rows = Event.objects.order_by("stream", "version")
    if stream is not None:
        rows = rows.filter(stream=stream)
    pairs = rows.values_list("stream", "version").iterator(chunk_size=BATCH_SIZE)
    for name, group in groupby(pairs, key=lambda pair: pair[0]):
        for expected, (_, version) in enumerate(group, start=1):
            if version != expected:
                yield Fault(subject=f"{name} v{expected}", detail=f"is missing; next is v{version}")
                break


Kind = Literal["missing", "extra", "altered", "stale"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Something in a store that is not as the log says."""

    store: str
    kind: Kind
    subject: str


def reconcile(store: Store, folds: Folds, *, repair: bool = False) -> Iterator[Difference]:
    """Compare `store` with the log, as far as its lane has come; yield every difference.

    Args:
        repair: write what is missing, altered or stale again from the log, and remove what is
            not in it.

    Raises:
        StoreUnavailable: the store is away.
    """
    checkpoint = Checkpoint.objects.filter(name=store.name).first()
    upto = checkpoint.position if checkpoint else 0
    yield from _event_differences(store, upto=upto, repair=repair)
    yield from _document_differences(store, folds, upto=upto, repair=repair)


def _event_differences(store: Store, *, upto: int, repair: bool) -> Iterator[Difference]:
    after = 0
    while after < upto:
        to = min(after + BATCH_SIZE, upto)
        log = {record.place: record for record in _between(after, to)}
        held = {
            record.place: record
            for record in store.list_events(after=after, limit=to - after)
            if record.place <= to
        }
        missing = sorted(log.keys() - held.keys())
        extra = sorted(held.keys() - log.keys())
        altered = sorted(place for place in log.keys() & held.keys() if log[place] != held[place])
        found: dict[Kind, list[int]] = {"missing": missing, "altered": altered, "extra": extra}
        for kind, places in found.items():
            for place in places:
                yield Difference(store=store.name, kind=kind, subject=f"event {place}")
        if repair and (missing or altered):
            store.write_events([log[place] for place in missing + altered])
        if repair and extra:
            store.delete_events(extra)
        after = to
    yield from _events_beyond_the_log(store, repair=repair)


def _events_beyond_the_log(store: Store, *, repair: bool) -> Iterator[Difference]:
    head = _head()
    while beyond := store.list_events(after=head, limit=BATCH_SIZE):
        for record in beyond:
            yield Difference(store=store.name, kind="extra", subject=f"event {record.place}")
        if repair:
            store.delete_events([record.place for record in beyond])
        head = beyond[-1].place


def _between(after: int, to: int) -> Sequence[Record]:
    rows = Event.objects.filter(position__gt=after, position__lte=to).order_by("position")
    return [to_record(row) for row in rows]


def _document_differences(
    store: Store, folds: Folds, *, upto: int, repair: bool
) -> Iterator[Difference]:
    """Walk the streams of the log and the documents of the store side by side, by name."""
    after = ""
    while True:
        expected = _versions_at(upto, after=after, limit=BATCH_SIZE)
        held = {each.stream: each for each in store.list_documents(after=after, limit=BATCH_SIZE)}
        if not expected and not held:
            return
        # Only names up to the end of the shorter side have been read on both sides.
        ends = [max(side) for side in (expected, held) if len(side) == BATCH_SIZE]
        end = min(ends) if ends else max([*expected, *held])
        for stream in sorted({*expected, *held}):
            if stream > end:
                break
            if category(stream) in folds or stream in held:
                yield from _document_difference(
                    store, folds, stream, expected.get(stream, 0), held.get(stream), repair=repair
                )
        after = end


def _versions_at(upto: int, *, after: str, limit: int) -> dict[str, int]:
    """Return the newest version, at the position `upto`, of streams behind the name `after`."""
    rows = (
        Event.objects.filter(stream__gt=after, position__lte=upto)
        .values_list("stream")
        .annotate(newest=Max("version"))
        .order_by("stream")[:limit]
    )
    return dict(rows)


def _document_difference(
    store: Store,
    folds: Folds,
    stream: str,
    version: int,
    held: Document | None,
    *,
    repair: bool,
) -> Iterator[Difference]:
    newest = Event.objects.filter(stream=stream).count() if held else version
    kind: Kind | None = None
    if held is None:
        kind = "missing"
    elif newest == 0 or category(stream) not in folds:
        kind = "extra"
    elif held.version < version:
        kind = "stale"
    elif held.version > newest or fold_stream(folds, stream, to_version=held.version) != held:
        kind = "altered"
    if kind is None:
        return
    yield Difference(store=store.name, kind=kind, subject=f"document {stream}")
    if repair and kind in {"extra", "altered"}:
        store.delete_documents([stream])
    if repair and kind != "extra":
        at = max(version, min(held.version, newest) if held else 0)
        store.write_documents([fold_stream(folds, stream, to_version=at)], repair=True)
