"""The metrics say what happened, in words that no client can multiply."""

import asyncio
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from pytest_django.fixtures import Settings

from platform_site.env import for_child
from platform_site.gateway import metrics, services, states
from platform_site.gateway.addresses import NAMES
from platform_site.gateway.metrics import MetricsListener
from platform_site.gateway.threads import Threads
from resilience import BreakerState

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples_of(exposition: str) -> Samples:
    """Return every sample of a text, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


def metrics_text() -> str:
    """Return what is counted, and the states as they were last refreshed."""
    return generate_latest(metrics.REGISTRY).decode()


def scrape(client: Client) -> Samples:
    """Return every sample of a scrape, by name and labels."""
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return samples_of(answer.content.decode())


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


@pytest.mark.django_db
def test_names_follow_the_rules_of_prometheus(client: Client) -> None:
    """Source: Prometheus, "Metric and label naming": one prefix, base units, what it counts."""
    text = client.get("/metrics").content.decode()
    families = list(text_string_to_metric_families(text))
    assert len(families) > 25
    for family in families:
        assert re.fullmatch(r"evenkeel_[a-z]+(_[a-z]+)*", family.name), family.name
        assert family.documentation.endswith("."), family.name
        assert not re.search(r"_(ms|milliseconds|minutes|kb|percent|created)$", family.name)
        assert f"# TYPE {family.name}{'_total' * (family.type == 'counter')} " in text
        assert family.type in {"counter", "gauge", "histogram"}
        for sample in family.samples:
            assert not {"job", "instance"} & sample.labels.keys()


@pytest.mark.django_db
def test_what_has_not_happened_yet_is_zero_and_not_absent(client: Client) -> None:
    samples = scrape(client)
    for service in NAMES:
        opened = frozenset({("breaker", service), ("old", "closed"), ("new", "open")})
        assert ("evenkeel_breaker_transitions_total", opened) in samples
        for reason in ("breaker_open", "queue_full", "queue_timeout"):
            refused = frozenset({("name", service), ("reason", reason)})
            assert ("evenkeel_rejections_total", refused) in samples
    assert ("evenkeel_limiter_fallbacks_total", frozenset()) in samples


@pytest.mark.django_db
def test_the_gateway_s_own_bulkheads_and_the_limiter_s_breaker_are_shown(client: Client) -> None:
    samples = scrape(client)
    for bulkhead in ("admission", "site", "operations"):
        assert value(samples, "evenkeel_bulkhead_size", bulkhead=bulkhead) > 0
    assert value(samples, "evenkeel_breaker_state", breaker="rate_limiter", state="closed") == 1
    assert value(samples, "evenkeel_breaker_state", breaker="site", state="closed") == 1


@pytest.mark.django_db
def test_each_breaker_is_in_one_state(client: Client) -> None:
    services.SERVICES["users"].breaker.force_open()
    services.SERVICES["events"].breaker.disable()
    samples = scrape(client)
    for breaker, expected in (
        ("users", "forced_open"),
        ("events", "disabled"),
        ("accounts", "closed"),
    ):
        assert [
            state
            for state in BreakerState
            if value(samples, "evenkeel_breaker_state", breaker=breaker, state=state)
        ] == [expected]


@pytest.mark.django_db
def test_threads_are_shown_by_pool(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "_threads", {})
    threads = Threads(2, name="test")
    states.watch({"test": threads})
    begun, may_end = threading.Barrier(3), threading.Event()

    def work() -> None:
        begun.wait()
        may_end.wait()

    async def busy() -> Samples:
        jobs = [threads.start(work if number < 2 else may_end.wait) for number in range(3)]
        await asyncio.get_running_loop().run_in_executor(None, begun.wait)
        samples = await asyncio.get_running_loop().run_in_executor(None, states_now)
        may_end.set()
        await asyncio.gather(*jobs)
        return samples

    def states_now() -> Samples:
        states.refresh()
        return samples_of(metrics_text())

    samples = asyncio.run(busy())
    for name, expected in (("size_max", 2), ("size", 2), ("busy", 2), ("waiting", 1)):
        assert value(samples, f"evenkeel_threads_{name}", pool="test") == expected


def test_retries_and_calls_that_were_given_up_are_counted() -> None:
    before = samples_of(metrics_text())
    listener = MetricsListener()
    listener.on_retry("payments", 0, 0.1, ValueError())
    listener.on_given_up("payments", "deadline", ValueError())
    listener.on_fallback("rate_limiter", ValueError())
    after = samples_of(metrics_text())
    for outcome in ("retried", "deadline"):
        name = "evenkeel_retries_total"
        assert rise(before, after, name, name="payments", outcome=outcome) == 1
    assert rise(before, after, "evenkeel_limiter_fallbacks_total") == 1


def test_a_status_that_no_one_knows_is_counted_as_other() -> None:
    before = samples_of(metrics_text())
    for status in (0, 99, 600, 999):
        metrics.observe_request(service="users", method="GET", status=status, duration_s=0.1)
    name = "evenkeel_request_duration_seconds_count"
    labels = {"service": "users", "method": "GET", "status": "other"}
    assert rise(before, samples_of(metrics_text()), name, **labels) == 4


PROCESS = """
import sys
import django
django.setup()
from platform_site.gateway import metrics, scrape, services, states
metrics.observe_request(service="payments", method="GET", status=200, duration_s=0.1)
if sys.argv[1] == "first":
    services.SERVICES["payments"].breaker.force_open()
    services.SERVICES["payments"].bulkhead.acquire()
    states.publish()
