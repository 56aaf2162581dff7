"""What was stored once is read for ever: no schema changes without a new version."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from eventstore import catalogue
from eventstore.catalogue import CatalogueBroken
from eventstore.codec import Codec
from eventstore.messages import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSet(Event):
    """A price."""

    price: int
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherPriceSet(Event):
    """A price that knows its currency."""

    price: int
    label: str
    title: str = ""
    parts: list[dict[str, int]] = field(default_factory=list)


FIRST = Codec(events={("PriceSet", 1): PriceSet}, upcasters={}, personal={PriceSet: {"label": ""}})
SECOND = Codec(
    events={("PriceSet", 2): OtherPriceSet},
    upcasters={("PriceSet", 1): lambda data: {**data, "title": "", "parts": []}},
    personal={OtherPriceSet: {"label": ""}},
)
PROMISED = catalogue.event_schemas(FIRST)


def test_an_entry_has_the_members_of_the_event_and_those_that_are_sealed() -> None:
    assert PROMISED == {
        "PriceSet@1": {
            "personal": ["label"],
            "schema": {
                "type": "object",
                "properties": {"price": {"type": "integer"}, "label": {"type": "string"}},
                "required": ["price", "label"],
            },
        }
    }


def test_a_member_may_be_called_as_the_words_of_a_schema_are() -> None:
    properties = catalogue.event_schemas(SECOND)["PriceSet@2"]["schema"]["properties"]
    assert list(properties) == ["price", "label", "title", "parts"]


def test_a_schema_that_changed_without_a_new_version_is_a_fault_that_says_what_to_do() -> None:
    changed = Codec(events={("PriceSet", 1): OtherPriceSet}, upcasters={})
    (fault,) = catalogue.faults(changed, PROMISED)
    assert "make a new one for version 2 of PriceSet, and write an upcaster" in fault


def test_a_member_that_is_sealed_no_more_is_a_fault() -> None:
    (fault,) = catalogue.faults(replace(FIRST, personal={}), PROMISED)
    assert fault.startswith("PriceSet@1 is stored with another schema")


def test_a_version_that_nothing_reads_any_more_is_a_fault() -> None:
    vanished = replace(SECOND, upcasters={})
    both = {**PROMISED, **catalogue.event_schemas(SECOND)}
    assert list(catalogue.faults(vanished, both)) == [
        "PriceSet@1 was stored, and nothing reads it: write an upcaster to the next version."
    ]


def test_a_hole_in_a_chain_of_upcasters_is_a_fault() -> None:
    first = SECOND.upcasters["PriceSet", 1]
    holed = Codec(
        events={("PriceSet", 4): OtherPriceSet},
        upcasters={("PriceSet", 1): first, ("PriceSet", 3): first},
    )
    promised: dict[str, Any] = {f"PriceSet@{version}": {} for version in (1, 2, 3)}
    promised |= catalogue.event_schemas(holed)
    assert [fault.partition(" ")[0] for fault in catalogue.faults(holed, promised)] == [
        "PriceSet@1",
        "PriceSet@2",
    ]


def test_an_upcaster_of_a_version_that_was_never_stored_is_a_fault() -> None:
    only_new = catalogue.event_schemas(SECOND)
    assert list(catalogue.faults(SECOND, only_new)) == [
        "PriceSet@1 has an upcaster, and the catalogue says nothing of it.",
        "PriceSet@1 is missing, although later versions are there.",
    ]


def test_writing_adds_what_is_new_and_keeps_what_was_promised(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.json"
    assert catalogue.write(file, FIRST) == ["PriceSet@1"]
    before = catalogue.read(file)
    assert catalogue.write(file, SECOND) == ["PriceSet@2"]
    assert catalogue.read(file) == {**before, **catalogue.event_schemas(SECOND)}
    content = file.read_text()
    assert catalogue.write(file, SECOND) == []
    assert file.read_text() == content


def test_writing_refuses_to_break_a_promise(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.json"
    catalogue.write(file, FIRST)
    content = file.read_text()
    changed = Codec(events={("PriceSet", 1): OtherPriceSet}, upcasters={})
    with pytest.raises(CatalogueBroken, match="PriceSet@1"):
        catalogue.write(file, changed)
    assert file.read_text() == content


def test_the_command_writes_checks_and_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "catalogue.json"
    with pytest.raises(CommandError, match="promises nothing"):
        call_command("event_catalogue", "--check", str(file))
    call_command("event_catalogue", "--write", str(file))
    assert "Added: CounterOpened@1, CounterRaised@1." in capsys.readouterr().err
    call_command("event_catalogue", "--check", str(file))
    assert "2 events are as they were promised." in capsys.readouterr().out
    call_command("event_catalogue")
    assert json.loads(capsys.readouterr().out) == json.loads(file.read_text())
    stored: dict[str, Any] = json.loads(file.read_text())
    stored["events"]["CounterRaised@1"]["schema"]["required"] = ["by"]
    file.write_text(json.dumps(stored))
    for option in ("--check", "--write"):
        with pytest.raises(CommandError, match="CounterRaised@1 is stored with another schema"):
            call_command("event_catalogue", option, str(file))
