"""The peers of the gateway do what they are measured for."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.common import Skipped
from benchmarks.gateway import EXPRESS_FOLDER, REMOTE, VIEW
from benchmarks.gateway_site.upstream import ANSWER
from benchmarks.peers.express_peer import express, install
from benchmarks.peers.nginx_peer import nginx
from benchmarks.product import valkey
from benchmarks.servers import Server
from benchmarks.upstream import upstream


@pytest.fixture
def upstream_url(tmp_path: Path) -> Iterator[str]:
    with upstream(tmp_path) as server:
        yield server.url


def answers_like_the_product(server: Server) -> httpx.Response:
    """Check both addresses; return the local one's answer."""
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        local, remote = client.get(VIEW), client.get(REMOTE)
    assert local.json() == remote.json() == httpx.Response(200, content=ANSWER).json()
    for answer in (local, remote):
        assert answer.headers["x-content-type-options"] == "nosniff"
    return local


def test_express_limits_guards_and_proxies(tmp_path: Path, upstream_url: str) -> None:
    try:
        install(EXPRESS_FOLDER)
    except Skipped as reason:
        pytest.skip(str(reason))
    with (
        valkey() as redis_url,
        express(
            EXPRESS_FOLDER, log=tmp_path / "log", workers=2,
            redis_url=redis_url, upstream_url=upstream_url,
        ) as server,
    ):  # fmt: skip
        answer = answers_like_the_product(server)
        # The first process, and a cluster of two.
        assert len(server.processes()) == 3
        assert server.cpu_s() > 0
    assert "limit=1000000000" in answer.headers["ratelimit"]


def test_nginx_limits_and_proxies(tmp_path: Path, upstream_url: str) -> None:
    try:
        with nginx(tmp_path / "nginx", upstream_url=upstream_url) as server:
            answers_like_the_product(server)
    except Skipped as reason:
        pytest.skip(str(reason))
