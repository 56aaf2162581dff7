"""What events tell of a person: sealed for as long as the person is known, blank afterwards."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from hypothesis import given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from eventstore import keyring
from eventstore.codec import Codec
from eventstore.integrity import log_faults
from eventstore.keyring import SubjectForgotten
from eventstore.messages import Event
from eventstore.models import Event as EventRow
from eventstore.models import SubjectKey
from eventstore.sequencer import sequence
from eventstore.store import EventStore

pytestmark = pytest.mark.django_db


@dataclass(frozen=True, slots=True, kw_only=True)
class Met(Event):
    """Somebody was met."""

    place: str
    name: str
    extra: dict[str, Any]


CODEC = Codec(
    events={("Met", 2): Met},
    # Version 1 knew no place, and called the name differently.
    upcasters={
        ("Met", 1): lambda data: {
            "place": "?",
            **({"name": data["who"]} if "who" in data else {}),
            **({"extra": data["extra"]} if "extra" in data else {}),
        }
    },
    personal={Met: {"name": "", "extra": {}}},
)
STORE = EventStore(codec=CODEC)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def met(**members: Any) -> Met:
    return Met(**{"place": "Rome", "name": "", "extra": {}, **members})


def meet(subject: UUID | None, stream: str, **members: Any) -> Event:
    """Record that somebody was met, and return the event as it is read."""
    event = met(**members)
    STORE.save_events(stream, [event], expected_version=0, subject=subject)
    return read(stream)


def read(stream: str) -> Event:
    [record] = STORE.get_events(stream)
    return STORE.event_of(record)


def stored(stream: str) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(EventRow.objects.get(stream=stream).data)
    return row


@contextmanager
def nothing_written() -> Iterator[None]:
    before = (EventRow.objects.count(), SubjectKey.objects.count())
    yield
    assert (EventRow.objects.count(), SubjectKey.objects.count()) == before


def test_what_tells_of_a_person_is_read_but_not_stored() -> None:
    subject = uuid7()
    event = meet(subject, "meeting-1", name="Ada", extra={"note": "lace"})
    assert event == met(place="Rome", name="Ada", extra={"note": "lace"})
    data = stored("meeting-1")
    assert set(data) == {"place", "personal"}
    assert data["personal"]["subject"] == str(subject)
    assert "Ada" not in json.dumps(data)


def test_what_tells_nothing_is_stored_without_a_key() -> None:
    meet(uuid7(), "meeting-1")
    assert stored("meeting-1") == {"extra": {}, "name": "", "place": "Rome"}
    assert not SubjectKey.objects.exists()


def test_what_tells_of_nobody_is_stored_as_it_is() -> None:
    assert meet(None, "meeting-1", name="Rome itself") == met(place="Rome", name="Rome itself")
    assert stored("meeting-1") == {"extra": {}, "name": "Rome itself", "place": "Rome"}


@settings(max_examples=40)
@given(name=texts, extra=st.dictionaries(texts, json_values, max_size=4))
def test_whatever_is_sealed_is_opened_as_it_was(name: str, extra: dict[str, Any]) -> None:
    with transaction.atomic():
        event = meet(uuid7(), "meeting-1", name=name, extra=extra)
        assert event == met(place="Rome", name=name, extra=extra)
        transaction.set_rollback(True)


def test_a_sealed_text_cannot_be_moved_to_another_event() -> None:
    subject, first, second = uuid7(), uuid7(), uuid7()
    key = keyring.writing_keys([subject])[subject]
    sealed = keyring.seal(key, subject=subject, event=first, personal='{"name":"Ada"}')
    assert keyring.unseal(sealed, event=first) == b'{"name":"Ada"}'
    with pytest.raises(ValueError, match="was not sealed there"):
        keyring.unseal(sealed, event=second)


def test_a_sealed_text_cannot_be_given_to_another_person() -> None:
    ada, bob, event = uuid7(), uuid7(), uuid7()
    keys = keyring.writing_keys([ada, bob])
    sealed = keyring.seal(keys[ada], subject=ada, event=event, personal="{}")
    with pytest.raises(ValueError, match="was not sealed there"):
        keyring.unseal({**sealed, "subject": str(bob)}, event=event)


def test_a_sealed_text_that_was_changed_is_noticed() -> None:
    subject, event = uuid7(), uuid7()
    key = keyring.writing_keys([subject])[subject]
    sealed = keyring.seal(key, subject=subject, event=event, personal="{}")
    other = keyring.seal(key, subject=subject, event=event, personal="{}")
    # The same text twice is not the same bytes: nobody can tell that two texts are one.
    assert sealed["sealed"] != other["sealed"]
    mixed = sealed["sealed"][:16] + other["sealed"][16:]
    with pytest.raises(ValueError, match="was not sealed there"):
        keyring.unseal({**sealed, "sealed": mixed}, event=event)


def test_a_person_has_one_key_and_each_person_another_one() -> None:
    ada, bob = uuid7(), uuid7()
    first = keyring.writing_keys([ada])
    again = keyring.writing_keys([ada, bob, ada])
    assert again[ada] == first[ada] != again[bob]
    assert {len(key) for key in again.values()} == {keyring.KEY_BYTES}


def test_a_forgotten_person_reads_blank_and_the_hashes_stay() -> None:
    ada, bob = uuid7(), uuid7()
    meet(ada, "meeting-1", name="Ada", extra={"a": 1})
    meet(bob, "meeting-2", name="Bob")
    sequence()
    before = list(EventRow.objects.order_by("position").values())
    keyring.forget(ada)
    assert read("meeting-1") == met(place="Rome")
    assert read("meeting-2") == met(place="Rome", name="Bob")
    assert list(EventRow.objects.order_by("position").values()) == before
    assert list(log_faults()) == []


def test_nothing_more_is_told_of_a_forgotten_person() -> None:
    subject = uuid7()
    meet(subject, "meeting-1", name="Ada")
    keyring.forget(subject)
    with nothing_written(), pytest.raises(SubjectForgotten) as refused:
        meet(subject, "meeting-2", name="Ada")
    assert refused.value.code == "subject_forgotten"
    # What tells nothing may still happen to what belonged to that person.
    assert meet(subject, "meeting-2") == met(place="Rome")


def test_a_person_who_is_closed_is_read_but_told_nothing_more_of() -> None:
    subject = uuid7()
    meet(subject, "meeting-1", name="Ada")
    keyring.close(subject)
    assert read("meeting-1") == met(place="Rome", name="Ada")
    with nothing_written(), pytest.raises(SubjectForgotten):
        meet(subject, "meeting-2", name="Ada")


def test_a_person_of_whom_nothing_was_told_can_be_forgotten_for_good() -> None:
    subject = uuid7()
    keyring.forget(subject)
    keyring.forget(subject)
    with nothing_written(), pytest.raises(SubjectForgotten):
        meet(subject, "meeting-1", name="Ada")
    assert SubjectKey.objects.get(pk=subject).key is None


def test_one_forgotten_person_keeps_back_what_is_told_of_all_in_one_append() -> None:
    ada, bob = uuid7(), uuid7()
    keyring.forget(ada)
    with nothing_written(), pytest.raises(SubjectForgotten), transaction.atomic():
        keyring.writing_keys([bob, ada])


def old_event(subject: UUID, personal: str, **plain: Any) -> str:
    """Return the data of an event of version 1, as it was stored then, and its id."""
    event = uuid7()
    key = keyring.writing_keys([subject])[subject]
    sealed = keyring.seal(key, subject=subject, event=event, personal=personal)
    data = json.dumps({**plain, "personal": sealed})
    EventRow.objects.create(
        id=event,
        stream="meeting-1",
        version=1,
        type="Met",
        schema_version=1,
        data=data,
        occurred_at="2026-01-02T03:04:05Z",
    )
    return data


def test_an_old_event_is_brought_up_to_date_with_what_was_sealed_in_it() -> None:
    old_event(uuid7(), '{"who":"Ada","extra":{"a":1}}')
    assert read("meeting-1") == met(place="?", name="Ada", extra={"a": 1})


def test_an_old_event_of_a_forgotten_person_is_brought_up_to_date_too() -> None:
    subject = uuid7()
    data = old_event(subject, '{"who":"Ada","extra":{"a":1}}')
    keyring.forget(subject)
    assert read("meeting-1") == met(place="?")
    # And so it is for a reader that has no keys at all, such as another store.
    assert CODEC.decode("Met", 1, data) == met(place="?")


def test_a_key_is_remembered_for_a_few_seconds_and_not_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subject, event = uuid7(), uuid7()
    key = keyring.writing_keys([subject])[subject]
    sealed = keyring.seal(key, subject=subject, event=event, personal="{}")
    unseal = partial(keyring.unseal, sealed, event=event)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert unseal() == b"{}"
    # As another process forgets: nobody tells this one.
    SubjectKey.objects.filter(pk=subject).update(key=None, forgotten_at="2026-01-02T03:04:05Z")
    assert unseal() == b"{}"
    now += keyring.CACHE_S
    assert unseal() is None


def test_no_more_keys_are_remembered_than_the_bound_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "CACHE_SIZE_MAX", 3)
    for number in range(1, 9):
        meet(uuid7(), f"meeting-{number}", name="Ada")
        assert len(keyring._cache) <= 3


@pytest.mark.django_db(transaction=True)
def test_a_key_of_a_transaction_that_was_rolled_back_is_not_held_for_the_one_that_counts() -> None:
    subject, event = uuid7(), uuid7()
    with suppress(RolledBack), transaction.atomic():
        lost = keyring.writing_keys([subject])[subject]
        sealed = keyring.seal(lost, subject=subject, event=event, personal="{}")
        # Read within the transaction, and so remembered.
        assert keyring.unseal(sealed, event=event) == b"{}"
        raise RolledBack
    with transaction.atomic():
        key = keyring.writing_keys([subject])[subject]
    kept = keyring.seal(key, subject=subject, event=event, personal='{"name":"Ada"}')
    assert keyring.unseal(kept, event=event) == b'{"name":"Ada"}'


class RolledBack(Exception):
    """Ends a transaction without a trace."""
