"""Fixtures of these tests: another product than the ledger, and a table for its effects."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pytest_django.plugin import DjangoDbBlocker

from eventstore import config
from eventstore.store import event_store
from eventstore.stores.sqlite import SQLiteStore
from tests.eventstore import product


@pytest.fixture(autouse=True)
def _product(settings: Any) -> Iterator[None]:
    """Let the event store serve the counters instead of the ledger."""
    settings.EVENTSTORE_CODEC = "tests.eventstore.product.CODEC"
    settings.EVENTSTORE_SUBSCRIPTIONS = "tests.eventstore.product.SUBSCRIPTIONS"
    caches = (config.codec, config.subscriptions, event_store)
    for cached in caches:
        cached.cache_clear()
    yield
    product.POISON.clear()
    for cached in caches:
        cached.cache_clear()


@pytest.fixture(scope="session")
def _effects_table(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock(), connection.schema_editor() as editor:
        editor.create_model(product.Effect)
    yield
    with django_db_blocker.unblock(), connection.schema_editor() as editor:
        editor.delete_model(product.Effect)


@pytest.fixture
def effects_table(_effects_table: None, db: None) -> None:
    """A table for effects, empty; transactions commit where the test's mark says so."""
    product.Effect.objects.all().delete()


@pytest.fixture
def copy(tmp_path: Path) -> SQLiteStore:
    """An empty store that follows the log in the lane `copy`."""
    return SQLiteStore(name="copy", path=tmp_path / "copy.sqlite3")
