"""Whatever goes wrong outside of the admin is a problem document."""

import pytest
from django.test import Client
from pytest_django.fixtures import Settings


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize(
    "path", ["/nope", "/api", "/api/", "/api/payments/nope", "/static/nope", "/healthy", "//api/x"]
)
def test_an_unknown_path_is_a_problem(
    client: Client, settings: Settings, path: str, debug: bool
) -> None:
    settings.DEBUG = debug
    answer = client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/api/nope", "/api/nope/deeper", "/api/Payments", "/api/admin"])
def test_an_unknown_service_is_told_apart(client: Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_service")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/api/payments/echo", {"GET", "POST"}),
        ("POST", "/api/schema", {"GET", "HEAD"}),
        ("DELETE", "/health/live", {"GET"}),
        ("OPTIONS", "/metrics", {"GET"}),
        ("BREW", "/api/payments/echo", {"GET", "POST"}),
    ],
)
def test_a_wrong_method_is_told_which_ones_are_right(
    client: Client, method: str, path: str, allow: set[str]
) -> None:
    answer = client.generic(method, path)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert allow <= {each.strip() for each in answer.headers["Allow"].split(",")}


def test_a_page_for_people_becomes_a_problem_and_keeps_its_headers(client: Client) -> None:
    answer = client.get("/api/payments/page")
    assert answer.json()["code"] == "method_not_allowed"
    assert answer.headers["Allow"] == "PUT"
    assert "swordfish" not in answer.content.decode()


def test_an_error_that_a_view_tells_in_json_stays_as_it_is(client: Client) -> None:
    answer = client.get("/api/payments/json-error")
    assert (answer.status_code, answer.content) == (503, b"{}")


def test_a_format_that_the_api_does_not_speak_is_a_problem(client: Client) -> None:
    answer = client.get("/api/payments/echo", headers={"Accept": "image/png"})
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")


def test_a_host_that_is_not_ours_is_refused(client: Client) -> None:
    answer = client.get("/health/live", headers={"Host": "evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert "ALLOWED_HOSTS" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/", "/admin"])
def test_short_addresses_lead_on(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 302
    assert answer.headers["Location"] == {"/": "/api/docs", "/admin": "/admin/"}[path]
