"""Connections to a real MariaDB server, apart from those of the suite's own database."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db.utils import ConnectionHandler
from pytest_django.plugin import DjangoDbBlocker

from platform_site import env
from platform_site.database import pools

Connect = Callable[..., ConnectionHandler]


@pytest.fixture
def connect(
    mariadb_url: str,
    monkeypatch: pytest.MonkeyPatch,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[Connect]:
    """Return Django's connections to the server, by thread, from a pool of this test alone.

    Call it with members of `PoolConfig` that shall differ from the settings.
    """
    monkeypatch.setenv("DATABASE_URL", mariadb_url)
    monkeypatch.setattr(pools, "_registry", pools._Registry())
    handlers: list[ConnectionHandler] = []

    def make(**pool: Any) -> ConnectionHandler:
        database = env.database("DATABASE_URL", embedded=None)  # type: ignore[arg-type]
        database["OPTIONS"]["pool"].update(pool)
        handlers.append(ConnectionHandler({"default": database}))
        return handlers[-1]

    with django_db_blocker.unblock():
        yield make
        for handler in handlers:
            handler.close_all()
    pools.close_all()
