"""Whatever is changed behind the system's back is found, and named."""

from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db.models import F
from pytest_django.fixtures import Settings

from eventstore import integrity, tree_heads
from eventstore.integrity import Fault, event_faults, log_faults, stream_batches, stream_faults
from eventstore.messages import Metadata
from eventstore.models import Checkpoint, TreeHead, TreeNode
from eventstore.models import Event as EventRow
from eventstore.records import GENESIS_HASH, chain_hash
from eventstore.rows import to_record
from eventstore.sequencer import NAME, sequence
from eventstore.store import event_store
from tests.eventstore.product import CounterOpened, CounterRaised
from tests.eventstore.tools import write, write_log

pytestmark = pytest.mark.django_db

STREAMS = ["counter-a", "counter-b", "counter-a", "counter-b", "counter-a"]
ATTACKED = 3


@pytest.fixture(autouse=True)
def _log() -> None:
    """Five events, each with all that an event can have."""
    versions: dict[str, int] = {}
    for number, stream in enumerate(STREAMS):
        version = versions.get(stream, 0)
        versions[stream] = event_store().save_events(
            stream,
            [CounterRaised(by=number, note="é") if version else CounterOpened(label=stream)],
            expected_version=version,
            metadata=Metadata(
                actor="actor", correlation_id="operation", causation_id="cause", request_id="r-1"
            ),
        )
    sequence()


def attack(**changes: Any) -> EventRow:
    """Change columns of the event at position 3; return it as it was."""
    before = EventRow.objects.get(position=ATTACKED)
    EventRow.objects.filter(position=ATTACKED).update(**changes)
    return before


def only_fault() -> Fault:
    (fault,) = log_faults()
    return fault


def test_a_log_that_nobody_touched_is_whole() -> None:
    assert list(log_faults()) == []
    assert list(stream_faults()) == []


def test_an_empty_log_is_whole() -> None:
    EventRow.objects.all().delete()
    Checkpoint.objects.all().delete()
    assert list(log_faults()) == []
    assert list(stream_faults()) == []


# One way, as small as it can be, to change each column but the position, which has its own tests.
CHANGES: dict[str, Callable[[EventRow], Any]] = {
    "id": lambda row: UUID(int=row.id.int ^ 1),
    "stream": lambda _: "counter-A",
    "version": lambda row: row.version + 100,
    "type": lambda _: "CounterRaisee",
    "schema_version": lambda _: 2,
    "data": lambda row: row.data.replace('"by":2', '"by":3'),
    "actor": lambda _: "actos",
    "correlation_id": lambda _: "operatioo",
    "causation_id": lambda _: None,
    "request_id": lambda _: "",
    "occurred_at": lambda row: row.occurred_at + timedelta(microseconds=1),
    "hash": lambda row: bytes.fromhex(
        row.hash_hex[:-1] + ("0" if row.hash_hex[-1] != "0" else "1")
    ),
}


def test_every_column_is_attacked_below() -> None:
    columns = {field.name for field in EventRow._meta.concrete_fields}
    # The order of insertion says nothing that anybody relies on once positions are given.
    assert columns - {"row", "position"} == CHANGES.keys()


@pytest.mark.parametrize("column", CHANGES)
def test_one_changed_byte_is_found_and_the_event_named(column: str) -> None:
    row = EventRow.objects.get(position=ATTACKED)
    changed = CHANGES[column](row)
    assert changed != getattr(row, column)
    attack(**{column: changed})
    fault = only_fault()
    assert fault.detail == "its hash does not match what it says"
    named = changed if column == "id" else row.id
    assert fault.subject.startswith(f"event {named} (position {ATTACKED}, ")


@pytest.mark.parametrize("position", range(len('{"at":null,"by":2,"note":"é"}')))
def test_every_byte_of_the_data_counts(position: int) -> None:
    row = EventRow.objects.get(position=ATTACKED)
    text = row.data
    other = "0" if text[position] != "0" else "1"
    attack(data=text[:position] + other + text[position + 1 :])
    assert str(row.id) in only_fault().subject


