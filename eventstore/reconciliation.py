"""Compare the stores that follow the log with it, and mend them.

A store is compared as far as its lane has come; what the lane writes meanwhile is neither missed
nor taken for a fault. Everything is read in batches, of which one at a time is in memory.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from django.db.models import Max

from eventstore.integrity import chain_fault
from eventstore.models import Checkpoint, Event
from eventstore.queries import newest_version
from eventstore.records import GENESIS_HASH, Record
from eventstore.replication import Folds, category, fold_stream
from eventstore.rows import to_record
from eventstore.store import LogBroken
from eventstore.stores import Document, Store

logger = logging.getLogger(__name__)

BATCH_SIZE = 1000

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
        folds: what the documents are made with; see `eventstore.replication`.
        repair: write what is missing, altered or stale again from the log, and remove what is
            not in it. Only what the hash chain proves is ever written: the store may hold the
            only good copy.

    Raises:
        StoreUnavailable: the store is away.
        LogBroken: with `repair`, when the log itself is not what was written.
    """
    checkpoint = Checkpoint.objects.filter(name=store.name).first()
    upto = checkpoint.position if checkpoint else 0
    yield from _event_differences(store, upto=upto, repair=repair)
    yield from _events_beyond_the_log(store, upto=upto, repair=repair)
    yield from _document_differences(store, folds, upto=upto, repair=repair)
    yield from _documents_beyond_the_log(store, folds, repair=repair)


def _event_differences(store: Store, *, upto: int, repair: bool) -> Iterator[Difference]:
    previous_hash = GENESIS_HASH
    for after in range(0, upto, BATCH_SIZE):
        to = min(after + BATCH_SIZE, upto)
        rows = Event.objects.filter(position__gt=after, position__lte=to).order_by("position")
        log = {record.place: record for record in map(to_record, rows)}
        if repair:
            previous_hash = _prove(log, after=after, to=to, previous_hash=previous_hash)
        held = {
            record.place: record
            for record in store.list_events(after=after, limit=to - after)
            if record.place <= to
        }
        found: Mapping[Kind, list[int]] = {
            "missing": sorted(log.keys() - held.keys()),
            "altered": sorted(at for at in log.keys() & held.keys() if log[at] != held[at]),
            "extra": sorted(held.keys() - log.keys()),
        }
        for kind, places in found.items():
            for place in places:
                yield Difference(store=store.name, kind=kind, subject=f"event {place}")
        if repair and (wrong := found["missing"] + found["altered"]):
            store.write_events([log[place] for place in wrong])


def _prove(log: Mapping[int, Record], *, after: int, to: int, previous_hash: bytes) -> bytes:
    """Return the hash at `to`; raise `LogBroken` unless the log behind `after` is whole."""
    for position in range(after + 1, to + 1):
        record = log.get(position)
        fault = chain_fault(record, position, previous_hash) if record else None
        if record is None or fault is not None:
            what = (
                f"{fault.subject}: {fault.detail}" if fault else f"position {position} is missing"
            )
            raise LogBroken(f"The log itself is broken, so nothing is mended from it: {what}.")
        previous_hash = record.hash or b""
    return previous_hash


def _events_beyond_the_log(store: Store, *, upto: int, repair: bool) -> Iterator[Difference]:
    after = upto
    while held := store.list_events(after=after, limit=BATCH_SIZE):
        after = held[-1].place
        places = [record.place for record in held]
        # The log is asked behind the store: what the lane has written meanwhile is in it.
        there = set(Event.objects.filter(position__in=places).values_list("position", flat=True))
        extra = [place for place in places if place not in there]
        for place in extra:
            yield Difference(store=store.name, kind="extra", subject=f"event {place}")
        if repair and extra:
            store.delete_events(extra)


def _document_differences(
    store: Store, folds: Folds, *, upto: int, repair: bool
) -> Iterator[Difference]:
    after = ""
    while versions := _versions_at(upto, after=after):
        after = versions[-1][0]
        expected = {stream: version for stream, version in versions if category(stream) in folds}
        held = store.read_documents(expected)
        for stream, version in expected.items():
            kind = _kind(folds, stream, version, held.get(stream))
            if kind is None:
                continue
            yield Difference(store=store.name, kind=kind, subject=f"document {stream}")
            if repair:
                _mend(store, folds, stream, version, held.get(stream))


def _versions_at(upto: int, *, after: str) -> Sequence[tuple[str, int]]:
    """Return (stream, newest version at the position `upto`), for a batch of streams by name."""
    rows = (
        Event.objects.filter(stream__gt=after, position__lte=upto)
        .values_list("stream")
        .annotate(newest=Max("version"))
        .order_by("stream")
    )
    return list(rows[:BATCH_SIZE])


def _kind(folds: Folds, stream: str, version: int, held: Document | None) -> Kind | None:
    """Return what is wrong with a document, or None; it may be ahead of `version`, and right."""
    if held is None:
        return "missing"
    if held.version < version:
        return "stale"
    if held.version > newest_version(stream):
        return "altered"
    return None if _fold(folds, stream, held.version) == held else "altered"


def _fold(folds: Folds, stream: str, version: int) -> Document | None:
    """Return the document that the log makes; None where this code cannot read the events."""
    try:
        return fold_stream(folds, stream, to_version=version)
    except Exception:
        logger.warning("%s cannot be folded, and so not be compared", stream, exc_info=True)
        return None


def _mend(store: Store, folds: Folds, stream: str, version: int, held: Document | None) -> None:
    invented = held is not None and held.version > newest_version(stream)
    at = max(version, held.version) if held is not None and not invented else version
    document = _fold(folds, stream, at)
    if document is None:
        return
    if invented:
        store.delete_documents([stream])
    store.write_documents([document], repair=True)


def _documents_beyond_the_log(store: Store, folds: Folds, *, repair: bool) -> Iterator[Difference]:
    after = ""
    while held := store.list_documents(after=after, limit=BATCH_SIZE):
        after = held[-1].stream
        streams = [document.stream for document in held]
        begun = set(
            Event.objects.filter(stream__in=streams, version=1).values_list("stream", flat=True)
        )
        extra = [each for each in streams if each not in begun or category(each) not in folds]
        for stream in extra:
            yield Difference(store=store.name, kind="extra", subject=f"document {stream}")
        if repair and extra:
            store.delete_documents(extra)
