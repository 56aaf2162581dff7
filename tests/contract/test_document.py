"""What the OpenAPI document says, and that it leaves nothing out."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from django.conf import settings
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, resolve
from drf_spectacular.drainage import GENERATOR_STATS, reset_generator_stats
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from platform_site.gateway.codes import CODES
from platform_site.gateway.openapi import current_document
from tests.contract.conftest import World

DOCUMENT: Any = json.loads(current_document())
SCHEMAS = DOCUMENT["components"]["schemas"]
PROBLEM = {"$ref": "#/components/responses/Problem"}
METHODS = {"get", "post", "put", "patch", "delete"}
# The manual: a document and pages about the API rather than calls of it.
MANUAL = {"/api/schema", "/api/docs", "/api/docs/problems"}
# Whoever calls these has no credentials yet; discovery wants them only where the site is set so.
PUBLIC = {"register", "log_in", "refresh_tokens", "discovery_services"}


class Operation(NamedTuple):
    """An operation of the document."""

    path: str
    method: str
    content: dict[str, Any]

    @property
    def statuses(self) -> set[str]:
        """The statuses that it answers with."""
        return set(self.content["responses"])

    def parameter(self, name: str, place: str) -> dict[str, Any] | None:
        """Return the description of one of its parameters."""
        given: list[dict[str, Any]] = self.content.get("parameters", [])
        found = (each for each in given if (each["name"], each["in"]) == (name, place))
        return next(found, None)


OPERATIONS = [
    Operation(path, method, content)
    for path, methods in DOCUMENT["paths"].items()
    for method, content in methods.items()
    if method in METHODS
]
API_OPERATIONS = [each for each in OPERATIONS if each.path.startswith("/api/")]
every_operation = pytest.mark.parametrize(
    "operation", OPERATIONS, ids=lambda each: each.content["operationId"]
)
every_api_operation = pytest.mark.parametrize(
    "operation", API_OPERATIONS, ids=lambda each: each.content["operationId"]
)


def routes(patterns: list[Any], prefix: str = "/") -> Iterator[str]:
    """Yield the addresses of a table of addresses, as the document writes them."""
    for each in patterns:
        address = prefix + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from routes(each.url_patterns, address)
        elif isinstance(each, URLPattern):
            yield re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", address)


def test_the_document_is_valid_openapi_3_1() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    validate_schema(DOCUMENT)  # type: ignore[no-untyped-call]


def test_every_schema_in_it_is_valid_json_schema() -> None:
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)


def test_making_it_warns_of_nothing() -> None:
    reset_generator_stats()
    generator = SchemaGenerator(urlconf=settings.ROOT_URLCONF)  # type: ignore[no-untyped-call]
    with GENERATOR_STATS.silence():
        generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    told = {**GENERATOR_STATS._warn_cache, **GENERATOR_STATS._error_cache}
    assert told == {}


def test_it_is_served_as_it_is_made() -> None:
    answer = Client().get("/api/schema")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json() == DOCUMENT


def test_every_address_of_the_api_is_in_it() -> None:
    served = {each for each in routes(get_resolver().url_patterns) if each.startswith("/api/")}
    assert served - MANUAL == {each.path for each in API_OPERATIONS}


@every_operation
def test_every_path_in_it_leads_to_a_view_that_knows_the_method(operation: Operation) -> None:
    path = re.sub(r"\{\w+\}", "01a20574-e53c-759f-a21b-a4b06677040e", operation.path)
    view: Any = resolve(path).func
    assert hasattr(view.cls, operation.method)


@every_operation
def test_every_operation_has_a_name_and_a_summary(operation: Operation) -> None:
    names = [each.content["operationId"] for each in OPERATIONS]
    assert names.count(operation.content["operationId"]) == 1
    assert operation.content["summary"]


@every_operation
def test_every_refusal_is_a_problem_document(operation: Operation) -> None:
    own = {"503"} if operation.path.startswith("/health") else set()
    refusals = {each for each in operation.statuses if not each.startswith("2")} - own
    assert "default" in refusals
    assert all(operation.content["responses"][each] == PROBLEM for each in refusals)


@every_api_operation
def test_every_operation_names_the_refusals_that_it_may_meet(operation: Operation) -> None:
    expected = {"422", "429", "500", "503", "504"}
    if "requestBody" in operation.content:
        expected |= {"400", "413", "415"}
    if operation.content["operationId"] not in PUBLIC:
        expected |= {"401", "403"}
    if "{" in operation.path or operation.parameter("as_of", "query"):
        expected |= {"404"}
    if operation.parameter("cursor", "query"):
        expected |= {"400"}
    if operation.parameter("If-Match", "header"):
        expected |= {"409", "412"}
    assert expected <= operation.statuses


@every_api_operation
def test_every_operation_that_wants_credentials_says_so(operation: Operation) -> None:
    wanted: Any = None if operation.content["operationId"] in PUBLIC else [{"bearer": []}]
    assert operation.content.get("security") == wanted


@every_api_operation
def test_whatever_moves_money_requires_an_idempotency_key(operation: Operation) -> None:
    key = operation.parameter("Idempotency-Key", "header")
    if operation.method == "post" and operation.path.startswith("/api/transactions"):
        assert key is not None
        assert key["required"] is True
        assert {"400", "409"} <= operation.statuses
    elif key is not None:
        assert not key.get("required")


def test_the_body_of_a_movement_of_money_is_required() -> None:
    assert DOCUMENT["paths"]["/api/transactions"]["post"]["requestBody"]["required"] is True


def test_every_body_is_closed() -> None:
    bodies = {name: schema for name, schema in SCHEMAS.items() if name.endswith("Request")}
    union = {name for name, schema in bodies.items() if "oneOf" in schema}
    assert union == {"MovementRequest", "BatchRequest", "BatchItemRequest"}
    assert all(bodies[name]["additionalProperties"] is False for name in bodies.keys() - union)


def test_a_problem_names_every_code_there_is() -> None:
    codes = {code for codes in CODES.values() for code in codes}
    assert set(SCHEMAS["Problem"]["properties"]["code"]["enum"]) == codes


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("Account", "accounts/{account}"),
        ("AccountPage", "accounts"),
        ("EntryPage", "accounts/{account}/entries"),
        ("Statement", "accounts/{account}/statement"),
        ("Transaction", "transactions/{transaction}"),
        ("TransactionPage", "transactions"),
        ("StoryEventPage", "transactions/{transaction}/events"),
        ("Event", "events/{event}"),
        ("EventPage", "events"),
        ("Profile", "users/me"),
        ("ApiKeyPage", "users/api-keys"),
    ],
)
def test_an_object_has_exactly_the_members_that_are_described(
    world: World, name: str, path: str
) -> None:
    ids = {kind: world.known(kind) for kind in ("account", "transaction", "event")}
    answer = world.api.get(path.format(**ids))
    assert answer.status_code == 200
    check_members(answer.json(), SCHEMAS[name], name)


def test_a_statement_is_described_in_both_of_its_forms() -> None:
    answer = DOCUMENT["paths"]["/api/accounts/{account}/statement"]["get"]["responses"]["200"]
    assert answer["content"].keys() == {"application/json", "text/csv"}
    assert answer["content"]["text/csv"]["schema"] == {"type": "string"}


@pytest.mark.parametrize(("atomic", "name"), [(True, "AtomicResult"), (False, "SeparateResult")])
def test_the_answer_to_a_batch_has_the_members_that_are_described(
    world: World, atomic: bool, name: str
) -> None:
    source, destination = map(str, world.accounts)
    ends = {"source": source, "destination": destination}
    item = {"type": "transfer", "amount": 1, "currency": "EUR", **ends}
    answer = world.api.post(
        "transactions/batch", {"atomic": atomic, "transactions": [item]}, key="k"
    )
    body = answer.json()
    if not atomic:
        # A result has either the one or the other.
        refused = {"atomic": False, "transactions": [None]}
        error = world.api.post("transactions/batch", refused, key="j").json()["data"][0]
        assert error.keys() == {"index", "status", "error"}
        assert set(SCHEMAS["Problem"]["required"]) <= error["error"].keys()
        assert SCHEMAS["ItemResult"]["required"] == ["index", "status"]
        assert body["data"][0].keys() == {"index", "status", "transaction"}
        body, name = body["data"][0]["transaction"], "Transaction"
    check_members(body, SCHEMAS[name], name)


def test_the_items_of_a_batch_are_described_and_bounded() -> None:
    atomic = SCHEMAS["AtomicBatchRequest"]["properties"]
    separate = SCHEMAS["SeparateBatchRequest"]["properties"]
    for body in (atomic, separate):
        assert (body["transactions"]["minItems"], body["transactions"]["maxItems"]) == (1, 1000)
    assert atomic["transactions"]["items"] == {"$ref": "#/components/schemas/MovementRequest"}
    described, anything = separate["transactions"]["items"]["anyOf"]
    assert described == {"$ref": "#/components/schemas/BatchItemRequest"}
    assert "type" not in anything
    assert (atomic["atomic"]["enum"], separate["atomic"]["enum"]) == ([True], [False])


def test_a_problem_has_the_members_that_are_described(world: World) -> None:
    problem = world.api.move(type="transfer", amount=0).json()
    described = SCHEMAS["Problem"]
    assert set(described["required"]) <= problem.keys() <= described["properties"].keys()
    assert problem["errors"]
    fault = described["properties"]["errors"]["items"]
    assert all(each.keys() <= fault["properties"].keys() for each in problem["errors"])


def check_members(value: Any, schema: dict[str, Any], where: str) -> None:
    """Assert that `value` has the members of `schema`, no more and no fewer, at every depth."""
    if "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rpartition("/")[2]]
    if isinstance(value, list):
        assert value, f"{where} is empty, so this shows nothing"
        for each in value:
            check_members(each, schema["items"], f"{where}[]")
    elif isinstance(value, dict) and "properties" in schema:
        assert value.keys() == schema["properties"].keys(), where
        assert set(schema.get("required", value)) == set(value), where
        for name, member in value.items():
            check_members(member, schema["properties"][name], f"{where}.{name}")
