"""The body of a request is read strictly."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rest_framework.parsers import JSONParser

from platform_site.gateway.json_body import DEPTH_MAX, MalformedJSON, parse_json
from platform_site.gateway.json_body import StrictJSONParser as Parser

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(JSON_VALUES)
@settings(max_examples=50, deadline=None)
def test_what_python_writes_as_json_is_read_as_the_same_value(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary(max_size=200))
def test_no_bytes_whatever_raise_anything_but_malformed_json(body: bytes) -> None:
    with contextlib.suppress(MalformedJSON):
        parse_json(body)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b'{"amount": 1, "amount": 2}', "'amount' appears more than once"),
        (b'{"a": {"b": 1, "c": 2, "b": 3}}', "'b' appears more than once"),
        (b"[NaN]", "NaN is not JSON"),
        (b"[Infinity]", "Infinity is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b"1e999", "too large"),
        (b"1" * 5000, "too many digits"),
        (b'"\\ud800"', "surrogate"),
        (b'{"\\udfff": 1}', "surrogate"),
        (b'"\xed\xa0\x80"', "not UTF-8 at byte 1"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"", "Expecting value, at line 1, column 1"),
        (b"{'a': 1}", "not valid JSON"),
        (b'{"a": 1} {}', "Extra data"),
        (b'"a\nb"', "control character"),
    ],
)
def test_what_two_parsers_could_understand_differently_is_refused(
    body: bytes, complaint: str
) -> None:
    with pytest.raises(MalformedJSON, match=complaint):
        parse_json(body)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_nesting_without_end_is_refused_and_breaks_nothing(opening: bytes) -> None:
    with pytest.raises(MalformedJSON, match="nested deeper"):
        parse_json(opening * 150_000)


def test_the_deepest_nesting_that_is_allowed_passes() -> None:
    parse_json(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX)
    with pytest.raises(MalformedJSON):
        parse_json(b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1))


def test_a_wide_body_is_not_taken_for_a_deep_one() -> None:
    assert len(parse_json(b"[" + b"[]," * 10_000 + b"[]]")) == 10_001


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert parse_json(b'"\\ud83d\\ude00"') == "\U0001f600"


def test_the_parser_is_needed_because_the_framework_s_own_lets_duplicates_pass() -> None:
    from io import BytesIO

    body = b'{"amount": 1, "amount": 2}'
    assert JSONParser().parse(BytesIO(body)) == {"amount": 2}
    with pytest.raises(MalformedJSON):
        Parser().parse(BytesIO(body), "application/json")
