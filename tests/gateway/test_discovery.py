"""The gateway tells what it reaches, and shows the whole contract."""

import json
from typing import Any

import pytest
from django.test import Client
from drf_spectacular.validation import validate_schema

from platform_site.gateway import services
from platform_site.gateway.codes import STATUS_OF

METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture
def schema(client: Client) -> dict[str, Any]:
    """The document of the API."""
    answer = client.get("/api/schema")
    assert answer.headers["Content-Type"] == "application/json"
    document: dict[str, Any] = json.loads(answer.content)
    return document


def test_discovery_lists_every_service_with_what_guards_it(client: Client) -> None:
    listed = client.get("/api/discovery/services").json()["data"]
    assert [each["name"] for each in listed] == [
        "transactions",
        "accounts",
        "users",
        "events",
        "analytics",
        "payments",
    ]
    for each in listed:
        assert each["kind"] == "local"
        assert each["url"] == f"http://testserver/api/{each['name']}"
        assert (each["healthy"], each["breaker"]) == (True, "closed")
        assert each["bulkhead"] == {"size": 15, "active": 0, "queued": 0, "utilization": 0.0}
    users = next(each for each in listed if each["name"] == "users")
    assert {"/api/users/register", "/api/users/token", "/api/users/me"} <= set(users["routes"])


def test_discovery_shows_a_service_in_trouble(client: Client) -> None:
    services.SERVICES["payments"].breaker.force_open()
    with services.SERVICES["users"].bulkhead.slot():
        listed = {
            each["name"]: each for each in client.get("/api/discovery/services").json()["data"]
        }
    assert (listed["payments"]["healthy"], listed["payments"]["breaker"]) == (False, "forced_open")
    assert listed["users"]["bulkhead"]["active"] == 1
    assert listed["users"]["healthy"] is True


def test_the_document_is_valid_openapi_3_1(schema: dict[str, Any]) -> None:
    assert schema["openapi"].startswith("3.1")
    validate_schema(schema)  # type: ignore[no-untyped-call]


def test_every_operation_documents_its_errors_as_problems(schema: dict[str, Any]) -> None:
    problem = {"$ref": "#/components/responses/Problem"}
    for path, operations in schema["paths"].items():
        for method in METHODS & set(operations):
            answers = operations[method]["responses"]
            assert answers["default"] == problem, (path, method)
            if path.startswith("/api/"):
                assert {"429", "503"} <= set(answers), (path, method)
    content = schema["components"]["responses"]["Problem"]["content"]
    assert set(content) == {"application/problem+json"}
    codes = schema["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
    assert set(codes) == set(STATUS_OF)


def test_operations_that_want_credentials_say_so(schema: dict[str, Any]) -> None:
    assert schema["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    me = schema["paths"]["/api/users/me"]["get"]
    assert {"bearer": []} in me["security"]
    assert "401" in me["responses"]
    assert not schema["paths"]["/health/live"]["get"].get("security")


def test_the_document_names_the_gateway_s_own_calls(schema: dict[str, Any]) -> None:
    assert {
        "/health",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/api/discovery/services",
    } <= set(schema["paths"])


def test_the_manual_runs_nothing_inline_and_asks_nobody_else(client: Client) -> None:
    answer = client.get("/api/docs")
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert "style=" not in page
    assert "<style" not in page
    assert "http://" not in page
    assert "https://" not in page
    assert page.count("<script") == page.count("<script src=") == 2


def test_everything_that_the_manual_loads_is_served_here(client: Client) -> None:
    page = client.get("/api/docs").content.decode()
    files = [part.split('"', 1)[0] for part in page.split('="') if part.startswith("/static/")]
    assert len(files) == 5
    for file in files:
        assert client.head(file).status_code == 200, file
