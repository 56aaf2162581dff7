"""Prove that the log is whole.

The log is a hash chain in global order: each event's hash covers the hash before it and its own
canonical bytes. Changing, removing or inserting anything behind the system's back breaks the
chain at that event. Whoever makes all hashes behind it anew has to face the signed tree heads,
whose roots are computed on the same way along the log. Everything is read in batches, of which
one at a time is in memory.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from django.db.models import Count, F, Max

from eventstore.merkle import TILE_BITS, Frontier, leaf_hash
from eventstore.models import Checkpoint, Event, TreeHead, TreeNode
from eventstore.records import GENESIS_HASH, Record, chain_hash
from eventstore.rows import records_where, to_record
from eventstore.sequencer import NAME as SEQUENCER
from eventstore.store import event_store
from eventstore.tree_heads import newest, signature_fault

BATCH_SIZE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The first thing found broken: where it is, and what is wrong with it."""

    subject: str
    detail: str


def log_faults(*, on_progress: Callable[[int], None] = lambda _: None) -> Iterator[Fault]:
    """Walk the whole log; yield at most one fault, since all behind it would follow from it.

    Args:
        on_progress: told now and then how many events were checked.
    """
    given_out, signed = _head(), _newest_tree_size()
    previous_hash, position, tree = GENESIS_HASH, 0, _Tree(signed=signed)
    while batch := event_store().read_log(after=position, limit=BATCH_SIZE):
        tree.expect(after=position, to=batch[-1].place)
        for record in batch:
            fault = chain_fault(record, position + 1, previous_hash) or tree.fault_with(record)
            if fault is not None:
                yield fault
                return
            previous_hash, position = record.hash or b"", record.place
        on_progress(position)
    if position < given_out:
        yield Fault(
            subject=f"position {position + 1}",
            detail=f"the log ends here, but {given_out} positions were given out",
        )
    elif position < signed:
        # Whoever cuts off the end of the log may put the sequencer back, but has signed for it.
        detail = f"covers more than the {position} events of the log"
        yield Fault(subject=f"the tree head of {signed} events", detail=detail)
    # Read behind the events, in whose transaction the sequencer moves it.
    given_out = _head()
    if position > given_out:
        yield Fault(
            subject=f"position {position}",
            detail=f"has an event, but only {given_out} positions were given out",
        )


@dataclass
class _Tree:
    """The Merkle tree of the log, grown while the log is walked, and what was stored of it.

    Args:
        signed: the size of the newest head when the walk began.
    """

    signed: int
    _frontier: Frontier = field(default_factory=Frontier)
    _heads: dict[int, TreeHead] = field(default_factory=dict)
    _nodes: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def expect(self, *, after: int, to: int) -> None:
        """Read the heads and nodes that end at a position in (after, to]."""
        heads = TreeHead.objects.filter(tree_size__gt=after, tree_size__lte=to)
        self._heads = {head.tree_size: head for head in heads}
        self._nodes = {}
        level = 1
        while to >> (TILE_BITS * level):
            first, end = after >> (TILE_BITS * level), to >> (TILE_BITS * level)
            nodes = TreeNode.objects.filter(level=level, index__gte=first, index__lt=end)
            self._nodes |= {(level, node.index): bytes(node.hash) for node in nodes}
            level += 1

    def fault_with(self, record: Record) -> Fault | None:
        """Add `record`, and return what is wrong with the heads and nodes that end at it."""
        for level, index, hash_ in self._frontier.add(leaf_hash(record.hash or b"")):
            stored = self._nodes.get((level, index))
            is_needed = (index + 1) << (TILE_BITS * level) <= self.signed
            if stored != hash_ and (stored is not None or is_needed):
                detail = "is missing" if stored is None else "is not what the events make"
                return Fault(subject=f"node {index} of level {level} of the tree", detail=detail)
        head = self._heads.get(record.place)
        if head is None:
            return None
        subject = f"the tree head of {head.tree_size} events"
        signature = signature_fault(head)
        if signature is not None:
            return Fault(subject=subject, detail=signature)
        if self._frontier.root() != bytes(head.root_hash):
            return Fault(subject=subject, detail="is not what the events make")
        return None


def _newest_tree_size() -> int:
    """Return how many events the newest tree head covers."""
    head = newest()
    return head.tree_size if head else 0


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


def stream_batches(kind: str) -> Iterator[list[Record]]:
    """Yield all events of the streams of one category, stream by stream, in batches.

    Each batch is read along the unique index on stream and version.

    Args:
        kind: what the names of the streams begin with: `account` of `account-<id>`.
    """
    # A period is the character behind a hyphen: no name of this category reaches it.
    stream, version, end = f"{kind}-", 0, f"{kind}."
    while True:
        # Two statements, since MySQL walks all of the index to compare two columns at once.
        found = records_where(
            "stream = %s AND version > %s ORDER BY version LIMIT %s", [stream, version, BATCH_SIZE]
        )
        if len(found) < BATCH_SIZE:
            found += records_where(
                "stream > %s AND stream < %s ORDER BY stream, version LIMIT %s",
                [stream, end, BATCH_SIZE - len(found)],
            )
        if not found:
            return
        yield found
        stream, version = found[-1].stream, found[-1].version


def begun(streams: Collection[str]) -> set[str]:
    """Return those of `streams` that have a first event."""
    rows = Event.objects.filter(stream__in=streams, version=1)
    return set(rows.values_list("stream", flat=True))
