"""Fixtures of the tests of users."""

import ipaddress
import itertools
import os

import pytest

from tests.users.tools import Api

# Limits count by address, and outlive a test; so each test calls from an address of its own.
_first = int(ipaddress.IPv4Address("10.0.0.0")) + os.getpid() % 60_000 * 256
_addresses = itertools.count(_first)


@pytest.fixture
def address() -> str:
    """An address that no other test uses."""
    return str(ipaddress.IPv4Address(next(_addresses)))


@pytest.fixture
def api(address: str) -> Api:
    """An anonymous client at an address of its own."""
    return Api(address=address)
