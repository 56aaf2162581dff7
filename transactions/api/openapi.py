"""What the OpenAPI document says of the ledger's parameters, headers and pages."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, inline_serializer
from rest_framework import serializers

from transactions.api.answers import LAG_HEADER, REPLAYED_HEADER
from transactions.api.filters import (
    FILTERS_MAX,
    METADATA_KEY_LENGTH_MAX,
    TEXT_LENGTH_MAX,
    Filter,
)
from users.api.pagination import LIMIT_DEFAULT, LIMIT_MAX

OPERATORS = ("gte", "gt", "lte", "lt")
_KEY_PATTERN = r"^[\x21-\x7e]{1,255}$"


def _query(name: str, schema: dict[str, Any], description: str = "") -> OpenApiParameter:
    return OpenApiParameter(name, schema, OpenApiParameter.QUERY, description=description)


def _request_header(name: str, description: str, **more: Any) -> OpenApiParameter:
    return OpenApiParameter(name, str, OpenApiParameter.HEADER, description=description, **more)


def _answer_header(name: str, description: str, *statuses: int) -> OpenApiParameter:
    return OpenApiParameter(
        name, str, OpenApiParameter.HEADER, description=description, response=list(statuses)
    )


IDEMPOTENCY_KEY = _request_header(
    "Idempotency-Key",
    "The same key and body again: the first answer, and no second effect.",
    required=True,
    pattern=_KEY_PATTERN,
)
OPTIONAL_IDEMPOTENCY_KEY = _request_header(
    "Idempotency-Key",
    "The same key and body again: the first answer, and no second effect.",
    pattern=_KEY_PATTERN,
)
IF_MATCH = _request_header("If-Match", "An ETag: refuse (412) unless the object is at it.")
AS_OF = _query(
    "as_of",
    {
        "anyOf": [
            {"type": "string", "format": "date-time"},
            {"type": "string", "pattern": "^position:[0-9]{1,18}$"},
        ]
    },
    "The state at this instant of the past: a time (RFC 3339), or `position:N`.",
)
ETAG = _answer_header("ETag", "The version, in quotes, for `If-Match`.", 200, 201)
LOCATION = _answer_header("Location", "Where the object can be read.", 201)
REPLAYED = _answer_header(REPLAYED_HEADER, "`true` on an answer that was stored.", 200, 201)
LINK = _answer_header("Link", 'The next page, `rel="next"`, where there is one.', 200)
LAG = _answer_header(LAG_HEADER, "How old this read is, when over a second.", 200)
PAGING = [
    _query(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
        "How many items a page has at most.",
    ),
    _query("cursor", {"type": "string"}, "`next_cursor` of the page before, as it is."),
    LINK,
]


def path_id(name: str) -> OpenApiParameter:
    """Return the parameter of a path that is the id of an object."""
    return OpenApiParameter(name, UUID, OpenApiParameter.PATH)


def parameters_of(
    filters: Mapping[str, Filter], *, metadata: bool = False
) -> list[OpenApiParameter]:
    """Return the parameters of a list: its paging and its filters.

    Args:
        metadata: whether `metadata[key]=value` is a filter too.
    """
    described = list(PAGING)
    for name, each in filters.items():
        if each.ranged:
            described += [_query(f"{name}[{operator}]", each.schema) for operator in OPERATORS]
        else:
            described.append(_query(name, each.schema))
    if metadata:
        described.append(
            OpenApiParameter(
                "metadata",
                {
                    "type": "object",
                    "propertyNames": {"minLength": 1, "maxLength": METADATA_KEY_LENGTH_MAX},
                    "additionalProperties": {"type": "string", "maxLength": TEXT_LENGTH_MAX},
                    "maxProperties": FILTERS_MAX,
                },
                OpenApiParameter.QUERY,
                description="`metadata[key]=value`: the member `key` equals `value`.",
                style="deepObject",
                explode=True,
            )
        )
    return described


def page_of(item: type[serializers.Serializer[Any]]) -> Any:
    """Return the OpenAPI description of a list of `item`."""
    return inline_serializer(
        f"{item.__name__}Page",
        {
            "data": item(many=True),
            "has_more": serializers.BooleanField(),
            "next_cursor": serializers.CharField(allow_null=True),
        },
    )
