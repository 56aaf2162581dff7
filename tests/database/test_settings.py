"""What the environment says about the primary store."""

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from platform_site import env
from platform_site.database.config import PoolConfig

URL = "mysql://ada:p%40ss@db.example:3307/ledger"


def database() -> dict[str, object]:
    return env.database("DATABASE_URL", embedded=Path("unused"))


def pool(monkeypatch: pytest.MonkeyPatch, **variables: str) -> PoolConfig:
    for name, value in {"DATABASE_URL": URL, **variables}.items():
        monkeypatch.setenv(name, value)
    options = database()["OPTIONS"]
    assert isinstance(options, dict)
    return PoolConfig(**options["pool"])


def test_a_url_names_the_server_and_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", URL)
    members = ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT", "CONN_MAX_AGE")
    assert [database()[name] for name in members] == [
        "platform_site.database.mysql",
        "ledger",
        "ada",
        "p@ss",
        "db.example",
        3307,
        0,
    ]


def test_a_service_has_twenty_connections_and_keeps_five(monkeypatch: pytest.MonkeyPatch) -> None:
    config = pool(monkeypatch)
    assert (config.size_max, config.size_min) == (20, 5)
    assert (config.acquire_timeout_s, config.idle_s) == (30, 300)


@pytest.mark.parametrize(
    ("processes", "size_max", "size_min"), [("2", 10, 2), ("3", 6, 1), ("40", 1, 0)]
)
def test_processes_of_one_service_share_its_connections(
    monkeypatch: pytest.MonkeyPatch, processes: str, size_max: int, size_min: int
) -> None:
    config = pool(monkeypatch, WEB_PROCESS_COUNT=processes)
    assert (config.size_max, config.size_min) == (size_max, size_min)


def test_bounds_that_contradict_each_other_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_POOL_SIZE_MIN=5"):
        pool(monkeypatch, DATABASE_POOL_SIZE_MAX="4")
    with pytest.raises(ImproperlyConfigured, match="DATABASE_POOL_SIZE_MAX=0"):
        pool(monkeypatch, DATABASE_POOL_SIZE_MAX="0")


@pytest.mark.parametrize("url", ["postgres://db/ledger", "mysql://db", "mysql://db/"])
def test_a_url_that_will_not_do_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL must read mysql://"):
        database()
