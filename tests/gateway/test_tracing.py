"""Every request has an id, and keeps its trace."""

from uuid import UUID

import pytest
from django.test import Client

from platform_site.gateway.steps.tracing import valid_traceparent

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_request_without_an_id_gets_one_and_the_view_sees_it(client: Client) -> None:
    answer = client.get("/api/payments/echo")
    made = answer.headers["X-Request-Id"]
    assert UUID(made).version == 7
    assert answer.json()["request_id"] == made


def test_two_requests_get_two_ids(client: Client) -> None:
    first, second = (client.get("/api/payments/echo") for _ in range(2))
    assert first.headers["X-Request-Id"] != second.headers["X-Request-Id"]


@pytest.mark.parametrize("given", ["a", "!~", "x" * 128, "0af7-651916"])
def test_the_caller_s_id_is_kept(client: Client, given: str) -> None:
    answer = client.get("/api/payments/echo", headers={"X-Request-Id": given})
    assert answer.headers["X-Request-Id"] == answer.json()["request_id"] == given


@pytest.mark.parametrize("given", ["", " ", "x" * 129, "a b", "a\tb", "ä", "a\x7f", "a\r\nEvil: 1"])
def test_an_id_that_could_forge_a_line_is_replaced(client: Client, given: str) -> None:
    answer = client.get("/api/payments/echo", headers={"X-Request-Id": given})
    assert UUID(answer.headers["X-Request-Id"]).version == 7


@pytest.mark.parametrize("path", ["/nope", "/health/live", "/static/platform_site/docs.js", "/"])
def test_answers_outside_of_the_api_have_the_id_too(client: Client, path: str) -> None:
    assert client.head(path, headers={"X-Request-Id": "abc"}).headers["X-Request-Id"] == "abc"


def test_a_valid_traceparent_reaches_the_view(client: Client) -> None:
    answer = client.get("/api/payments/echo", headers={"traceparent": TRACE})
    assert answer.json()["traceparent"] == TRACE


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        TRACE.upper(),
        f"{TRACE}-more",
        f" {TRACE}",
        f"{TRACE}\n",
        TRACE.replace("00-", "ff-", 1),
        TRACE.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        TRACE.replace("b7ad6b7169203331", "0" * 16),
    ],
)
def test_an_invalid_traceparent_counts_as_none(header: str) -> None:
    assert valid_traceparent(header) is None


def test_a_traceparent_of_a_later_version_may_say_more() -> None:
    later = TRACE.replace("00-", "cc-", 1)
    assert valid_traceparent(later) == later
    assert valid_traceparent(f"{later}-what-comes") == f"{later}-what-comes"
