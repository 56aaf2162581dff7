"""Pages of other origins may call the API if they are named, and read whatever it answers."""

import json

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from pytest_django.fixtures import Settings

from platform_site import env
from platform_site.gateway import services
from platform_site.gateway.cross_origin import READ, SENT
from platform_site.gateway.pipeline import build_refusal
from platform_site.gateway.server import asgi
from tests.gateway.chain import ask, no_upkeep, scope

ECHO = "/api/payments/echo"
OURS = "https://app.example"
PREFLIGHT = {
    "Origin": OURS,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, idempotency-key",
}


@pytest.fixture
def named(settings: Settings) -> None:
    """One origin may call."""
    settings.CORS_ALLOWED_ORIGINS = [OURS]


def test_without_any_origin_named_nothing_is_said_of_origins(client: Client) -> None:
    for answer in (
        client.get(ECHO, headers={"Origin": OURS}),
        client.options(ECHO, headers=PREFLIGHT),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "origin" not in answer.headers.get("Vary", "").lower()


@pytest.mark.usefixtures("named")
def test_a_page_of_a_named_origin_may_read_an_answer_and_what_it_says_of_limits(
    client: Client,
) -> None:
    answer = client.get(ECHO, headers={"Origin": OURS})
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == OURS
    assert "origin" in answer.headers["Vary"].lower()
    exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert set(exposed) == set(READ)
    # What an answer of this API says in its head, a page can read.
    told = {name.lower() for name in answer.headers if name.lower().startswith(("x-rate", "rate"))}
    assert told
    assert {*told, "x-request-id", "retry-after", "etag", "location", "link"} <= set(exposed)
    assert {"idempotent-replayed", "x-read-lag-seconds"} <= set(exposed)
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://app.example",
        "https://app.example.evil.example",
        "https://app.example:8443",
        "null",
        "",
        "https://[",
    ],
)
def test_a_page_of_any_other_origin_may_not(client: Client, origin: str) -> None:
    for answer in (
        client.get(ECHO, headers={"Origin": origin}),
        client.options(ECHO, headers={**PREFLIGHT, "Origin": origin}),
    ):
        assert "Access-Control-Allow-Origin" not in answer.headers
        # A cache must not give one origin's answer to another.
        assert "origin" in answer.headers["Vary"].lower()


@pytest.mark.usefixtures("named")
def test_what_a_browser_asks_before_a_call_is_answered_at_once_and_not_counted(
    client: Client, settings: Settings
) -> None:
    settings.RATE_LIMIT_TIERS = {"default": (1, 900)}
    services.SERVICES["payments"].breaker.force_open()
    for _ in range(3):
        answer = client.options(ECHO, headers=PREFLIGHT)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["Access-Control-Allow-Origin"] == OURS
        assert "POST" in answer.headers["Access-Control-Allow-Methods"].split(", ")
        assert set(answer.headers["Access-Control-Allow-Headers"].split(", ")) == set(SENT)
        assert int(answer.headers["Access-Control-Max-Age"]) > 0
        assert answer.headers["X-Request-Id"]
        assert "X-RateLimit-Limit" not in answer.headers


@pytest.mark.usefixtures("named")
def test_options_that_no_browser_asks_is_a_call_like_others(client: Client) -> None:
    answer = client.options(ECHO, headers={"Origin": OURS})
    assert answer.headers["X-RateLimit-Remaining"] == "99"


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/nope", 404),
        ("/api/payments/fails/not-authenticated", 401),
        ("/api/payments/fails/bug", 500),
        ("/api/events/echo", 503),
    ],
)
def test_refusals_of_the_gateway_s_own_can_be_read_as_well(
    client: Client, path: str, status: int
) -> None:
    services.SERVICES["events"].breaker.force_open()
    answer = client.get(path, headers={"Origin": OURS})
    assert answer.status_code == status
    assert answer.headers["Access-Control-Allow-Origin"] == OURS


@pytest.mark.usefixtures("named")
def test_a_page_that_asks_too_often_can_read_when_to_come_again(
    client: Client, settings: Settings
) -> None:
    settings.RATE_LIMIT_TIERS = {"default": (1, 900)}
    client.get(ECHO)
    answer = client.get(ECHO, headers={"Origin": OURS})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (429, OURS)


@pytest.mark.usefixtures("named")
def test_a_page_that_meets_a_process_without_room_can_read_so() -> None:
    refusing = build_refusal()
    site = asgi(refusing, turn_away=refusing, upkeep=no_upkeep())
    answer = ask(site, scope(target=ECHO, headers=[("Origin", OURS)]))
    assert (answer.status, json.loads(answer.body)["code"]) == (503, "overloaded")
    assert answer["Access-Control-Allow-Origin"] == OURS


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("path", ["/health/live", "/admin/login/", "/metrics"])
@pytest.mark.django_db
def test_only_the_api_can_be_read_from_elsewhere(client: Client, path: str) -> None:
    answer = client.get(path, headers={"Origin": OURS})
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.usefixtures("named")
def test_an_answer_says_all_that_it_depends_on(client: Client) -> None:
    answer = client.get("/api/payments/large", headers={"Origin": OURS, "Accept-Encoding": "br"})
    vary = {name.strip().lower() for name in answer.headers["Vary"].split(",")}
    assert {"origin", "accept-encoding"} <= vary
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "value", ["*", "app.example", "https://app.example/", "https://app.example/x", "ftp://a", "//a"]
)
def test_what_is_no_origin_is_refused_at_start(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CORS_ALLOWED_ORIGINS", f"{OURS},{value}")
    with pytest.raises(ImproperlyConfigured, match="CORS_ALLOWED_ORIGINS"):
        env.origins("CORS_ALLOWED_ORIGINS")


def test_several_origins_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ALLOWED_ORIGINS", f"{OURS}, http://localhost:3000")
    assert env.origins("CORS_ALLOWED_ORIGINS") == [OURS, "http://localhost:3000"]