def test_a_hash_made_anew_moves_the_fault_to_the_next_event() -> None:
    attack(actor="somebody else")
    row = event_store().read_at(ATTACKED)
    before = event_store().read_at(ATTACKED - 1)
    forged = row.chained(position=ATTACKED, previous_hash=before.hash or b"")
    attack(hash=forged.hash)
    assert f"(position {ATTACKED + 1}, " in only_fault().subject


def test_a_removed_event_is_missed() -> None:
    EventRow.objects.filter(position=ATTACKED).delete()
    fault = only_fault()
    assert fault.subject == f"position {ATTACKED}"
    assert fault.detail.startswith("is missing; next is event ")


def test_a_removed_first_event_is_missed() -> None:
    EventRow.objects.filter(position=1).delete()
    assert only_fault().subject == "position 1"


@pytest.mark.parametrize("kept", [4, 2, 0])
def test_a_tail_that_was_cut_off_is_missed(kept: int) -> None:
    EventRow.objects.filter(position__gt=kept).delete()
    assert only_fault() == Fault(
        subject=f"position {kept + 1}",
        detail="the log ends here, but 5 positions were given out",
    )


def test_an_event_that_lost_its_position_is_missed() -> None:
    attack(position=None)
    assert only_fault().subject == f"position {ATTACKED}"
    # The sequencer places it anew, which does not heal the hole.
    sequence()
    assert only_fault().subject == f"position {ATTACKED}"


def test_swapped_events_are_found() -> None:
    EventRow.objects.filter(position=2).update(position=99)
    EventRow.objects.filter(position=ATTACKED).update(position=2)
    EventRow.objects.filter(position=99).update(position=ATTACKED)
    assert "(position 2, " in only_fault().subject


def test_a_moved_event_leaves_a_hole() -> None:
    attack(position=99)
    assert only_fault().subject == f"position {ATTACKED}"


def test_an_inserted_event_is_found() -> None:
    row = EventRow.objects.get(position=5)
    row.pk, row.id, row.position, row.version = None, UUID(int=7), 6, 4
    row.save(force_insert=True)
    assert str(UUID(int=7)) in only_fault().subject


def test_a_checkpoint_that_was_put_back_is_found() -> None:
    Checkpoint.objects.filter(name=NAME).update(position=F("position") - 2)
    fault = only_fault()
    assert fault.subject == "position 5"
    assert fault.detail == "has an event, but only 3 positions were given out"


def rechain() -> None:
    """Make all hashes anew, as whoever holds the database could."""
    previous = GENESIS_HASH
    for row in EventRow.objects.order_by("position"):
        record = to_record(row)
        previous = chain_hash(previous, record)
        EventRow.objects.filter(pk=row.pk).update(hash=previous)


def test_a_log_whose_hashes_were_all_made_anew_is_not_what_was_signed() -> None:
    tree_heads.sign()
    assert list(log_faults()) == []
    attack(actor="somebody else")
    rechain()
    assert only_fault() == Fault(
        subject="the tree head of 5 events", detail="is not what the events make"
    )


@pytest.mark.parametrize("kept", [4, 2, 0])
def test_a_tail_that_was_cut_off_is_missed_when_the_sequencer_was_put_back(kept: int) -> None:
    tree_heads.sign()
    EventRow.objects.filter(position__gt=kept).delete()
    Checkpoint.objects.filter(name=NAME).update(position=kept)
    assert only_fault() == Fault(
        subject="the tree head of 5 events", detail=f"covers more than the {kept} events of the log"
    )


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"root_hash": bytes(32)}, "is not what its note says"),
        ({"note": "a note\n"}, "has a note that does not hold: this is no signed note"),
        ({"key_id": "00000000"}, "names a key that has not signed it"),
    ],
)
def test_every_tree_head_is_checked(changes: dict[str, Any], detail: str) -> None:
    tree_heads.sign()
    write_log("counter-a")
    tree_heads.sign()
    TreeHead.objects.filter(tree_size=5).update(**changes)
    assert only_fault() == Fault(subject="the tree head of 5 events", detail=detail)


