"""Names and versions of schemas, upcasters, and the roundtrip of events."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.codec import Codec, UnknownEvent, canonical_json, stored_json, to_plain
from eventstore.messages import Event
from tests.eventstore.product import CODEC, CounterOpened, CounterRaised


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSetV1(Event):
    """A price in whole units."""

    price: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSet(Event):
    """A price in minor units, and its currency."""

    minor: int
    currency: str


PRICES = Codec(
    events={("PriceSet", 1): PriceSetV1, ("PriceSet", 3): PriceSet},
    upcasters={
        ("PriceSet", 1): lambda data: {"minor": data["price"] * 100},
        ("PriceSet", 2): lambda data: {**data, "currency": "EUR"},
    },
)


def test_an_event_is_written_under_its_name_and_version() -> None:
    encoded = CODEC.encode(CounterRaised(by=3, note="x"))
    assert (encoded.name, encoded.schema_version) == ("CounterRaised", 1)
    assert encoded.data == '{"at":null,"by":3,"note":"x"}'


def test_an_old_event_passes_every_upcaster_up_to_the_newest_version() -> None:
    newest = PriceSet(minor=700, currency="EUR")
    assert PRICES.decode("PriceSet", 1, '{"price":7}') == newest
    assert PRICES.decode("PriceSet", 2, '{"minor":700}') == newest
    assert PRICES.decode("PriceSet", 3, '{"currency":"EUR","minor":700}') == newest


def test_the_newest_version_of_an_event_is_the_one_that_is_written() -> None:
    assert PRICES.name_and_version(PriceSet) == ("PriceSet", 3)
    same_class = Codec(events={("PriceSet", 2): PriceSet, ("PriceSet", 10): PriceSet}, upcasters={})
    assert same_class.name_and_version(PriceSet) == ("PriceSet", 10)


def test_an_event_of_a_replaced_version_is_not_written() -> None:
    with pytest.raises(UnknownEvent, match="PriceSetV1 is not the newest"):
        PRICES.encode(PriceSetV1(price=7))


def test_an_event_that_is_not_in_the_table_is_not_written() -> None:
    with pytest.raises(UnknownEvent, match="CounterOpened"):
        PRICES.encode(CounterOpened())


@pytest.mark.parametrize(("name", "version"), [("PriceSet", 4), ("PriceSet", 0), ("Nothing", 1)])
def test_an_unknown_name_or_version_is_an_unknown_event(name: str, version: int) -> None:
    with pytest.raises(UnknownEvent, match=f"No schema {name} version {version} is known"):
        PRICES.decode(name, version, "{}")


@pytest.mark.parametrize(
    "data",
    [
        "{}",
        '{"minor":"700","currency":"EUR"}',
        '{"minor":700.5,"currency":"EUR"}',
        '{"minor":true,"currency":"EUR"}',
        "[]",
        "null",
        "not JSON",
    ],
)
def test_data_that_does_not_fit_its_schema_is_an_unknown_event(data: str) -> None:
    with pytest.raises(UnknownEvent, match="PriceSet version 3 does not fit"):
        PRICES.decode("PriceSet", 3, data)


@pytest.mark.parametrize("data", ["{}", "[]", '{"price":null}'])
def test_data_that_breaks_an_upcaster_does_not_look_like_an_unknown_version(data: str) -> None:
    with pytest.raises(UnknownEvent, match="does not fit"):
        PRICES.decode("PriceSet", 1, data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anything(Event):
    """An event with a field of every kind that events have."""

    id: UUID
    maybe: UUID | None
    number: int
    text: str
    flag: bool
    at: datetime
    extra: dict[str, Any] = field(default_factory=dict)
    several: tuple[str, ...] = ()


ANYTHING = Codec(events={("Anything", 1): Anything}, upcasters={})
# All that UTF-8 can say: a lone surrogate is not a character.
texts = st.text(st.characters(exclude_categories=["Cs"]))
# Of fixed offsets: Python calls a time in the hour when clocks are put back unlike any other.
offsets = st.builds(timezone, st.timedeltas(timedelta(hours=-14), timedelta(hours=14)))
times = st.datetimes(timezones=offsets).filter(lambda at: 1 < at.year < 9999)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | texts
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
anything = st.builds(
    Anything,
    id=st.uuids(),
    maybe=st.none() | st.uuids(),
    number=st.integers(-(2**63), 2**63 - 1),
    text=texts,
    flag=st.booleans(),
    at=times,
    extra=st.dictionaries(texts, json_values, max_size=4),
    several=st.lists(texts, max_size=3).map(tuple),
)


@given(event=anything)
def test_an_event_comes_back_as_it_went_in(event: Anything) -> None:
    first = ANYTHING.encode(event)
    assert ANYTHING.decode(first.name, first.schema_version, first.data) == event
    assert ANYTHING.encode(event).data == first.data


@given(event=anything)
def test_what_was_read_is_written_again_byte_for_byte(event: Anything) -> None:
    first = ANYTHING.encode(event)
    again = ANYTHING.decode(first.name, first.schema_version, first.data)
    assert ANYTHING.encode(again).data == first.data


@given(value=json_values)
def test_equal_values_are_one_text(value: Any) -> None:
    def reversed_keys(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: reversed_keys(part[key]) for key in reversed(part)}
        return [reversed_keys(each) for each in part] if isinstance(part, list) else part

    assert canonical_json(reversed_keys(value)) == canonical_json(value)


def test_the_canonical_form_has_sorted_keys_no_spaces_and_characters() -> None:
    value = {"b": [1, {"é": "ß\u2028\U0001f600", "a": None}], "a": True, "A": 'quo"te\\'}
    expected = '{"A":"quo\\"te\\\\","a":true,"b":[1,{"a":null,"é":"ß\u2028\U0001f600"}]}'
    assert canonical_json(value) == expected


@pytest.mark.parametrize("edge", [2**63 - 1, -(2**63), 2**53 + 1, 10**40])
def test_integers_keep_every_digit(edge: int) -> None:
    assert canonical_json(edge) == str(edge)
    stored = ANYTHING.encode(example(number=edge))
    event = ANYTHING.decode(stored.name, stored.schema_version, stored.data)
    assert isinstance(event, Anything)
    assert event.number == edge


def example(*, number: int) -> Anything:
    return Anything(
        id=UUID(int=1), maybe=None, number=number, text="", flag=False, at=datetime.now(UTC)
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_does_not_have_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"a": value})


def test_times_are_utc_with_six_digits_also_long_ago() -> None:
    assert canonical_json(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == (
        '"2026-01-02T03:04:05.000000Z"'
    )
    assert canonical_json(datetime(99, 1, 2, 3, 4, 5, 6, tzinfo=UTC)) == (
        '"0099-01-02T03:04:05.000006Z"'
    )


def test_what_is_no_json_value_is_refused() -> None:
    with pytest.raises(TypeError, match="set cannot be part of an event"):
        canonical_json({"a": {1, 2}})


@given(
    values=st.dictionaries(
        texts,
        texts | st.integers() | st.booleans() | st.none() | st.uuids() | times | st.just({}),
    )
)
def test_what_is_written_the_fast_way_is_the_canonical_text(values: dict[str, Any]) -> None:
    plain = {name: to_plain(value) for name, value in values.items()}
    assert stored_json(values) == canonical_json(plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Met(Event):
    """Somebody was met."""

    place: str
    name: str
    extra: dict[str, Any]


MEETINGS = Codec(events={("Met", 1): Met}, upcasters={}, personal={Met: {"name": "", "extra": {}}})


def test_what_tells_of_a_person_is_kept_apart_as_one_canonical_text() -> None:
    encoded = MEETINGS.encode(Met(place="Rome", name="Ada", extra={"b": 1, "a": "é"}))
    assert encoded.data == '{"place":"Rome"}'
    assert encoded.personal == '{"extra":{"a":"é","b":1},"name":"Ada"}'


@pytest.mark.parametrize(("name", "extra"), [("Ada", {}), ("", {"a": 0})])
def test_one_member_that_tells_something_takes_all_of_them_along(
    name: str, extra: dict[str, Any]
) -> None:
    encoded = MEETINGS.encode(Met(place="Rome", name=name, extra=extra))
    assert encoded.data == '{"place":"Rome"}'
    assert encoded.personal == canonical_json({"extra": extra, "name": name})


def test_members_that_tell_nothing_are_not_kept_apart() -> None:
    encoded = MEETINGS.encode(Met(place="Rome", name="", extra={}))
    assert (encoded.data, encoded.personal) == ('{"extra":{},"name":"","place":"Rome"}', None)


def test_sealed_members_are_opened_only_by_what_is_given_for_it() -> None:
    data = '{"personal":{"sealed":"x","subject":"y"},"place":"Rome"}'

    def open_sealed(sealed: Any) -> bytes:
        assert sealed == {"sealed": "x", "subject": "y"}
        return b'{"extra":{"a":1},"name":"Ada"}'

    opened = MEETINGS.decode("Met", 1, data, open_sealed=open_sealed)
    assert opened == Met(place="Rome", name="Ada", extra={"a": 1})
    blank = Met(place="Rome", name="", extra={})
    assert MEETINGS.decode("Met", 1, data, open_sealed=lambda _: None) == blank
    assert MEETINGS.decode("Met", 1, data) == blank


def test_what_cannot_be_opened_is_an_unknown_event() -> None:
    def open_sealed(_: Any) -> bytes:
        raise ValueError("it was not sealed there")

    data = '{"personal":{"sealed":"x","subject":"y"},"place":"Rome"}'
    with pytest.raises(UnknownEvent, match="it was not sealed there"):
        MEETINGS.decode("Met", 1, data, open_sealed=open_sealed)
