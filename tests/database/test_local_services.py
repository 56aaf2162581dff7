"""`make services`: a MariaDB server of a checkout, started, kept, started again and ended."""

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from deploy.local import mariadb, processes
from deploy.local.__main__ import SERVICES
from deploy.local.service import HOST, Need, ServiceFailed, State
from tests.database.tools import eventually

pytestmark = pytest.mark.mariadb
SERVICE = mariadb.SERVICE


@pytest.fixture
def folder(mariadb_url: str, tmp_path: Path) -> Iterator[Path]:
    # Longer than the path of a socket may be.
    folder = tmp_path / ("a_checkout_with_a_long_name" * 4) / "mariadb"
    yield folder
    processes.stop(folder)


def test_a_server_is_started_kept_started_again_and_ended(folder: Path) -> None:
    state, is_new = processes.start(SERVICE, folder)
    assert is_new
    assert SERVICE.answers(state)
    assert processes.start(SERVICE, folder) == (state, False)
    os.kill(state.pid, signal.SIGKILL)
    again, is_new = processes.start(SERVICE, folder)
    assert is_new
    assert again.pid != state.pid
    # What it told others before still holds.
    assert SERVICE.variables(again) == SERVICE.variables(state)
    assert processes.stop(folder)
    assert processes.running(again) is None
    assert not SERVICE.answers(again)
    assert not processes.stop(folder)


def test_its_secrets_are_for_its_owner_only(folder: Path) -> None:
    state = State(port=1, secrets=SERVICE.new_secrets())
    folder.mkdir(parents=True)
    state.write(folder)
    assert stat.S_IMODE((folder / "state.json").stat().st_mode) == 0o600
    assert State.read(folder) == state
    assert SERVICE.new_secrets() != SERVICE.new_secrets()


def test_a_port_that_is_taken_is_named(folder: Path) -> None:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(ServiceFailed, match=rf"port {port} is in use"):
            processes.start(SERVICE, folder, port=port)


def test_a_server_that_cannot_start_shows_the_end_of_its_log(folder: Path) -> None:
    def command(*arguments: Any) -> list[str]:
        return [*SERVICE.command(*arguments), "--no-such-option"]

    broken = replace(SERVICE, command=command)
    with pytest.raises(ServiceFailed, match=r"(?s)ended while it started.*no-such-option"):
        processes.start(broken, folder)


def test_a_process_that_was_given_the_pid_later_is_left_alone(folder: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        created_s = psutil.Process(process.pid).create_time()
        folder.mkdir(parents=True)
        State(port=1, pid=process.pid, created_s=created_s - 60).write(folder)
        assert not processes.stop(folder)
        assert process.poll() is None
    finally:
        process.communicate(b"\n")


def test_what_is_missing_is_named_to_who_may_not_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    lacking = replace(SERVICE, needs=[Need("rare-package", lambda: False)])
    with pytest.raises(ServiceFailed, match=r"sudo apt-get install rare-package\nInstall MariaDB"):
        processes.install(lacking)


def test_every_service_has_a_port_variable_of_its_own() -> None:
    assert len({service.port_variable for service in SERVICES.values()}) == len(SERVICES)


def test_a_process_that_has_ended_is_not_running() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    state = State(port=1, pid=process.pid, created_s=psutil.Process(process.pid).create_time())
    eventually(lambda: processes.running(state) is None)
    process.wait()
