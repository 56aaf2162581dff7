"""Fixtures of the ledger's tests."""

from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from tests.transactions.tools import Api, admin, person


@pytest.fixture(autouse=True)
def _stores(settings: Settings, tmp_path: Path) -> None:
    """Give each test stores and a folder for e-mail of its own, and no broker."""
    settings.DOCUMENT_STORE_FILE = tmp_path / "document.sqlite3"
    settings.GLOBAL_STORE_FILE = tmp_path / "global.sqlite3"
    settings.EMAIL_FILE_PATH = tmp_path / "mail"
    settings.REDIS_URL = ""


@pytest.fixture
def alice(db: None) -> Api:
    """A user with the scopes of everybody."""
    return person()


@pytest.fixture
def bob(db: None) -> Api:
    """Another user."""
    return person()


@pytest.fixture
def root(db: None) -> Api:
    """An administrator."""
    return admin()
