"""Signed tree heads: what the log was when, in a form that nobody can take back.

A head is the root of the Merkle tree over the first `tree_size` events, whose leaves are the
events' hashes, signed as a checkpoint (`eventstore.notes`). Whoever has kept one notices when any
of these events is changed or cut off later, even by somebody who holds this database.

# Note [One tree]

A log must never sign two heads of which one is not an extension of the other. So one process at a
time signs, holding a lease; before it does, it computes the root of its last head once more, from
the stored nodes and the events behind them; and the new root is made of the same nodes.
"""

import logging
from base64 import b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.db import transaction

from eventstore import leases, notes
from eventstore.clock import utc_now
from eventstore.errors import PlatformError
from eventstore.merkle import (
    TILE_BITS,
    TILE_WIDTH,
    Tree,
    full_root,
    leaf_hash,
    root_from_path,
)
from eventstore.models import Checkpoint, Event, TreeHead, TreeNode
from eventstore.sequencer import NAME as SEQUENCER
from eventstore.store import LogBroken

logger = logging.getLogger(__name__)

NAME = "tree-head"
# Events whose nodes are stored in one transaction: a node of level 2.
EVENTS_A_STEP_MAX = TILE_WIDTH * TILE_WIDTH


class TreeHeadNotFound(PlatformError):
    """Nothing was signed yet."""

    code = "tree_head_not_found"


class NotYetInTree(PlatformError):
    """The event is newer than the newest signed tree head."""

    code = "not_yet_in_tree"
    retryable = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """That an event is in the tree of a signed head.

    Args:
        index: of the event's leaf, from 0: its position less one.
        leaf: the hash of the leaf.
        path: the hashes beside the way up to the root, from the leaf on (RFC 9162, 2.1.3).
    """

    index: int
    leaf: bytes
    path: tuple[bytes, ...]
    head: TreeHead


def newest() -> TreeHead | None:
    """Return the newest signed head; None without one."""
    return TreeHead.objects.order_by("-tree_size").first()


def newest_or_first() -> TreeHead:
    """Return the newest signed head, made now where there is none yet.

    Raises:
        TreeHeadNotFound: there are no events that could be signed for.
        LogBroken: the log is not what was signed for.
    """
    head = newest() or sign() or newest()
    if head is None:
        raise TreeHeadNotFound("Nothing was signed yet, as the log has no events.")
    return head


def prove(event: UUID) -> Proof | None:
    """Return the proof that an event is in the tree of the newest head; None without the event.

    Raises:
        NotYetInTree: that head does not cover it.
        LogBroken: the stored nodes prove nothing, so something has changed them.
    """
    found = Event.objects.filter(id=event).values_list("position", "hash").first()
    if found is None:
        return None
    position, hash_ = found
    head = newest()
    if position is None or hash_ is None or head is None or head.tree_size < position:
        raise NotYetInTree("The newest tree head does not cover this event; ask again soon.")
    index, leaf = position - 1, leaf_hash(bytes(hash_))
    path = Tree(head.tree_size, read_tile).path(index)
    root = root_from_path(leaf, index=index, size=head.tree_size, path=path)
    if root != bytes(head.root_hash):
        raise LogBroken(f"The event at position {position} cannot be proved: run verify_events.")
    return Proof(index=index, leaf=leaf, path=tuple(path), head=head)


def sign(*, owner: str | None = None, now: Callable[[], datetime] = utc_now) -> TreeHead | None:
    """Sign for all events that have a position; None when nothing is new or another one does it.

    Args:
        owner: of the lease; a fresh name by default.

    Raises:
        LogBroken: the log is not an extension of what was signed last, or not whole. Nothing was
            signed; operators see why beside the checkpoint `tree-head`.
    """
    last = newest()
    if _placed() == (last.tree_size if last else 0):
        return None
    lease = leases.acquire(NAME, owner=owner or leases.new_owner())
    if lease is None:
        return None
    error = ""
    try:
        _check_follows(newest())
        placed = _placed()
        while lease.position < placed:
            lease = _store_nodes(lease, placed)
        return _sign(lease, placed, now())
    except leases.LeaseLost:
        logger.warning("the lease on signing tree heads was taken over")
        return None
    except Exception as cause:
        error = f"{type(cause).__name__}: {cause}"
        raise
    finally:
        leases.release(lease, error=error)


def _placed() -> int:
    """Return how many events have a position."""
    rows = Checkpoint.objects.filter(name=SEQUENCER).values_list("position", flat=True)
    return rows.first() or 0


