"""`manage.py runserver` shows the site as it is in production: with the gateway before it."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from platform_site.demo.processes import PROJECT, choose_port
from tests.system.demo import STOP_TIMEOUT_S, environment, manage
from tests.system.tools import eventually

pytestmark = pytest.mark.system


def test_runserver_serves_the_gateway_and_ends_when_asked_to(tmp_path: Path) -> None:
    port = choose_port(0)
    process = subprocess.Popen(
        [sys.executable, str(PROJECT / "manage.py"), "runserver", f"127.0.0.1:{port}"],
        env=environment(DATA_DIR=str(tmp_path)),
        stderr=subprocess.DEVNULL,
    )

    def answer() -> httpx.Response | None:
        assert process.poll() is None
        try:
            return httpx.get(f"http://127.0.0.1:{port}/api/discovery/services", trust_env=False)
        except httpx.ConnectError:
            return None

    try:
        answered = eventually(answer, what="an answer", timeout_s=60)
        assert answered is not None
        assert answered.status_code == 200
        assert answered.headers["X-RateLimit-Remaining"] == "99"
        assert "default-src" in answered.headers["Content-Security-Policy"]
    finally:
        process.terminate()
        process.wait(timeout=STOP_TIMEOUT_S)


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:", "localhost:80a"])
def test_an_address_that_is_none_is_refused_in_words(tmp_path: Path, address: str) -> None:
    done = manage("runserver", address, DATA_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "HOST:]PORT" in done.stderr
