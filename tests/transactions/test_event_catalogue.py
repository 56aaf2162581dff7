"""The ledger's events are as they were promised, and every version ever stored is still read."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import catalogue
from transactions.domain.events import CODEC

FILE = Path(__file__).parents[2] / "docs" / "events.schema.json"
PROMISED = catalogue.read(FILE)

# As version 1 of `TransactionCreated` was stored, before there were holds, reversals and seals.
FIRST_TRANSACTION = (
    '{"amount":300,"currency":"EUR","description":"rent","destination":'
    '"01890a5d-ac96-774b-bcce-b302099a8057","metadata":{"a":[1]},"reference":"r-1","source":null,'
    '"transaction":"01890a5d-ac97-7a5e-8a3b-2f0d7c1e9b11","type":"deposit"}'
)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
FORMATS: dict[str | None, st.SearchStrategy[Any]] = {
    None: texts,
    "uuid": st.uuids().map(str),
    "date-time": st.datetimes().map(lambda at: f"{at.isoformat(timespec='microseconds')}Z"),
}


def values(schema: dict[str, Any], member: str = "") -> st.SearchStrategy[Any]:
    """Return values that fit a schema of the catalogue."""
    if "anyOf" in schema:
        return st.one_of([values(each, member) for each in schema["anyOf"]])
    match schema["type"]:
        case "object" if "properties" in schema:
            return st.fixed_dictionaries(
                {name: values(each, name) for name, each in schema["properties"].items()}
            )
        case "object":
            return st.dictionaries(texts, texts | st.integers(-(2**63), 2**63 - 1), max_size=3)
        case "integer":
            return st.integers(-(2**63), 2**63 - 1)
        case "null":
            return st.none()
        case "string":
            # The name of an instant says what its schema does not.
            return FORMATS["date-time" if member.endswith("_at") else schema.get("format")]
    raise AssertionError(schema)


def test_the_catalogue_has_every_event_as_it_is() -> None:
    """It fails when an event has changed: `manage.py event_catalogue --check` says what to do."""
    assert list(catalogue.faults(CODEC, PROMISED)) == []


def test_the_catalogue_is_written_as_the_command_writes_it() -> None:
    assert FILE.read_text() == catalogue.render(PROMISED)


@pytest.mark.parametrize("key", sorted(PROMISED))
@given(data=st.data())
def test_every_version_ever_stored_is_read_with_its_texts_and_without(
    key: str, data: st.DataObject
) -> None:
    name, _, version = key.partition("@")
    schema = PROMISED[key]["schema"]
    stored = data.draw(values(schema))
    event = CODEC.decode(name, int(version), json.dumps(stored))
    assert CODEC.name_and_version(type(event))[0] == name
    read = json.loads(CODEC.encode(event).data)
    kept = {each: value for each, value in stored.items() if each in read and each[-3:] != "_at"}
    assert {each: read[each] for each in kept} == kept
    personal = PROMISED[key]["personal"]
    if personal:
        sealed = {each: value for each, value in stored.items() if each not in personal}
        sealed["personal"] = {"sealed": "", "subject": ""}
        forgotten = CODEC.decode(name, int(version), json.dumps(sealed), open_sealed=lambda _: None)
        assert not any(getattr(forgotten, each) for each in personal)


def test_a_transaction_of_version_1_is_read_as_one_that_neither_reserves_nor_reverses() -> None:
    event: Any = CODEC.decode("TransactionCreated", 1, FIRST_TRANSACTION)
    assert (event.expires_at, event.reverses) == (None, None)
    assert (event.description, event.metadata, event.amount) == ("rent", {"a": [1]}, 300)
