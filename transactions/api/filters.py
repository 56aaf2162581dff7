"""Filters of lists: what may stand in the query, and the conditions that it becomes."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn
from uuid import UUID

from rest_framework.request import Request

from transactions.api.requests import parse_uuid, time_of
from transactions.conditions import Condition, MetadataCondition
from users.api.fields import parameters, refuse
from users.api.pagination import PARAMETERS

_RANGED = re.compile(r"(\w+)\[(gte|gt|lte|lt)\]", re.ASCII)
METADATA_KEY_LENGTH_MAX = 200
_METADATA = re.compile(rf"metadata\[(.{{1,{METADATA_KEY_LENGTH_MAX}}})\]", re.DOTALL)
_INTEGER = re.compile(r"-?[0-9]{1,18}")
INTEGER_MAX = 10**18 - 1
TEXT_LENGTH_MAX = 255
# Each is a condition in one statement, which databases bound less clearly.
FILTERS_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """One filter of a list.

    Args:
        parse: makes a value from (parameter, text); raises `InvalidInput`.
        schema: what the OpenAPI document says of the text.
        ranged: taken with `[gte]`, `[gt]`, `[lte]` and `[lt]` rather than by itself.
    """

    parse: Callable[[str, str], Any]
    schema: dict[str, Any]
    ranged: bool = False


def text(parameter: str, value: str) -> str:
    """Accept any text of up to 255 characters."""
    if len(value) > TEXT_LENGTH_MAX:
        _refuse(parameter, f"At most {TEXT_LENGTH_MAX} characters.")
    return value


def integer(parameter: str, value: str) -> int:
    """Accept an integer of up to 18 digits."""
    if not _INTEGER.fullmatch(value):
        _refuse(parameter, "This must be a whole number.")
    return int(value)


def position(parameter: str, value: str) -> int:
    """Accept a position in the log, or 0 for the place before the first."""
    found = integer(parameter, value)
    if found < 0:
        _refuse(parameter, "Positions begin with 1.")
    return found


def identifier(parameter: str, value: str) -> UUID:
    """Accept an id."""
    found = parse_uuid(value)
    if found is None:
        _refuse(parameter, "This must be an id.")
    return found


def one_of(*choices: str) -> Filter:
    """Return a filter that accepts one of `choices`."""

    def parse(parameter: str, value: str) -> str:
        if value not in choices:
            _refuse(parameter, f"This must be one of: {', '.join(choices)}.")
        return value

    return Filter(parse=parse, schema={"type": "string", "enum": list(choices)})


def read(
    request: Request,
    filters: Mapping[str, Filter],
    *,
    others: frozenset[str] = frozenset(),
    metadata: bool = False,
) -> tuple[dict[str, str], tuple[Condition | MetadataCondition, ...]]:
    """Return what the query of a list says: all of it but the paging, and its conditions.

    Args:
        filters: by name.
        others: further parameters, which the view reads itself.
        metadata: whether `metadata[key]=value` is a filter too.

    Raises:
        InvalidInput: a parameter is unknown, comes twice, or has a value that will not do.
    """
    allowed = set(PARAMETERS | others)
    for name in request.query_params:
        ranged = _RANGED.fullmatch(name)
        known = filters.get(ranged[1] if ranged else name)
        if (known and known.ranged == bool(ranged)) or (metadata and _METADATA.fullmatch(name)):
            allowed.add(name)
    given = parameters(request, allowed=allowed)
    narrowing = {name: value for name, value in given.items() if name not in PARAMETERS}
    if len(narrowing) > FILTERS_MAX:
        detail = f"At most {FILTERS_MAX} filters."
        _refuse(list(narrowing)[FILTERS_MAX], detail, code="too_many_filters")
    return narrowing, tuple(
        _condition(name, value, filters) for name, value in narrowing.items() if name not in others
    )


def _condition(
    name: str, value: str, filters: Mapping[str, Filter]
) -> Condition | MetadataCondition:
    key = _METADATA.fullmatch(name)
    if key:
        return MetadataCondition(key=key[1], value=text(name, value))
    ranged = _RANGED.fullmatch(name)
    field = ranged[1] if ranged else name
    return Condition(
        field=field,
        operator=ranged[2] if ranged else "exact",
        value=filters[field].parse(name, value),
    )


def _refuse(parameter: str, detail: str, *, code: str = "invalid_filter") -> NoReturn:
    refuse([{"parameter": parameter, "code": code, "detail": detail}])


TEXT = Filter(parse=text, schema={"type": "string", "maxLength": TEXT_LENGTH_MAX})
IDENTIFIER = Filter(parse=identifier, schema={"type": "string", "format": "uuid"})
AMOUNT = Filter(
    parse=integer,
    schema={"type": "integer", "minimum": -INTEGER_MAX, "maximum": INTEGER_MAX},
    ranged=True,
)
POSITION = Filter(parse=position, schema={"type": "integer", "minimum": 0, "maximum": INTEGER_MAX})
CREATED_AT = Filter(parse=time_of, schema={"type": "string", "format": "date-time"}, ranged=True)
