"""The strict pieces that all endpoints are made of."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from eventstore.errors import InvalidInput
from users.api.fields import (
    METADATA_BYTES_MAX,
    MetadataField,
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    StrictSerializer,
    StrictUUIDField,
    TimestampField,
    parameters,
    parse_timestamp,
    timestamp,
    validated,
)


class Item(StrictSerializer):
    """A nested object."""

    amount = StrictIntegerField(min_value=1, max_value=10**15)


class Everything(StrictSerializer):
    """One field of each kind."""

    text = StrictCharField(required=False)
    number = StrictIntegerField(required=False)
    truth = StrictBooleanField(required=False)
    id = StrictUUIDField(required=False)
    at = TimestampField(required=False)
    metadata = MetadataField(required=False)
    items = Item(many=True, required=False)
    shown = serializers.CharField(read_only=True)


def codes(body: Any) -> set[tuple[str, str]]:
    """Return the faults of `body`, as `validated` tells them."""
    request: Any = Request(APIRequestFactory().post("/"))
    request._full_data = body
    try:
        validated(Everything, request)
    except InvalidInput as error:
        return {(each["pointer"], each["code"]) for each in error.extra["errors"]}
    return set()


def nested(depth: int) -> dict[str, Any]:
    """Return an object with `depth` levels."""
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"in": value}
    return value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", "5"),
        ("number", -5),
        ("number", 2**63 - 1),
        ("truth", False),
        ("id", "0190b6f5-0000-7000-8000-00000000000A"),
        ("at", "2026-01-02T03:04:05+02:00"),
        ("metadata", {}),
        ("metadata", {"a": [1, 2.5, None, True, "ü", {"b": {}}]}),
        ("metadata", nested(16)),
        ("metadata", {"k": "x" * (METADATA_BYTES_MAX - 8)}),
        ("metadata", {"k": ["x"] * 16_000}),
        ("items", [{"amount": 1}]),
    ],
)
def test_what_fits_is_taken(name: str, value: Any) -> None:
    assert codes({name: value}) == set()


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("text", 5, "invalid"),
        ("text", True, "invalid"),
        ("text", [], "invalid"),
        ("text", {}, "invalid"),
        ("text", None, "null"),
        ("text", "  ", "blank"),
        ("text", "a\0", "null_characters_not_allowed"),
        ("text", "\ud800", "surrogate_characters_not_allowed"),
        ("number", "5", "invalid"),
        ("number", 5.0, "invalid"),
        ("number", True, "invalid"),
        ("number", [5], "invalid"),
        ("number", 2**63, "max_value"),
        ("number", -(2**63), "min_value"),
        ("truth", 1, "invalid"),
        ("truth", "true", "invalid"),
        ("truth", None, "null"),
        ("id", 5, "invalid"),
        ("id", "{0190b6f5-0000-7000-8000-000000000000}", "invalid"),
        ("id", "0190b6f5000070008000000000000000", "invalid"),
        ("at", "2026-01-02", "invalid"),
        ("at", "2026-01-02T03:04:05", "invalid"),
        ("at", "2026-02-30T03:04:05Z", "invalid"),
        ("at", "0001-01-01T00:00:00+23:59", "invalid"),
        ("at", 0, "invalid"),
        ("metadata", [], "not_an_object"),
        ("metadata", "{}", "not_an_object"),
        ("metadata", nested(17), "too_deep"),
        ("metadata", {"a": [[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]}, "too_deep"),
        ("metadata", {"k": "x" * (METADATA_BYTES_MAX - 7)}, "too_large"),
        ("metadata", {"k": "ü" * (METADATA_BYTES_MAX // 2)}, "too_large"),
        ("metadata", {"k": float("inf")}, "invalid"),
        ("metadata", {"k": 2**63}, "invalid"),
        ("metadata", {"k": "\0"}, "invalid"),
        ("metadata", {"\0": 1}, "invalid"),
        ("metadata", {"k": ["\ud800"]}, "invalid"),
        ("shown", "x", "unknown_field"),
        ("other", 1, "unknown_field"),
    ],
)
def test_what_only_resembles_is_refused(name: str, value: Any, code: str) -> None:
    assert codes({name: value}) == {(f"/{name}", code)}


def test_all_faults_are_told_at_once_with_their_places() -> None:
    body = {"number": "1", "items": [{"amount": 1}, {"amount": 0, "sum": 2}, 3], "x": 1}
    assert codes(body) == {
        ("/number", "invalid"),
        ("/items/1/amount", "min_value"),
        ("/items/1/sum", "unknown_field"),
        ("/items/2", "not_an_object"),
        ("/x", "unknown_field"),
    }


def test_the_list_of_faults_is_bounded() -> None:
    assert len(codes({f"x{n}": 1 for n in range(1000)})) == 50


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("limit=1&colour=red", ("colour", "unknown_parameter")),
        ("limit=1&limit=2", ("limit", "repeated_parameter")),
        ("limit=%00", ("limit", "null_characters_not_allowed")),
    ],
)
def test_parameters_that_nobody_reads_are_refused(query: str, fault: tuple[str, str]) -> None:
    request = Request(APIRequestFactory().get(f"/?{query}"))
    with pytest.raises(InvalidInput) as refusal:
        parameters(request, allowed={"limit"})
    told = refusal.value.extra["errors"]
    assert [(each["parameter"], each["code"]) for each in told] == [fault]


def test_parameters_are_returned_by_name() -> None:
    request = Request(APIRequestFactory().get("/?limit=5&status=open"))
    assert parameters(request, allowed={"limit", "status", "type"}) == {
        "limit": "5",
        "status": "open",
    }


def test_a_time_is_written_in_utc_with_microseconds() -> None:
    east = datetime(2026, 1, 2, 5, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    assert timestamp(east) == "2026-01-02T03:04:05.000000Z"
    assert parse_timestamp(timestamp(east)) == east
    assert parse_timestamp("2026-01-02t03:04:05.123456789z") == datetime(
        2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC
    )
