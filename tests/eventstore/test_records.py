"""The bytes of an event that are hashed, before and after a database has had them."""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventstore.codec import canonical_json
from eventstore.messages import Metadata
from eventstore.models import Event as EventRow
from eventstore.records import GENESIS_HASH, Record, chain_hash
from eventstore.sequencer import sequence
from eventstore.store import event_store
from tests.eventstore.product import CODEC, CounterOpened, CounterRaised
from tests.eventstore.test_codec import json_values, texts
from tests.eventstore.tools import write_log

RECORD = Record(
    id=UUID("01890a5d-ac96-774b-bcce-b302099a8057"),
    position=7,
    stream="counter-ä",
    version=2,
    type="CounterRaised",
    schema_version=1,
    data='{"at":null,"by":3,"note":"\u2028"}',
    metadata=Metadata(actor="x", request_id='"'),
    occurred_at=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    hash=None,
)


def test_the_canonical_bytes_are_the_canonical_json_of_everything_but_the_hash() -> None:
    text = RECORD.canonical_bytes().decode()
    members = json.loads(text)
    assert members == {
        "data": {"at": None, "by": 3, "note": "\u2028"},
        "id": "01890a5d-ac96-774b-bcce-b302099a8057",
        "metadata": {
            "actor": "x",
            "causation_id": None,
            "correlation_id": None,
            "request_id": '"',
        },
        "occurred_at": "2026-01-02T03:04:05.000006Z",
        "position": 7,
        "schema_version": 1,
        "stream": "counter-ä",
        "type": "CounterRaised",
        "version": 2,
    }
    assert text == json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@given(
    stream=texts,
    event_type=texts,
    about=st.lists(st.none() | texts, min_size=4, max_size=4),
    data=json_values,
    position=st.none() | st.integers(1, 2**63 - 1),
    at=st.datetimes(timezones=st.just(UTC)),
)
def test_canonical_bytes_put_together_by_hand_are_those_of_the_canonical_json(
    stream: str,
    event_type: str,
    about: list[str | None],
    data: Any,
    position: int | None,
    at: datetime,
) -> None:
    metadata = Metadata(
        actor=about[0], correlation_id=about[1], causation_id=about[2], request_id=about[3]
    )
    record = replace(
        RECORD,
        stream=stream,
        type=event_type,
        metadata=metadata,
        data=canonical_json(data),
        position=position,
        occurred_at=at,
    )
    whole = {
        "data": data,
        "id": str(record.id),
        "metadata": asdict(metadata),
        "occurred_at": at,
        "position": position,
        "schema_version": 1,
        "stream": stream,
        "type": event_type,
        "version": 2,
    }
    assert record.canonical_bytes() == canonical_json(whole).encode()


def test_a_hash_is_that_of_the_hash_before_and_the_canonical_bytes() -> None:
    first = RECORD.chained(position=1, previous_hash=GENESIS_HASH)
    assert first.position == 1
    assert first.hash == sha256(bytes(32) + first.canonical_bytes()).digest()
    second = RECORD.chained(position=2, previous_hash=first.hash)
    assert second.hash == chain_hash(first.hash, second) != first.hash


@pytest.mark.django_db
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    label=texts,
    extra=st.dictionaries(texts, json_values, max_size=3),
    at=st.datetimes(min_value=datetime(1971, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_a_database_gives_back_the_bytes_that_were_hashed(
    label: str, extra: dict[str, Any], at: datetime
) -> None:
    EventRow.objects.all().delete()
    event = CounterOpened(label=label, extra=extra)
    event_store().save_events("counter-a", [event], expected_version=0, now=lambda: at)
    (row,) = event_store().get_events("counter-a")
    assert event_store().event_of(row) == event
    assert row.occurred_at == at
    assert row.data == CODEC.encode(event).data
    placed = row.chained(position=1, previous_hash=GENESIS_HASH)
    EventRow.objects.filter(id=row.id).update(position=1, hash=placed.hash)
    (read,) = event_store().read_log()
    assert read == placed
    assert chain_hash(GENESIS_HASH, read) == read.hash


@pytest.mark.django_db
@pytest.mark.parametrize("edge", [2**63 - 1, -(2**63)])
def test_a_number_at_the_64_bit_edge_survives_the_database(edge: int) -> None:
    event_store().save_events(
        "counter-a", [CounterOpened(), CounterRaised(by=edge)], expected_version=0
    )
    sequence()
    record = event_store().read_at(2)
    assert event_store().event_of(record) == CounterRaised(by=edge)
    assert chain_hash(event_store().read_at(1).hash or b"", record) == record.hash


@pytest.mark.django_db
def test_microseconds_are_kept_from_the_clock_to_the_hash() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 999_999, tzinfo=UTC)
    event_store().save_events(
        "counter-a", [CounterRaised(at=at)], expected_version=0, now=lambda: at
    )
    sequence()
    record = event_store().read_at(1)
    assert record.occurred_at == at
    assert b'"occurred_at":"2026-01-02T03:04:05.999999Z"' in record.canonical_bytes()
    assert b'"at":"2026-01-02T03:04:05.999999Z"' in record.canonical_bytes()


@pytest.mark.django_db
def test_the_first_event_is_chained_onto_nothing_and_each_other_onto_the_one_before() -> None:
    previous_hash = GENESIS_HASH
    for record in write_log("counter-a", "counter-b", "counter-a"):
        assert record.hash == chain_hash(previous_hash, record)
        previous_hash = record.hash
