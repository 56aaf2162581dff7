"""Which services a process answers for, which it passes on, and which it does not know."""

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from pytest_django.fixtures import Settings

from platform_site import env
from platform_site.gateway import services
from platform_site.gateway.addresses import NAMES
from platform_site.gateway.services import build_services

ELSEWHERE = "http://127.0.0.1:1"


def kinds(settings: Settings, *, local: list[str], elsewhere: list[str]) -> dict[str, str]:
    """Return the kind of each service that the process knows."""
    settings.EVENKEEL_SERVICES = local
    settings.SERVICE_URLS = {name: ELSEWHERE if name in elsewhere else "" for name in NAMES}
    return {name: service.kind for name, service in build_services().items()}


def test_without_a_word_everything_is_local(settings: Settings) -> None:
    assert kinds(settings, local=[], elsewhere=[]) == dict.fromkeys(NAMES, "local")


def test_an_address_makes_one_service_remote_and_leaves_the_others(settings: Settings) -> None:
    known = kinds(settings, local=[], elsewhere=["users"])
    assert known == {**dict.fromkeys(NAMES, "local"), "users": "remote"}


def test_a_process_for_some_services_knows_no_others(settings: Settings) -> None:
    assert kinds(settings, local=["users"], elsewhere=[]) == {"users": "local"}
    known = kinds(settings, local=["users"], elsewhere=["events"])
    assert known == {"users": "local", "events": "remote"}


def test_a_process_answers_itself_for_what_it_is_named_for(settings: Settings) -> None:
    """So that one environment, with all addresses, serves every process."""
    assert kinds(settings, local=["users"], elsewhere=["users"]) == {"users": "local"}


def test_discovery_tells_where_a_service_runs_and_how_the_way_there_is(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds(settings, local=[], elsewhere=["users"])
    monkeypatch.setattr(services, "SERVICES", build_services())
    services.SERVICES["users"].breaker.force_open()
    listed = {each["name"]: each for each in client.get("/api/discovery/services").json()["data"]}
    assert (listed["users"]["kind"], listed["users"]["healthy"]) == ("remote", False)
    assert "/api/users/me" in listed["users"]["routes"]
    # The address inside is nobody's business.
    assert listed["users"]["url"] == "http://testserver/api/users"
    assert (listed["events"]["kind"], listed["events"]["healthy"]) == ("local", True)


@pytest.mark.parametrize(
    "url",
    [
        "10.0.0.5:8001",
        "ftp://10.0.0.5",
        "http://",
        "http://10.0.0.5/api",
        "http://10.0.0.5?x=1",
        "http://10.0.0.5#x",
        "http://ada:secret@10.0.0.5",
    ],
)
def test_an_address_that_is_more_or_less_than_one_is_refused_at_start(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVICE_USERS_URL", url)
    with pytest.raises(ImproperlyConfigured, match="SERVICE_USERS_URL"):
        env.service_urls(NAMES)


def test_an_address_may_end_with_a_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_USERS_URL", "http://10.0.0.5:8001/")
    assert env.service_urls(["users", "events"]) == {
        "users": "http://10.0.0.5:8001",
        "events": "",
    }
