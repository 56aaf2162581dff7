"""What requests may hold, strictly: the fields, serializers and readers of every endpoint.

REST framework is lenient: it takes "5", 5.0 and true for integers, numbers for strings, and
drops members that it does not know. A client that sends any of these has a bug, and where money
moves it should hear of it at once.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, NoReturn
from uuid import UUID

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request

from eventstore.clock import format_time
from eventstore.errors import InvalidInput

METADATA_BYTES_MAX = 64 * 1024
METADATA_DEPTH_MAX = 16
# Integers beyond 64 bits pass through JSON, but not through every store.
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1
ERRORS_MAX = 50
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_TIMESTAMP = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def timestamp(instant: datetime) -> str:
    """Return `instant` as every answer shows it: RFC 3339, UTC, microseconds, `Z`."""
    return format_time(instant)


def parse_timestamp(text: str) -> datetime:
    """Return the instant that `text` names, in UTC.

    Raises:
        ValueError: it is not RFC 3339 with an offset, or no such time exists.
    """
    if not _TIMESTAMP.fullmatch(text):
        raise ValueError("A time is written like 2026-01-02T03:04:05Z.")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError:
        raise ValueError("This time is outside of the calendar.") from None


class StrictCharField(serializers.CharField):
    """A JSON string, without NUL and lone surrogates."""

    def run_validation(self, data: Any = serializers.empty) -> Any:
        """Refuse what is not a string before an empty list can pass for an empty string."""
        if data is not serializers.empty and data is not None and not isinstance(data, str):
            self.fail("invalid")
        return super().run_validation(data)


class StrictIntegerField(serializers.IntegerField):
    """A JSON integer of at most 64 bits: no boolean, no float, no string."""

    default_error_messages = {
        "invalid": "This must be a whole number, without quotes, point or exponent.",
    }

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("max_value", INTEGER_MAX)
        kwargs.setdefault("min_value", -INTEGER_MAX)
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> int:
        """Return `data` itself."""
        if type(data) is not int:
            self.fail("invalid")
        return data


class StrictBooleanField(serializers.BooleanField):
    """`true` or `false`."""

    def to_internal_value(self, data: Any) -> bool:
        """Return `data` itself."""
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class StrictChoiceField(serializers.ChoiceField):
    """One of a few JSON strings; the refusal names them."""

    def fail(self, key: str, **kwargs: Any) -> NoReturn:  # noqa: ARG002
        """Refuse the value, and say what would do."""
        choices = ", ".join(str(choice) for choice in self.choices)
        raise ValidationError(f"This must be one of: {choices}.", code=key)


class StrictUUIDField(serializers.UUIDField):
    """An id in its usual form, 36 characters."""

    def to_internal_value(self, data: Any) -> UUID:
        """Return the id."""
        if not isinstance(data, str) or not _UUID.fullmatch(data):
            self.fail("invalid", value=data)
        return UUID(data)


class TimestampField(serializers.DateTimeField):
    """An instant: RFC 3339 with an offset; shown in UTC with microseconds."""

    def to_internal_value(self, value: Any) -> datetime:
        """Return the instant in UTC."""
        try:
            return parse_timestamp(value if isinstance(value, str) else "")
        except ValueError:
            self.fail("invalid", format="YYYY-MM-DDThh:mm:ss[.ffffff]Z")

    def to_representation(self, value: datetime) -> str:
        """Return the instant as text."""
        return timestamp(value)


@extend_schema_field({"type": "object", "additionalProperties": {}})
class MetadataField(serializers.Field[Any, Any, Any, Any]):
    """A JSON object of the client's own, kept as it is.

    At most `METADATA_BYTES_MAX` as compact JSON in UTF-8 and `METADATA_DEPTH_MAX` levels deep,
    and only what every store can keep: no NUL and no lone surrogates in strings, integers of 64
    bits, finite numbers.
    """

    default_error_messages = {
        "not_an_object": "This must be a JSON object.",
        "too_deep": f"This is nested deeper than {METADATA_DEPTH_MAX} levels.",
        "too_large": f"This is larger than {METADATA_BYTES_MAX} bytes as JSON.",
        "invalid": "This holds a value that cannot be stored: {reason}",
    }

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Return `data` itself."""
        if not isinstance(data, dict):
            self.fail("not_an_object")
        for value in self._values(data, depth=1):
            if isinstance(value, str) and "\0" in value:
                self.fail("invalid", reason="a string with the character NUL.")
            if isinstance(value, int) and not INTEGER_MIN <= value <= INTEGER_MAX:
                self.fail("invalid", reason="an integer beyond 64 bits.")
        try:
            size = len(json.dumps(data, ensure_ascii=False, allow_nan=False).encode())
            if size > METADATA_BYTES_MAX:
                compact = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
                size = len(compact.encode())
        except ValueError:
            self.fail("invalid", reason="an infinite number, or half of a surrogate pair.")
        if size > METADATA_BYTES_MAX:
            self.fail("too_large")
        return data

    def to_representation(self, value: Any) -> Any:
        """Return `value` itself."""
        return value

    def _values(self, value: Any, *, depth: int) -> Iterator[Any]:
        """Yield every key and leaf in `value`."""
        if isinstance(value, dict | list):
            if depth > METADATA_DEPTH_MAX:
                self.fail("too_deep")
            if isinstance(value, dict):
                yield from value
                value = list(value.values())
            for item in value:
                yield from self._values(item, depth=depth + 1)
        else:
            yield value