def _check_follows(last: TreeHead | None) -> None:
    """Raise `LogBroken` unless the log still begins with what `last` was signed for."""
    if last is None:
        return
    fault = signature_fault(last)
    if fault is None and _placed() < last.tree_size:
        fault = f"covers more than the {_placed()} events of the log"
    if fault is None and Tree(last.tree_size, read_tile).root() != bytes(last.root_hash):
        fault = "is not what the events make"
    if fault is not None:
        raise LogBroken(f"The tree head of {last.tree_size} events {fault}: run verify_events.")


def _store_nodes(lease: leases.Lease, placed: int) -> leases.Lease:
    """Store the nodes that are full, of up to 65,536 events; return the lease behind them."""
    end = min(placed, (lease.position // EVENTS_A_STEP_MAX + 1) * EVENTS_A_STEP_MAX)
    with transaction.atomic():
        leases.renew(lease)
        level = 1
        while end >> (TILE_BITS * level):
            span = range(lease.position >> (TILE_BITS * level), end >> (TILE_BITS * level))
            nodes = [
                TreeNode(
                    level=level,
                    index=index,
                    hash=full_root(read_tile(level - 1, index, TILE_WIDTH)),
                )
                for index in span
            ]
            # A node never changes; those that are there stay, should the checkpoint have been
            # put back.
            TreeNode.objects.bulk_create(nodes, ignore_conflicts=True)
            level += 1
        return leases.advance(lease, end)


def _sign(lease: leases.Lease, placed: int, now: datetime) -> TreeHead | None:
    key = Ed25519PrivateKey.from_private_bytes(b64decode(settings.EVENTSTORE_TREE_HEAD_KEY))
    public_key, origin = notes.public_bytes(key), settings.EVENTSTORE_LOG_ORIGIN
    with transaction.atomic():
        # The fence: who was paused past its lease signs nothing.
        leases.renew(lease)
        last = newest()
        if last is not None and last.tree_size >= placed:
            return None
        root = Tree(placed, read_tile).root()
        checkpoint = notes.Checkpoint(origin=origin, tree_size=placed, root_hash=root)
        return TreeHead.objects.create(
            tree_size=placed,
            root_hash=root,
            signed_at=now,
            key_id=notes.key_id(origin, public_key).hex(),
            public_key=public_key,
            note=notes.sign(checkpoint, key),
        )


def read_tile(level: int, tile: int, count: int) -> Sequence[bytes]:
    """Return the first `count` hashes of a tile: see Note [Tiles] in `eventstore.merkle`.

    Raises:
        LogBroken: one of them is not there.
    """
    first = tile * TILE_WIDTH
    if level == 0:
        events = Event.objects.filter(position__gt=first, position__lte=first + count)
        found = list(events.order_by("position").values_list("hash", flat=True))
        hashes = [leaf_hash(bytes(each)) for each in found if each is not None]
    else:
        nodes = TreeNode.objects.filter(level=level, index__gte=first, index__lt=first + count)
        stored = nodes.order_by("index").values_list("hash", flat=True)
        hashes = [bytes(each) for each in stored]
    if len(hashes) != count:
        place = f"level {level} from {first}" if level else f"positions from {first + 1}"
        raise LogBroken(f"The tree lacks hashes of {place}: run verify_events.")
    return hashes


def trusted_keys() -> set[bytes]:
    """Return the public keys that may have signed a head: the present one, and former ones."""
    seed = b64decode(settings.EVENTSTORE_TREE_HEAD_KEY)
    former = getattr(settings, "EVENTSTORE_FORMER_TREE_HEAD_KEYS", ())
    present = notes.public_bytes(Ed25519PrivateKey.from_private_bytes(seed))
    return {present, *map(b64decode, former)}


def signature_fault(head: TreeHead) -> str | None:
    """Return what is wrong with the signature of `head`, or with what it was signed for."""
    public_key = bytes(head.public_key)
    if public_key not in trusted_keys():
        return f"is signed with the key {head.key_id}, which is not one of this log"
    origin = head.note.partition("\n")[0]
    try:
        signed = notes.read(head.note, origin=origin, public_key=public_key)
    except notes.InvalidNote as error:
        return f"has a note that does not hold: {error}"
    if (signed.tree_size, signed.root_hash) != (head.tree_size, bytes(head.root_hash)):
        return "is not what its note says"
    if head.key_id != notes.key_id(origin, public_key).hex():
        return "names a key that has not signed it"
    return None
