"""Tree heads are signed one after the other, each an extension of the one before, or not at all."""

import math
from base64 import b64encode
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytest_django.fixtures import Settings
from uuid_utils.compat import uuid7

from eventstore import leases, notes, sequencer, tree_heads
from eventstore.clock import utc_now
from eventstore.merkle import leaf_hash, root_from_path
from eventstore.models import Checkpoint, Event, TreeHead, TreeNode
from eventstore.store import LogBroken
from eventstore.tree_heads import NAME, NotYetInTree, TreeHeadNotFound
from tests.eventstore.test_merkle import naive_path, naive_root
from tests.eventstore.tools import expire_lease, write, write_log

pytestmark = pytest.mark.django_db

OLD_SEED, NEW_SEED = bytes(range(32)), bytes(range(1, 33))


def public_key(seed: bytes) -> bytes:
    return notes.public_bytes(Ed25519PrivateKey.from_private_bytes(seed))


@pytest.fixture(autouse=True)
def _key(settings: Settings) -> None:
    settings.EVENTSTORE_TREE_HEAD_KEY = b64encode(OLD_SEED).decode()
    settings.EVENTSTORE_LOG_ORIGIN = "counters.example/log"


def grow(to: int) -> list[bytes]:
    """Let the log have `to` events, of which only the hash is needed here; return all hashes."""
    there = Event.objects.count()
    now = utc_now()
    Event.objects.bulk_create(
        Event(
            id=uuid7(),
            position=number,
            stream=f"counter-{number}",
            version=1,
            type="CounterOpened",
            schema_version=1,
            data="{}",
            occurred_at=now,
            hash=sha256(number.to_bytes(8)).digest(),
        )
        for number in range(there + 1, to + 1)
    )
    Checkpoint.objects.update_or_create(name=sequencer.NAME, defaults={"position": to})
    return [leaf_hash(sha256(number.to_bytes(8)).digest()) for number in range(1, to + 1)]


def signed() -> TreeHead:
    head = tree_heads.sign()
    assert head is not None
    return head


def last_error() -> str:
    return Checkpoint.objects.get(name=NAME).last_error


def sizes() -> list[int]:
    return list(TreeHead.objects.order_by("tree_size").values_list("tree_size", flat=True))


def test_a_head_is_the_signed_root_of_all_events_that_have_a_position() -> None:
    records = write_log("counter-a", "counter-b", "counter-a")
    write("counter-c")
    head = signed()
    root = naive_root([leaf_hash(record.hash or b"") for record in records])
    assert (head.tree_size, bytes(head.root_hash)) == (3, root)
    assert bytes(head.public_key) == public_key(OLD_SEED)
    assert notes.read(
        head.note, origin="counters.example/log", public_key=public_key(OLD_SEED)
    ) == notes.Checkpoint(origin="counters.example/log", tree_size=3, root_hash=root)
    assert head.key_id == notes.key_id("counters.example/log", public_key(OLD_SEED)).hex()


