"""The log knows every request, and none of its secrets."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from django.test import Client

from platform_site.gateway import services
from platform_site.gateway.messages import Request, Response
from platform_site.gateway.steps import observation
from platform_site.gateway.threads import Threads
from platform_site.logs import (
    JSONFormatter,
    LineRecord,
    PlainFormatter,
    request_id_of_context,
    trace_of_context,
)


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


@pytest.mark.parametrize("mark", ["\x00", "\r", "\x1b", "\x85", "\x9b", "\u2028", "ä"])
def test_no_mark_of_a_path_ends_a_line_or_commands_a_terminal(
    client: Client, log: io.StringIO, mark: str
) -> None:
    client.get(f"/nope/{quote(mark)}x")
    assert log.getvalue().count("\n") == 1
    assert log.getvalue().isascii()
    assert mark not in log.getvalue().removesuffix("\n")
    assert lines(log)[0]["path"] == f"/nope/{mark}x"


def test_what_a_client_says_at_length_is_cut_off(log: io.StringIO) -> None:
    request = Request(method="X" * 9_000, raw_path="/" + "y" * 9_000)
    request.traceparent = f"cc-{'1' * 32}-{'2' * 16}-01-{'z' * 9_000}"
    observation.log(request, Response(status=404), 0.001)
    assert len(log.getvalue()) < 600


@pytest.mark.parametrize(
    ("fact", "written"),
    [
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (2**70, 2**70),
        ("\ud800", "\ud800"),
        (ValueError("wrong"), "wrong"),
        ({1}, [1]),
        ([None, True, 0.5], [None, True, 0.5]),
    ],
)
def test_a_fact_of_any_kind_is_written(log: io.StringIO, fact: object, written: object) -> None:
    logging.getLogger("any").error("it failed", extra={"fields": {"fact": fact}})
    assert lines(log)[0]["fact"] == written


def test_times_are_rfc_3339_with_microseconds() -> None:
    formatter = JSONFormatter()
    record = logging.LogRecord("site", logging.INFO, __file__, 1, "request", None, None)
    for created_s, written in (
        (0.000001, "1970-01-01T00:00:00.000001Z"),
        (1767323045.5, "2026-01-02T03:04:05.500000Z"),
        (1767323045.9999999, "2026-01-02T03:04:06.000000Z"),
        (1767323045.25, "2026-01-02T03:04:05.250000Z"),
    ):
        record.created = created_s
        assert json.loads(formatter.format(record))["time"] == written


def test_what_a_thread_logs_is_under_the_id_of_its_request(log: io.StringIO) -> None:
    threads = Threads(2, name="test")

    async def both() -> None:
        await asyncio.gather(*(logs_in_a_thread(each) for each in ("first", "second")))

    async def logs_in_a_thread(request_id: str) -> None:
        request_id_of_context.set(request_id)
        await threads.run(logging.getLogger("any").error, request_id)

    asyncio.run(both())
    assert sorted((line["message"], line["request_id"]) for line in lines(log)) == [
        ("first", "first"),
        ("second", "second"),
    ]


def test_a_line_within_a_trace_names_it(log: io.StringIO) -> None:
    token = trace_of_context.set(("1" * 32, "2" * 16))
    logging.getLogger("any").error("it failed")
    trace_of_context.reset(token)
    logging.getLogger("any").error("it failed")
    within, outside = lines(log)
    assert (within["trace_id"], within["span_id"]) == ("1" * 32, "2" * 16)
    assert "trace_id" not in outside


def test_a_request_s_record_has_all_that_a_format_may_ask_for() -> None:
    usual = logging.LogRecord("site", logging.INFO, __file__, 1, "request", None, None)
    record = LineRecord("site", logging.INFO, "request", {})
    assert record.__dict__.keys() == {*usual.__dict__, "fields"}
    text = "%(process)d %(thread)d %(lineno)d %(name)s %(levelname)s %(message)s"
    assert logging.Formatter(text).format(record).endswith("0 site INFO request")


def test_after_a_request_its_id_is_forgotten(client: Client) -> None:
    client.get("/api/payments/echo", headers={"X-Request-Id": "abc"})
    assert request_id_of_context.get() == ""


def test_for_a_person_the_fields_stand_behind_the_message() -> None:
    record = logging.LogRecord("site", logging.INFO, __file__, 1, "request", None, None)
    record.fields = {"status": 200}
    assert PlainFormatter().format(record).endswith("INFO    site: request status=200")
