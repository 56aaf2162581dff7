"""One service in trouble is left alone; the others go on."""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from platform_site.gateway import services
from platform_site.gateway.services import Service
from resilience import (
    BreakerConfig,
    BreakerState,
    Bulkhead,
    BulkheadConfig,
    CircuitBreaker,
    DeadlineExceeded,
    FakeClock,
    current_deadline,
)
from tests.gateway import urls
from tests.gateway.chain import clients

ECHO = "/api/payments/echo"
GATED = "/api/payments/gated"
BUG = "/api/payments/fails/bug"


@pytest.fixture(autouse=True)
def _generous(settings: Settings) -> None:
    """Far more requests than any test here makes."""
    settings.RATE_LIMIT_TIERS = {"default": (10_000, 900)}


def guarded(
    monkeypatch: pytest.MonkeyPatch, *, bulkhead: BulkheadConfig, clock: FakeClock | None = None
) -> Service:
    """Put a `payments` with this bulkhead, and a breaker on this clock, into the registry."""
    service = Service(
        name="payments",
        url="",
        breaker=CircuitBreaker("payments", BreakerConfig(), clock=clock or FakeClock()),
        bulkhead=Bulkhead("payments", bulkhead),
    )
    registry: Mapping[str, Service] = {**services.SERVICES, "payments": service}
    monkeypatch.setattr(services, "SERVICES", registry)
    return service


def test_a_service_that_keeps_failing_is_left_alone_and_the_others_answer(client: Client) -> None:
    for _ in range(10):
        assert client.get(BUG).status_code == 500
    refused = client.get(ECHO)
    assert (refused.status_code, refused.json()["code"]) == (503, "service_unavailable")
    assert 25 <= int(refused.headers["Retry-After"]) <= 30
    assert refused.json()["retryable"] is True
    assert client.get("/api/events/echo").status_code == 200


def test_a_service_that_works_again_is_let_back_in_by_one_probe(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    service = guarded(monkeypatch, bulkhead=BulkheadConfig(), clock=clock)
    for _ in range(10):
        client.get(BUG)
    assert client.get(ECHO).status_code == 503
    clock.advance(30)
    assert client.get(ECHO).status_code == 200
    assert service.breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize("name", ["stale", "input", "http404", "denied", "not-authenticated"])
def test_refusals_are_no_failures(client: Client, name: str) -> None:
    for _ in range(20):
        client.get(f"/api/payments/fails/{name}")
    assert client.get(ECHO).status_code == 200
    assert services.SERVICES["payments"].breaker.snapshot().failure_rate == 0


def test_a_database_that_is_away_counts_as_a_failure(client: Client) -> None:
    for _ in range(10):
        assert client.get("/api/payments/fails/mysql-gone").status_code == 503
    assert services.SERVICES["payments"].breaker.state is BreakerState.OPEN


def test_no_more_requests_than_slots_are_worked_on_at_once(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = guarded(monkeypatch, bulkhead=BulkheadConfig(size=2, queue_max=0))
    inside, leave = threading.Semaphore(0), threading.Event()

    def wait() -> None:
        inside.release()
        assert leave.wait(timeout=20)

    urls.gate.pass_through = wait
    with ThreadPoolExecutor(8) as pool:
        two, six = clients(2), clients(6)
        working = [pool.submit(each.get, GATED) for each in two]
        assert all(inside.acquire(timeout=20) for _ in range(2))
        turned_away = [pool.submit(each.get, GATED).result(timeout=20) for each in six]
        assert service.bulkhead.snapshot().active == 2
        assert client.get("/api/events/echo").status_code == 200
        leave.set()
        assert [each.result(timeout=20).status_code for each in working] == [200, 200]
    for answer in turned_away:
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
        assert answer.headers["Retry-After"] == "1"
    assert service.bulkhead.snapshot().active == 0


def test_being_full_does_not_count_against_a_service(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = guarded(monkeypatch, bulkhead=BulkheadConfig(size=1, queue_max=0))
    with service.bulkhead.slot():
        for _ in range(20):
            assert client.get(ECHO).status_code == 503
    assert service.breaker.snapshot().calls == 0
    assert client.get(ECHO).status_code == 200


def test_a_probe_that_finds_no_slot_leaves_its_place_to_the_next(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    service = guarded(monkeypatch, bulkhead=BulkheadConfig(size=1, queue_max=0), clock=clock)
    for _ in range(10):
        client.get(BUG)
    clock.advance(30)
    with service.bulkhead.slot():
        assert client.get(ECHO).json()["code"] == "overloaded"
    assert client.get(ECHO).status_code == 200


def test_who_waits_gets_the_slot_that_becomes_free(monkeypatch: pytest.MonkeyPatch) -> None:
    service = guarded(monkeypatch, bulkhead=BulkheadConfig(size=1, queue_max=5))
    with ThreadPoolExecutor(5) as pool:
        with service.bulkhead.slot():
            waiting = [pool.submit(each.get, ECHO) for each in clients(5)]
            give_up_s = time.monotonic() + 20
            while service.bulkhead.snapshot().queued < 5:
                assert time.monotonic() < give_up_s
                time.sleep(0.001)
        assert [each.result(timeout=20).status_code for each in waiting] == [200] * 5


def test_a_view_knows_how_much_time_is_left(client: Client) -> None:
    assert 29 < client.get(ECHO).json()["deadline_s"] <= 30
    assert current_deadline() is None


def test_a_view_that_gives_up_at_its_deadline_is_a_504(client: Client) -> None:
    def give_up() -> None:
        raise DeadlineExceeded("The request")

    urls.gate.pass_through = give_up
    answer = client.get(GATED)
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize(
    ("status", "took_s", "failures"),
    [(504, 30.0, 1), (504, 0.1, None), (503, 0.1, 1), (200, 0.1, 0), (404, 0.1, 0)],
)
def test_a_deadline_that_came_at_once_says_nothing_about_the_service(
    status: int, took_s: float, failures: int | None
) -> None:
    breaker = CircuitBreaker("payments")
    services.report(breaker.acquire(), status=status, took_s=took_s)
    seen = breaker.snapshot()
    assert (seen.calls, seen.failure_rate) == ((0, 0) if failures is None else (1, failures))


def test_callers_who_give_a_service_no_time_do_not_close_it_to_others(client: Client) -> None:
    def give_up() -> None:
        raise DeadlineExceeded("The request")

    urls.gate.pass_through = give_up
    for _ in range(20):
        client.get(GATED, headers={"X-Request-Timeout-Ms": "0"})
    assert client.get(ECHO).status_code == 200


@pytest.mark.parametrize("path", ["/health/live", "/api/docs", "/api/schema", "/nope"])
def test_the_gateway_answers_for_itself_when_every_service_is_left_alone(
    client: Client, path: str
) -> None:
    for service in services.SERVICES.values():
        service.breaker.force_open()
    assert client.get(path).status_code in {200, 404}
    assert client.get(ECHO).status_code == 503
