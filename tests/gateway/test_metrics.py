"""The metrics say what happened, in words that no client can multiply."""

import pytest
from django.db import connection
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families
from pytest_django.fixtures import Settings

from platform_site.gateway import services
from platform_site.gateway.addresses import NAMES

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(client: Client) -> Samples:
    """Return every sample of a scrape, by name and labels."""
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }


def value(samples: Samples, name: str, /, **labels: str) -> float:
    """Return one sample, 0.0 when it has never been counted."""
    return samples.get((name, frozenset(labels.items())), 0.0)


def rise(before: Samples, after: Samples, name: str, /, **labels: str) -> float:
    """Return by how much a counter rose."""
    return value(after, name, **labels) - value(before, name, **labels)


@pytest.mark.django_db
def test_requests_are_counted_by_service_method_and_class_of_status(client: Client) -> None:
    before = scrape(client)
    for _ in range(3):
        client.get("/api/payments/echo")
    client.post("/api/payments/echo", content_type="application/json")
    client.get("/api/payments/fails/bug")
    after = scrape(client)
    name = "evenkeel_request_duration_seconds_count"
    for method, status, times in (("GET", "2xx", 3), ("POST", "2xx", 1), ("GET", "5xx", 1)):
        assert rise(before, after, name, service="payments", method=method, status=status) == times


@pytest.mark.django_db
def test_no_client_can_make_up_labels(client: Client) -> None:
    for number in range(20):
        client.generic(f"BREW{number}", f"/api/payments/echo?x={number}")
        client.get(f"/api/made-up-{number}/x")
        client.get(f"/made-up-{number}")
    label_values = {item for _, labels in scrape(client) for item in labels}
    assert {value for key, value in label_values if key == "service"} <= {
        *NAMES,
        "gateway",
        "admin",
        "static",
        "unknown",
    }
    assert not [value for _, value in label_values if "made-up" in value or "BREW" in value]
    assert ("method", "OTHER") in label_values


@pytest.mark.django_db
def test_decisions_of_the_limiter_are_counted(client: Client, settings: Settings) -> None:
    settings.RATE_LIMIT_TIERS = {"default": (2, 900)}
    before = scrape(client)
    for _ in range(4):
        client.get("/api/payments/echo")
    after = scrape(client)
    name = "evenkeel_limiter_decisions_total"
    for decision, source, times in (
        ("allowed", "store", 2),
        ("denied", "store", 1),
        ("denied", "denial_cache", 1),
    ):
        risen = rise(before, after, name, tier="default", decision=decision, source=source)
        assert risen == times


@pytest.mark.django_db
def test_breakers_show_their_state_and_their_transitions(client: Client) -> None:
    before = scrape(client)
    for _ in range(10):
        client.get("/api/payments/fails/bug")
    client.get("/api/payments/echo")
    after = scrape(client)
    state = "evenkeel_breaker_state"
    assert value(before, state, breaker="payments", state="closed") == 1
    assert value(after, state, breaker="payments", state="closed") == 0
    assert value(after, state, breaker="payments", state="open") == 1
    assert value(after, state, breaker="users", state="closed") == 1
    transitions = "evenkeel_breaker_transitions_total"
    assert rise(before, after, transitions, breaker="payments", old="closed", new="open") == 1
    rejections = "evenkeel_rejections_total"
    assert rise(before, after, rejections, name="payments", reason="breaker_open") == 1


@pytest.mark.django_db
def test_bulkheads_show_how_busy_they_are(client: Client) -> None:
    with services.SERVICES["payments"].bulkhead.slot():
        samples = scrape(client)
    assert value(samples, "evenkeel_bulkhead_size", bulkhead="payments") == 15
    assert value(samples, "evenkeel_bulkhead_active", bulkhead="payments") == 1
    assert value(samples, "evenkeel_bulkhead_active", bulkhead="users") == 0


@pytest.mark.django_db
def test_the_log_and_its_lanes_are_shown(client: Client) -> None:
    samples = scrape(client)
    assert value(samples, "evenkeel_log_readable") == 1
    assert ("evenkeel_log_head_position", frozenset()) in samples
    for lane in ("mongodb", "spanner", "entries", "notifications"):
        assert ("evenkeel_lane_lag_events", frozenset({("lane", lane)})) in samples
        assert value(samples, "evenkeel_lane_state", lane=lane, state="running") == 1


@pytest.mark.skipif(connection.vendor != "sqlite", reason="MySQL does not undo DROP TABLE")
@pytest.mark.django_db
def test_a_log_that_cannot_be_read_spoils_no_scrape(client: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE eventstore_checkpoint")
    samples = scrape(client)
    assert value(samples, "evenkeel_log_readable") == 0
    assert value(samples, "evenkeel_breaker_state", breaker="users", state="closed") == 1
