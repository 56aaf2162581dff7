"""`manage.py quickstart`, its processes killed and its data damaged, over real sockets."""

import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import redis

from tests.system.demo import (
    Demo,
    curl_lines,
    events_after,
    manage,
    open_accounts,
    transfer,
)
from tests.system.tools import all_end, eventually

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

CHILDREN = {"valkey", "web", "worker", "beat"}
MAILED_TYPES = {"AccountDebited", "AccountCredited"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo that runs for all tests that leave it running."""
    running = Demo.start(tmp_path_factory.mktemp("demo") / "data")
    try:
        running.wait_until_running()
        yield running
    finally:
        running.stop()


# What it leaves and prints


def test_the_facts_about_the_demo_can_be_read_by_its_owner_only(demo: Demo) -> None:
    for name in ("quickstart.json", "demo.json", "valkey/valkey.conf", "secret_key"):
        assert stat.S_IMODE((demo.folder / name).stat().st_mode) == 0o600, name


def test_the_facts_name_addresses_processes_and_credentials_that_work(demo: Demo) -> None:
    facts = demo.facts
    assert set(facts) == {"url", "admin_url", "pids", "admin"}
    assert set(facts["pids"]) == CHILDREN
    assert set(facts["admin"]) == {"email", "password", "api_key"}
    with demo.client() as client:
        answer = client.get("/api/accounts")
        assert answer.status_code == 200
        assert not [name for name in answer.headers if "ratelimit" in name.lower()]
        token = client.post(
            "/api/users/token",
            json={name: facts["admin"][name] for name in ("email", "password")},
        )
        assert token.status_code == 200
        assert client.get(facts["admin_url"], follow_redirects=True).status_code == 200


def test_the_three_curl_lines_work_when_pasted(demo: Demo) -> None:
    lines = curl_lines(demo.output)
    assert len(lines) == 3
    answers = []
    for line in lines:
        done = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, timeout=30, check=True
        )
        assert done.stderr == ""
        answers.append(json.loads(done.stdout))
    account, transaction, events = answers
    assert account["currency"] == "EUR"
    assert transaction["status"] == "completed"
    assert "AccountDebited" in [event["type"] for event in events["data"]]


def test_no_secret_stands_on_a_command_line(demo: Demo) -> None:
    secrets = {demo.facts["admin"]["api_key"], demo.facts["admin"]["password"]}
    secrets.add(valkey_password(demo))
    for pid in demo.processes():
        command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        assert not [secret for secret in secrets if secret in command]


# What it refuses


def test_a_port_in_use_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = manage("quickstart", "--port", port, "--once", DATA_DIR=str(tmp_path))
    assert done.returncode == 1
    assert f"Port {port} is in use" in done.stderr
    assert "--port 0" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "primary.sqlite3").exists()


def test_a_second_quickstart_on_the_same_folder_is_refused(demo: Demo) -> None:
    done = manage("quickstart", "--port=0", "--once", DATA_DIR=str(demo.folder))
    assert done.returncode == 1
    assert f"pid {demo.process.pid}, at {demo.facts['url']}" in done.stderr
    with demo.client() as client:
        assert client.get("/health/ready").status_code == 200


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = manage("quickstart", "--port", "0", "--data", str(tmp_path / "file"), "--once")
    assert done.returncode == 1
    assert f"The folder {tmp_path / 'file'} cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


# What it survives


def test_a_killed_web_server_serves_again_under_a_new_pid(demo: Demo) -> None:
    demo.kill("web")
    with demo.client() as client:
        eventually(lambda: answers(client), what="an answer", timeout_s=60)


def test_a_worker_killed_during_a_thousand_transfers_loses_no_event_and_doubles_no_mail(
    demo: Demo,
) -> None:
    with demo.client() as client, ThreadPoolExecutor(8) as pool:
        last = events_after(client, 0)[-1]["position"]
        accounts = open_accounts(client, 8, funded=1_000)
        moving = [
            pool.submit(
                transfer,
                client,
                source=accounts[number % 8],
                destination=accounts[(number + 1) % 8],
                key=f"{accounts[0]}-{number}",
            )
            for number in range(1_000)
        ]
        eventually(
            lambda: client.get("/api/events", params={"after": last + 100}).json()["data"],
            what="a worker in the midst of it",
        )
        demo.kill("worker")
        demo.kill("worker")
        transactions = {future.result() for future in moving}
        assert len(transactions) == 1_000

        # Opening an account is one event, a deposit and a transfer are four each; positions are
        # dense, so the last one has come when its position has.
        count = len(accounts) + 4 * (len(accounts) + len(transactions))
        eventually(
            lambda: client.get("/api/events", params={"after": last + count - 1}).json()["data"],
            what="a position for every event",
            timeout_s=90,
        )
        events = events_after(client, last)
    assert len(events) == count
    demo.agrees(timeout_s=90)
    expected = {
        f"{event['id']}.eml"
        for event in events
        if event["type"] in MAILED_TYPES and event["data"]["account"] in accounts
    }
    assert len(expected) == 2_008
    mail = demo.folder / "mail"
    eventually(
        lambda: expected <= {path.name for path in mail.iterdir()},
        what="an e-mail for each event",
        timeout_s=90,
    )
    assert senders_twice(mail) == []


def test_a_broker_flushed_and_killed_during_transfers_loses_nothing(demo: Demo) -> None:
    with demo.client() as client, ThreadPoolExecutor(4) as pool:
        accounts = open_accounts(client, 4, funded=100)
        moving = [
            pool.submit(
                transfer,
                client,
                source=accounts[number % 4],
                destination=accounts[(number + 1) % 4],
                key=f"{accounts[0]}-{number}",
            )
            for number in range(200)
        ]
        with redis.Redis.from_url(valkey_url(demo)) as broker:
            for _ in range(5):
                broker.flushall()
        demo.kill("valkey")
        last = [future.result() for future in moving][-1]
        eventually(
            lambda: stores(client, last) == {"confirmed"}, what="three confirmations", timeout_s=60
        )
    demo.agrees(timeout_s=60)


# How it ends


def test_ctrl_c_stops_everything_also_after_a_child_was_killed(tmp_path: Path) -> None:
    demo = Demo.start(tmp_path / "data")
    try:
        demo.wait_until_running()
        processes = demo.processes()
        os.kill(demo.facts["pids"]["worker"], signal.SIGKILL)
        demo.process.send_signal(signal.SIGINT)
        assert demo.process.wait(timeout=60) == 0
        all_end(processes, timeout_s=1)
        assert "Traceback" not in demo.talk
        assert not (demo.folder / "quickstart.json").exists()
    finally:
        demo.stop()


def test_ctrl_c_while_it_starts_stops_everything(tmp_path: Path) -> None:
    demo = Demo.start(tmp_path / "data")
    try:
        eventually(lambda: "Starting web" in demo.talk, what="the start", timeout_s=60)
        processes = eventually(
            lambda: demo.processes() if len(demo.processes()) >= 5 else [], what="children"
        )
        demo.process.send_signal(signal.SIGINT)
        assert demo.process.wait(timeout=60) == 1
        all_end(processes, timeout_s=1)
        assert "Traceback" not in demo.talk
    finally:
        demo.stop()


def test_a_quickstart_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    demo = Demo.start(tmp_path / "data")
    try:
        eventually(lambda: "Starting web" in demo.talk, what="the start", timeout_s=60)
        processes = eventually(
            lambda: demo.processes() if len(demo.processes()) >= 5 else [], what="children"
        )
        demo.process.kill()
        demo.process.wait()
        all_end(processes)
    finally:
        demo.stop()


# One run after the other


def test_a_run_on_old_data_reuses_it_and_one_on_damaged_data_fails(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    first = manage("quickstart", "--port", "0", "--data", str(folder), "--once")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "✗" not in first.stdout
    assert len(curl_lines(first.stdout)) == 3
    before = json.loads((folder / "quickstart.json").read_text())
    damage(folder / "primary.sqlite3")

    second = manage("quickstart", "--port=0", "--once", DATA_DIR=str(folder))
    assert second.returncode == 1
    assert "known from an earlier run" in second.stdout
    assert "✗ The log is whole" in second.stdout
    assert "Traceback" not in second.stderr
    after = json.loads((folder / "quickstart.json").read_text())
    assert after["admin"] == before["admin"]


# What these tests share


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health/ready").status_code == 200
    except httpx.HTTPError:
        return False


def stores(client: httpx.Client, transaction: str) -> set[str]:
    return set(client.get(f"/api/transactions/{transaction}").json()["stores"].values())


def valkey_configuration(demo: Demo) -> dict[str, str]:
    lines = (demo.folder / "valkey" / "valkey.conf").read_text().splitlines()
    return dict(line.split(" ", 1) for line in lines)


def valkey_password(demo: Demo) -> str:
    return valkey_configuration(demo)["requirepass"]


def valkey_url(demo: Demo) -> str:
    return f"redis://:{valkey_password(demo)}@127.0.0.1:{valkey_configuration(demo)['port']}/0"


def senders_twice(mail: Path) -> list[str]:
    """Return the Message-IDs that more than one file carries."""
    seen: set[str] = set()
    twice = []
    for path in mail.glob("*.eml"):
        header = next(line for line in path.read_text().splitlines() if "Message-ID" in line)
        if header in seen:
            twice.append(header)
        seen.add(header)
    return twice


def damage(database: Path) -> None:
    """Change one byte of one event behind the system's back."""
    with sqlite3.connect(database) as connection:
        connection.execute("BEGIN")
        changed = connection.execute(
            "UPDATE eventstore_event SET data = replace(data, '12500', '12501')"
            " WHERE type = 'AccountCredited' AND data LIKE '%12500%'"
        )
        assert changed.rowcount == 1
    connection.close()
