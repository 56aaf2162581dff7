"""The log knows every request, and none of its secrets."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from platform_site.gateway import services
from platform_site.logs import JSONFormatter, PlainFormatter, request_id_of_context


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the whole site writes into its log."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JSONFormatter())
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    """Return the log's lines, each of which is a JSON object."""
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_each_request_is_one_line(client: Client, log: io.StringIO) -> None:
    client.get("/api/payments/echo", headers={"X-Request-Id": "abc"})
    (line,) = lines(log)
    assert line["request_id"] == "abc"
    assert (line["method"], line["path"], line["status"]) == ("GET", "/api/payments/echo", 200)
    assert line["route"] == "api/payments/echo"
    assert line["duration_ms"] > 0
    assert line["user"] is None
    assert line["level"] == "info"


def test_the_route_stands_for_all_its_addresses(client: Client, log: io.StringIO) -> None:
    client.get("/api/payments/fails/stale")
    client.get("/api/payments/unknown")
    assert [line["route"] for line in lines(log)] == ["api/payments/fails/<name>", None]


def test_no_secret_of_a_request_reaches_the_log(client: Client, log: io.StringIO) -> None:
    for path in ("/api/payments/echo", "/api/payments/plain-fails/stale", "/nope"):
        client.post(
            f"{path}?token=swordfish",
            data={"password": "swordfish"},
            content_type="application/json",
            headers={"Authorization": "Basic swordfish", "Cookie": "session=swordfish"},
        )
    assert len(lines(log)) >= 3
    assert "swordfish" not in log.getvalue()


def test_a_bug_is_in_the_log_under_the_id_that_the_client_was_told(
    client: Client, log: io.StringIO
) -> None:
    answer = client.get("/api/payments/fails/bug")
    bug = next(line for line in lines(log) if "exception" in line)
    assert bug["level"] == "error"
    assert bug["request_id"] == answer.json()["request_id"]
    assert "ZeroDivisionError" in bug["exception"]


def test_an_error_without_a_status_is_in_the_log(client: Client, log: io.StringIO) -> None:
    client.get("/api/payments/fails/unheard")
    assert any("a_code_without_a_status" in line["message"] for line in lines(log))


def test_a_request_that_is_turned_away_is_one_line_too(client: Client, log: io.StringIO) -> None:
    services.SERVICES["payments"].breaker.force_open()
    client.get("/api/payments/echo")
    (line,) = lines(log)
    assert line["status"] == 503


def test_a_line_cannot_be_forged(log: io.StringIO) -> None:
    logging.getLogger("any").error('first\n{"level": "info"}')
    assert len(log.getvalue().splitlines()) == 1


def test_after_a_request_its_id_is_forgotten(client: Client) -> None:
    client.get("/api/payments/echo", headers={"X-Request-Id": "abc"})
    assert request_id_of_context.get() == ""


def test_for_a_person_the_fields_stand_behind_the_message() -> None:
    record = logging.LogRecord("site", logging.INFO, __file__, 1, "request", None, None)
    record.fields = {"status": 200}
    assert PlainFormatter().format(record).endswith("INFO    site: request status=200")