def test_a_tree_head_that_was_signed_with_a_foreign_key_is_found(settings: Settings) -> None:
    present = settings.EVENTSTORE_TREE_HEAD_KEY
    settings.EVENTSTORE_TREE_HEAD_KEY = b64encode(bytes(32)).decode()
    tree_heads.sign()
    assert list(log_faults()) == []
    settings.EVENTSTORE_TREE_HEAD_KEY = present
    assert only_fault().detail.endswith("which is not one of this log")


@pytest.mark.parametrize("batch", [1, 100, 256, 1000])
def test_stored_nodes_are_checked(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(integrity, "BATCH_SIZE", batch)
    event_store().save_events("counter-n", [CounterRaised()] * 600, expected_version=0)
    sequence()
    tree_heads.sign()
    assert list(log_faults()) == []
    TreeNode.objects.filter(index=1).update(hash=bytes(32))
    assert only_fault() == Fault(
        subject="node 1 of level 1 of the tree", detail="is not what the events make"
    )
    TreeNode.objects.filter(index=1).delete()
    assert only_fault() == Fault(subject="node 1 of level 1 of the tree", detail="is missing")


def test_all_events_are_read_stream_by_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    write_log("other-z", "count-a", "counters-b", "counter-b", "counter-b")
    wanted = [("counter-a", each) for each in (1, 2, 3)]
    wanted += [("counter-b", each) for each in (1, 2, 3, 4)]
    for batch in range(1, 9):
        monkeypatch.setattr(integrity, "BATCH_SIZE", batch)
        batches = list(stream_batches("counter"))
        assert all(1 <= len(each) <= batch for each in batches)
        found = [(record.stream, record.version) for each in batches for record in each]
        assert found == wanted


def test_a_long_log_is_walked_in_batches(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(integrity, "BATCH_SIZE", 2)
    # The sequencer before and behind, the newest head, three batches that have events, each with
    # its heads, and one that has none.
    with django_assert_num_queries(10):
        assert list(log_faults()) == []
    attack(actor="x")
    assert f"(position {ATTACKED}, " in only_fault().subject


def test_events_that_are_placed_meanwhile_are_no_fault() -> None:
    faults = log_faults()
    write("counter-c", 3)
    sequence()
    assert list(faults) == []


def test_single_events_are_checked_onto_the_ones_before_them() -> None:
    attack(actor="x")
    assert list(event_faults(positions=[1, 2, 5])) == []
    assert [f"(position {ATTACKED}, " in each.subject for each in event_faults(positions=[3, 4])]
    EventRow.objects.filter(position=4).delete()
    faults = list(event_faults(positions=[4, 5]))
    assert [fault.subject for fault in faults] == ["position 4", "position 4"]


def test_a_hole_in_a_stream_is_found_and_named() -> None:
    EventRow.objects.filter(stream="counter-a", version=2).delete()
    assert list(stream_faults()) == [Fault(subject="counter-a v2", detail="is missing; next is v3")]
    assert list(stream_faults(stream="counter-a")) == list(stream_faults())
    assert list(stream_faults(stream="counter-b")) == []


def test_whole_streams_are_not_read_one_by_one(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        assert list(stream_faults()) == []


def test_a_stream_without_its_beginning_is_found() -> None:
    EventRow.objects.filter(stream="counter-b", version=1).delete()
    assert [fault.subject for fault in stream_faults()] == ["counter-b v1"]


def test_holes_of_more_streams_than_a_batch_are_all_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integrity, "BATCH_SIZE", 2)
    write_log(*[f"counter-{name}" for name in "cdefg" * 3])
    EventRow.objects.filter(version=2).delete()
    assert [fault.subject for fault in stream_faults()] == [
        f"counter-{name} v2" for name in "acdefg"
    ]