class StrictSerializer(serializers.Serializer[Any]):
    """An object without members that nobody reads: unknown ones are refused."""

    default_error_messages = {
        "not_an_object": "This must be a JSON object.",
    }

    def to_internal_value(self, data: Any) -> Any:
        """Return the values, all faults told at once."""
        if not isinstance(data, Mapping):
            raise ValidationError([self.error_messages["not_an_object"]], code="not_an_object")
        writable = {field.field_name for field in self._writable_fields}
        faults: dict[str, Any] = {
            str(name): [ErrorDetail("There is no such member.", code="unknown_field")]
            for name in data
            if name not in writable
        }
        try:
            values = super().to_internal_value(data)
        except ValidationError as error:
            faults = {**dict(error.detail), **faults}  # type: ignore[arg-type]
        if faults:
            raise ValidationError(faults)
        return values


class StrictSerializerSchema(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Says in the OpenAPI document that a `StrictSerializer` refuses unknown members."""

    target_class = "users.api.fields.StrictSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        """Return the schema as it would be, closed where it describes a request."""
        schema: dict[str, Any] = auto_schema._map_serializer(
            self.target, direction, bypass_extensions=True
        )
        return {**schema, "additionalProperties": False} if direction == "request" else schema


def validated(
    serializer_class: type[serializers.Serializer[Any]], request: Request
) -> dict[str, Any]:
    """Return the body of `request`, checked by `serializer_class`.

    Raises:
        InvalidInput: with one entry for each fault, at most `ERRORS_MAX`.
    """
    try:
        # Not `is_valid`: it wraps faults of the whole body in a shape of its own.
        values: dict[str, Any] = _checker(serializer_class).run_validation(request.data)
    except ValidationError as error:
        refuse(list(faults(error.detail)))
    return values


@cache
def _checker(
    serializer_class: type[serializers.Serializer[Any]],
) -> serializers.Serializer[Any]:
    """Return the one instance that checks bodies: to make one copies every field of the class.

    Checking leaves no trace in it, so threads may share it.
    """
    return serializer_class()


def parameters(request: Request, *, allowed: Collection[str]) -> dict[str, str]:
    """Return the query of `request` by name.

    Raises:
        InvalidInput: a name is not in `allowed`, comes twice, or its value has a NUL.
    """
    faults = []
    for name, values in request.query_params.lists():
        if name not in allowed:
            faults.append((name, "unknown_parameter", "There is no such parameter here."))
        elif len(values) > 1:
            faults.append((name, "repeated_parameter", "This parameter may come only once."))
        elif "\0" in values[0]:
            faults.append((name, "null_characters_not_allowed", "NUL is not allowed."))
    if faults:
        refuse([{"parameter": name, "code": code, "detail": text} for name, code, text in faults])
    return request.query_params.dict()


def refuse(errors: list[dict[str, str]]) -> NoReturn:
    """Raise `InvalidInput` for `errors`, as its docstring describes them."""
    raise InvalidInput(
        "The request has values that are not acceptable; see errors.", errors=errors[:ERRORS_MAX]
    )


def faults(detail: Any, *, pointer: str = "") -> Iterator[dict[str, str]]:
    """Yield REST framework's nested faults flat, with JSON pointers (RFC 6901)."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            step = str(name).replace("~", "~0").replace("/", "~1")
            whole = name == "non_field_errors"
            yield from faults(inner, pointer=pointer if whole else f"{pointer}/{step}")
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            # A list of objects has one entry for each, empty where nothing is wrong.
            nested = isinstance(inner, Mapping)
            yield from faults(inner, pointer=f"{pointer}/{index}" if nested else pointer)
    else:
        yield {"pointer": pointer, "code": str(detail.code), "detail": str(detail)}
