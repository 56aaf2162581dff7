"""The API's document, OpenAPI 3.1, made from the views' own serializers.

What all operations have in common is added here: that every error is a problem document, and
a summary, the first sentence of what the view says about itself.
"""

from functools import cache
from typing import Any

from django.conf import settings
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer

from platform_site.gateway.addresses import API
from platform_site.gateway.codes import CODES
from users.api.problems import CONTENT_TYPE, PROBLEM_STATUSES

_PROBLEM = {
    "type": "object",
    "description": "What went wrong (RFC 9457). `code` is stable; `detail` is for people.",
    "required": [
        "type",
        "title",
        "status",
        "detail",
        "instance",
        "code",
        "request_id",
        "retryable",
    ],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "format": "uri-reference"},
        "code": {
            "type": "string",
            "enum": sorted(code for codes in CODES.values() for code in codes),
        },
        "request_id": {"type": "string"},
        "retryable": {
            "type": "boolean",
            "description": "Whether the same request may succeed later, unchanged.",
        },
        "errors": {
            "type": "array",
            "description": "Of a request whose values are refused: one entry a fault.",
            "items": {
                "type": "object",
                "required": ["code", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON pointer into the body."},
                    "parameter": {"type": "string", "description": "Name in the query."},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
        "transaction_id": {"type": "string", "format": "uuid"},
        "index": {"type": "integer"},
    },
}
_METHODS = ("get", "post", "put", "patch", "delete")


def complete(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Give every operation its error answers and a summary; a hook of drf-spectacular.

    Args:
        result: the finished document, changed in place.
    """
    components = result.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = _PROBLEM
    components["responses"] = {
        "Problem": {
            "description": "A problem document.",
            "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    }
    for path, operations in result["paths"].items():
        for method in _METHODS:
            if method in operations:
                _add_problems(operations[method], is_api=path.startswith(API))
                _add_summary(operations[method])
                _require_body(operations[method], components["schemas"])
    without_marks: dict[str, Any] = _without_enum_ids(result)
    return without_marks


# What a parameter brings with it, as (where it stands, its name); a view names the rest itself.
_PROBLEMS_OF_PARAMETERS = {
    ("header", "Idempotency-Key"): ("400", "409"),
    ("header", "If-Match"): ("409", "412"),
    ("query", "cursor"): ("400",),
    # Before the object existed there was none.
    ("query", "as_of"): ("404",),
}


def _add_problems(operation: dict[str, Any], *, is_api: bool) -> None:
    statuses = ["default", *map(str, operation.pop(PROBLEM_STATUSES, ()))]
    if is_api:
        statuses += ["422", "429", "500", "503", "504"]
        if "requestBody" in operation:
            statuses += ["400", "413", "415"]
        if operation.get("security"):
            statuses += ["401", "403"]
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path":
                statuses.append("404")
            statuses += _PROBLEMS_OF_PARAMETERS.get((parameter["in"], parameter["name"]), ())
    for status in statuses:
        operation["responses"].setdefault(status, {"$ref": "#/components/responses/Problem"})


def _add_summary(operation: dict[str, Any]) -> None:
    first_paragraph = operation.get("description", "").split("\n\n", 1)[0]
    summary = " ".join(first_paragraph.split()).split(". ", 1)[0].rstrip(".")
    if summary:
        operation.setdefault("summary", summary)


def _require_body(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Say that a body has to be there where every alternative of it has required members.

    drf-spectacular says so for a single serializer, but not for one of several.
    """
    body = operation.get("requestBody", {"content": {}})
    for media in body["content"].values():
        named = schemas.get(_component(media["schema"]), {})
        alternatives = [schemas[_component(each)] for each in named.get("oneOf", ())]
        if alternatives and all(each.get("required") for each in alternatives):
            body["required"] = True


def _component(schema: dict[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _without_enum_ids(value: Any) -> Any:
    """Return `value` without the marks that drf-spectacular leaves for a hook of its own."""
    if isinstance(value, dict):
        return {
            key: _without_enum_ids(inner) for key, inner in value.items() if key != "x-spec-enum-id"
        }
    if isinstance(value, list):
        return [_without_enum_ids(inner) for inner in value]
    return value


@cache
def document(urlconf: str) -> bytes:
    """Return the document as JSON, made once in each process.

    Args:
        urlconf: the import path of the table of addresses.
    """
    generator = SchemaGenerator(urlconf=urlconf)  # type: ignore[no-untyped-call]
    schema = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    rendered: bytes = OpenApiJsonRenderer().render(schema, renderer_context={})
    return rendered


def current_document() -> bytes:
    """Return the document of this site."""
    return document(settings.ROOT_URLCONF)
