"""Fixtures of the gateway's tests."""

from collections.abc import Iterator

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from tests.gateway import urls
from tests.gateway.chain import clients


@pytest.fixture(autouse=True)
def _site(settings: Settings) -> Iterator[None]:
    """The site with the views of `tests.gateway.urls`, without any outside system."""
    settings.ROOT_URLCONF = "tests.gateway.urls"
    settings.REDIS_URL = ""
    settings.OPERATIONS_TOKEN = ""
    yield
    urls.gate.pass_through = lambda: None


@pytest.fixture
def client() -> Client:
    """A client that gets an answer for every bug, as one on the network does."""
    return clients(1)[0]