else:
    sys.stdout.buffer.write(scrape.exposition())
"""


def run_process(folder: Path, which: str) -> str:
    """Run one process of several behind one address to its end; return what it printed."""
    environment = for_child(
        DJANGO_SETTINGS_MODULE="platform_site.settings",
        DATA_DIR=str(folder / "data"),
        PROMETHEUS_MULTIPROC_DIR=str(folder / "metrics"),
    )
    done = subprocess.run(
        [sys.executable, "-c", PROCESS, which],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return done.stdout


def test_processes_of_one_address_are_shown_together(tmp_path: Path) -> None:
    run_process(tmp_path, "first")
    samples = samples_of(run_process(tmp_path, "second"))
    assert value(samples, "evenkeel_processes") == 2
    for state in ("forced_open", "closed"):
        assert value(samples, "evenkeel_breaker_state", breaker="payments", state=state) == 1
    assert value(samples, "evenkeel_bulkhead_size", bulkhead="payments") == 30
    assert value(samples, "evenkeel_bulkhead_active", bulkhead="payments") == 1
    labels = {"service": "payments", "method": "GET", "status": "2xx"}
    assert value(samples, "evenkeel_request_duration_seconds_count", **labels) == 2
    # Of the log there is one, whoever is asked.
    assert ("evenkeel_log_readable", frozenset()) in samples
    assert not [labels for _, labels in samples if "pid" in dict(labels)]


def test_a_process_that_has_ended_keeps_what_it_counted_and_has_no_states(tmp_path: Path) -> None:
    run_process(tmp_path, "first")
    ended_s = 1_000.0
    for path in (tmp_path / "metrics").iterdir():
        os.utime(path, (ended_s, ended_s))
    samples = samples_of(run_process(tmp_path, "second"))
    assert value(samples, "evenkeel_processes") == 1
    assert value(samples, "evenkeel_breaker_state", breaker="payments", state="forced_open") == 0
    labels = {"service": "payments", "method": "GET", "status": "2xx"}
    assert value(samples, "evenkeel_request_duration_seconds_count", **labels) == 2


def test_a_process_is_taken_for_ended_only_after_several_turns(tmp_path: Path) -> None:
    state, counted = tmp_path / "gauge_livesum_7.db", tmp_path / "counter_7.db"
    for path in (state, counted):
        path.touch()
        os.utime(path, (100.0, 100.0))
    assert states.STALE_AFTER_S > 3 * states.PUBLISH_INTERVAL_S
    for now_s, files in (
        (100.0 + states.STALE_AFTER_S - 1, {state, counted}),
        (100.0 + states.STALE_AFTER_S, {counted}),
    ):
        assert set(states.files_of_all(tmp_path, now_s=now_s)) == {str(path) for path in files}
