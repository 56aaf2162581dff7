"""The platform says how it is doing, quickly and without secrets, whatever is broken."""

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings
from uuid_utils.compat import uuid7

from eventstore.models import Checkpoint, Event, ParkedEvent
from platform_site.gateway.health import Check, Finding, examine
from tests.conftest import free_port

TOKEN = "a token of operations"


def find(status: Any) -> Finding:
    return Finding(status, "As found.")


def fail() -> Finding:
    raise OSError("mysql://root:swordfish@db")


def append(version: int, *, age_s: float, position: int | None = None) -> None:
    """Put an event of this age into the log."""
    Event.objects.create(
        id=uuid7(),
        stream="account-1",
        version=version,
        type="AccountOpened",
        schema_version=1,
        data="{}",
        occurred_at=timezone.now() - timedelta(seconds=age_s),
        position=position,
    )


@pytest.mark.django_db(transaction=True)
def test_a_platform_without_trouble_is_ok(client: Client, settings: Settings) -> None:
    answer = client.get("/health")
    document = answer.json()
    assert (answer.status_code, document["status"]) == (200, "ok")
    assert document["version"] == settings.VERSION
    assert set(document["checks"]) == {"database", "redis", "log", "lanes"}
    for check in document["checks"].values():
        assert check["status"] == "ok"
        assert check["latency_ms"] >= 0
        assert check["detail"]
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.django_db(transaction=True)
def test_readiness_asks_the_database_only(client: Client) -> None:
    answer = client.get("/health/ready")
    assert answer.status_code == 200
    assert set(answer.json()["checks"]) == {"database"}


def test_liveness_touches_nothing(client: Client) -> None:
    # Without the mark for it, any use of the database is an error in this test.
    answer = client.get("/health/live", headers={"Authorization": "Bearer ek_whatever"})
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_without_a_database_the_platform_is_down_and_says_so_in_json(client: Client) -> None:
    # Without the mark for it, the database refuses every use, as one that is away does.
    for path in ("/health", "/health/ready"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json()["status"] == "down"
        assert answer.json()["checks"]["database"]["status"] == "down"


@pytest.mark.django_db(transaction=True)
def test_without_redis_the_platform_is_only_degraded(client: Client, settings: Settings) -> None:
    settings.REDIS_URL = f"redis://:swordfish@127.0.0.1:{free_port()}/0"
    answer = client.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["checks"]["redis"]["status"] == "degraded"
    assert "swordfish" not in answer.content.decode()


@pytest.mark.django_db(transaction=True)
def test_with_redis_it_is_asked(client: Client, settings: Settings, valkey_url: str) -> None:
    settings.REDIS_URL = valkey_url
    assert client.get("/health").json()["checks"]["redis"]["status"] == "ok"


@pytest.mark.django_db(transaction=True)
def test_events_that_wait_for_their_position_too_long_degrade_it(client: Client) -> None:
    append(1, age_s=1)
    assert client.get("/health").json()["checks"]["log"]["status"] == "ok"
    append(2, age_s=1)
    Event.objects.update(occurred_at=timezone.now() - timedelta(seconds=100))
    log = client.get("/health").json()["checks"]["log"]
    assert log["status"] == "degraded"
    assert log["detail"].startswith("2 events wait for their position, the oldest for 100 s")


@pytest.mark.django_db(transaction=True)
def test_lanes_that_lag_fail_or_have_parked_events_are_named(client: Client) -> None:
    append(1, age_s=100, position=1)
    Checkpoint.objects.create(name="mongodb", position=1, last_error="swordfish")
    Checkpoint.objects.create(name="entries", position=0)
    for name in ("spanner", "notifications"):
        Checkpoint.objects.create(name=name, position=1)
    ParkedEvent.objects.create(
        subscription="spanner",
        stream="account-1",
        position=1,
        error="swordfish",
        parked_at=timezone.now(),
    )
    lanes = client.get("/health").json()["checks"]["lanes"]
    assert lanes["status"] == "degraded"
    assert "mongodb (failing, 0 s behind, 0 parked)" in lanes["detail"]
    assert "entries (running, 100 s behind, 0 parked)" in lanes["detail"]
    assert "spanner (running, 0 s behind, 1 parked)" in lanes["detail"]
    assert "notifications" not in lanes["detail"]
    assert "swordfish" not in lanes["detail"]


@pytest.mark.parametrize(
    ("statuses", "overall"),
    [
        ([], "ok"),
        (["ok", "ok"], "ok"),
        (["degraded", "ok"], "degraded"),
        (["ok", "down", "degraded"], "down"),
    ],
)
def test_the_platform_is_as_well_as_its_worst_part(statuses: list[Any], overall: str) -> None:
    checks = [
        Check(str(number), lambda status=status: find(status), worst="down")  # type: ignore[misc]
        for number, status in enumerate(statuses)
    ]
    assert examine(checks)["status"] == overall


def test_what_a_check_raises_is_not_told() -> None:
    document = examine([Check("store", fail, worst="degraded")])
    assert document["checks"]["store"]["status"] == "degraded"
    assert document["checks"]["store"]["detail"] == "It cannot be asked (OSError)."


def test_a_check_that_hangs_holds_nobody_up_and_no_second_thread_waits_with_it() -> None:
    leave, asked = threading.Event(), []

    def hang() -> Finding:
        asked.append(threading.current_thread())
        leave.wait(timeout=20)
        return find("ok")

    checks = [Check("stuck", hang, worst="down"), Check("fine", lambda: find("ok"), worst="down")]
    started_s = time.monotonic()
    for _ in range(3):
        document = examine(checks, timeout_s=0.05)
        assert document["status"] == "down"
        assert document["checks"]["stuck"]["detail"] == "No answer within 0.05 seconds."
        assert document["checks"]["fine"]["status"] == "ok"
    assert time.monotonic() - started_s < 10
    assert len(asked) == 1
    leave.set()
    asked[0].join(timeout=20)
    assert examine(checks)["status"] == "ok"


@pytest.mark.parametrize("path", ["/health", "/metrics", "/api/discovery/services"])
@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401),
        ("Bearer another", 401),
        (f"Basic {TOKEN}", 401),
        ("Bearer ", 401),
        ("Bearer ä", 401),
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_the_operations_token_is_wanted_when_there_is_one(
    client: Client, settings: Settings, path: str, authorization: str | None, status: int
) -> None:
    settings.OPERATIONS_TOKEN = TOKEN
    answer = client.get(path, headers={"Authorization": authorization} if authorization else None)
    assert answer.status_code == status
    if status == 401:
        assert answer.json()["code"] == "not_authenticated"
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
@pytest.mark.django_db(transaction=True)
def test_probes_need_no_token(client: Client, settings: Settings, path: str) -> None:
    settings.OPERATIONS_TOKEN = TOKEN
    assert client.get(path).status_code == 200