def test_nothing_is_signed_without_anything_new() -> None:
    assert tree_heads.sign() is None
    with pytest.raises(TreeHeadNotFound):
        tree_heads.newest_or_first()
    write_log("counter-a")
    assert tree_heads.newest_or_first() == tree_heads.newest() == TreeHead.objects.get()
    assert tree_heads.sign() is None
    write_log("counter-a")
    assert tree_heads.newest_or_first().tree_size == 1, "who asks makes only the first one"
    assert signed().tree_size == 2
    assert sizes() == [1, 2]


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 513, 600])
def test_roots_and_paths_from_stored_nodes_are_those_of_the_definition(size: int) -> None:
    grow(max(1, size // 3))
    signed()
    hashes = grow(size)
    head = tree_heads.sign() or tree_heads.newest_or_first()
    assert bytes(head.root_hash) == naive_root(hashes)
    for position in {1, size // 2 + 1, max(1, size - 1), size}:
        proof = tree_heads.prove(Event.objects.get(position=position).id)
        assert proof is not None
        assert list(proof.path) == naive_path(position - 1, hashes)
    assert TreeNode.objects.count() == size // 256


def test_the_nodes_of_the_second_level_are_right_too(django_assert_max_num_queries: Any) -> None:
    size = 256 * 256 + 300
    hashes = grow(size)
    root = naive_root(hashes)
    assert bytes(signed().root_hash) == root
    assert TreeNode.objects.filter(level=2).count() == 1
    assert TreeNode.objects.filter(level=1).count() == size // 256
    for index in (0, 65_535, 65_536, size - 1):
        event = Event.objects.get(position=index + 1)
        # The event, the head, and a tile of each level along two ways down.
        with django_assert_max_num_queries(2 + 2 * 3):
            proof = tree_heads.prove(event.id)
        assert proof is not None
        assert len(proof.path) <= math.ceil(math.log2(size))
        found = root_from_path(proof.leaf, index=proof.index, size=size, path=proof.path)
        assert found == root


def test_an_event_is_proved_once_a_head_covers_it() -> None:
    write_log("counter-a")
    first = Event.objects.get()
    assert tree_heads.prove(uuid7()) is None
    with pytest.raises(NotYetInTree):
        tree_heads.prove(first.id)
    signed()
    assert tree_heads.prove(first.id) is not None
    write("counter-a")
    second = Event.objects.get(version=2)
    with pytest.raises(NotYetInTree):
        tree_heads.prove(second.id)
    sequencer.sequence()
    with pytest.raises(NotYetInTree):
        tree_heads.prove(second.id)
    signed()
    proof = tree_heads.prove(second.id)
    assert proof is not None
    assert (proof.index, proof.head.tree_size) == (1, 2)


def test_a_second_signer_leaves_it_to_the_first() -> None:
    write_log("counter-a")
    lease = leases.acquire(NAME, owner="first")
    assert lease is not None
    assert tree_heads.sign() is None
    leases.release(lease)
    assert signed().tree_size == 1


def test_a_signer_that_was_paused_past_its_lease_signs_nothing() -> None:
    write_log("counter-a")

    def sleep_through() -> datetime:
        expire_lease(NAME)
        assert leases.acquire(NAME, owner="another") is not None
        return utc_now()

    assert tree_heads.sign(now=sleep_through) is None
    assert sizes() == []
    expire_lease(NAME)
    assert signed().tree_size == 1


def test_nodes_that_are_there_when_the_checkpoint_was_put_back_stay() -> None:
    grow(300)
    signed()
    Checkpoint.objects.filter(name=NAME).update(position=0)
    hashes = grow(600)
    assert bytes(signed().root_hash) == naive_root(hashes)
    assert TreeNode.objects.count() == 2


def change_event() -> None:
    Event.objects.filter(position=300).update(hash=bytes(32))


def cut_the_log() -> None:
    Event.objects.filter(position__gt=280).delete()
    Checkpoint.objects.filter(name=sequencer.NAME).update(position=280)


DAMAGE: dict[str, tuple[Callable[[], object], str]] = {
    "an event of the last tile": (change_event, "is not what the events make"),
    "an event of the last tile that is gone": (
        lambda: Event.objects.filter(position=300).delete(),
        "lacks hashes of positions from 257",
    ),
    "a stored node": (
        lambda: TreeNode.objects.update(hash=bytes(32)),
        "is not what the events make",
    ),
    "a lost node": (lambda: TreeNode.objects.all().delete(), "lacks hashes of level 1 from 0"),
    "the end of the log, and the sequencer to match": (
        cut_the_log,
        "covers more than the 280 events of the log",
    ),
    "the root that was signed for": (
        lambda: TreeHead.objects.update(root_hash=bytes(32)),
        "is not what its note says",
    ),
    "the note": (
        lambda: TreeHead.objects.update(note="counters.example/log\n1\n"),
        "has a note that does not hold",
    ),
    "the key": (
        lambda: TreeHead.objects.update(public_key=public_key(NEW_SEED)),
        "which is not one of this log",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_nothing_is_signed_that_is_no_extension_of_the_last_head(damage: str) -> None:
    grow(300)
    signed()
    do, message = DAMAGE[damage]
    do()
    if damage != "the end of the log, and the sequencer to match":
        grow_behind()
    with pytest.raises(LogBroken, match=message):
        tree_heads.sign()
    assert sizes() == [300]
    assert message in last_error(), "operators see why"


def grow_behind() -> None:
    """Add an event behind position 300, whatever was done to those before it."""
    row = Event.objects.get(position=1)
    row.pk, row.id, row.position, row.stream = None, uuid7(), 301, "counter-x"
    row.save(force_insert=True)
    Checkpoint.objects.filter(name=sequencer.NAME).update(position=301)


def test_what_the_nodes_cannot_prove_is_not_shown_as_a_proof() -> None:
    grow(300)
    signed()
    TreeNode.objects.update(hash=bytes(32))
    with pytest.raises(LogBroken, match="cannot be proved"):
        tree_heads.prove(Event.objects.get(position=280).id)


def test_a_hole_in_the_log_is_not_signed_over() -> None:
    grow(10)
    Event.objects.filter(position=5).delete()
    with pytest.raises(LogBroken, match="lacks hashes of positions from 1"):
        tree_heads.sign()
    assert sizes() == []


def test_a_new_key_goes_on_where_the_old_one_was_known(settings: Settings) -> None:
    write_log("counter-a")
    signed()
    settings.EVENTSTORE_TREE_HEAD_KEY = b64encode(NEW_SEED).decode()
    write_log("counter-a")
    with pytest.raises(LogBroken, match="not one of this log"):
        tree_heads.sign()
    settings.EVENTSTORE_FORMER_TREE_HEAD_KEYS = [b64encode(public_key(OLD_SEED)).decode()]
    head = signed()
    assert (head.tree_size, bytes(head.public_key)) == (2, public_key(NEW_SEED))
    assert [tree_heads.signature_fault(each) for each in TreeHead.objects.all()] == [None, None]
