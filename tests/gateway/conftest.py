"""Fixtures of the gateway's tests."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from django.test import Client
from django.test.client import ClientHandler
from pytest_django.fixtures import Settings

from tests.gateway import urls


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


@cache
def _chain() -> ClientHandler:
    """The chain of middleware, built once: WhiteNoise looks at every static file for it."""
    chain = ClientHandler(enforce_csrf_checks=False)
    chain.load_middleware()
    return chain


def clients(count: int, **defaults: Any) -> list[Client]:
    """Return clients for as many threads, on one chain of middleware.

    Args:
        defaults: what each adds to the environment of its requests, such as `REMOTE_ADDR`.
    """
    made = [Client(raise_request_exception=False, **defaults) for _ in range(count)]
    for each in made:
        each.handler = _chain()
    return made
