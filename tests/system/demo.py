"""A quickstart as a process of its own, and a client of what it runs."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from platform_site import env
from platform_site.demo.processes import PROJECT
from tests.system.tools import descendants, eventually

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0
# What a test run may have set for itself must not reach the demo.
UNSET = ("DATA_DIR", "REDIS_URL", "DATABASE_URL")


def environment(**changes: str) -> dict[str, str]:
    """Return the environment of a person who has configured nothing."""
    inherited = env.for_child(**changes)
    return {name: inherited[name] for name in inherited if name in changes or name not in UNSET}


def manage(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a management command to its end."""
    return subprocess.run(
        [sys.executable, str(PROJECT / "manage.py"), *arguments],
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT_S + STOP_TIMEOUT_S,
        check=False,
    )


@dataclass(slots=True)
class Demo:
    """A running `manage.py quickstart`."""

    folder: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, folder: Path, *arguments: str) -> "Demo":
        """Start it; return at once."""
        folder.mkdir(exist_ok=True)
        (folder / "quickstart.json").unlink(missing_ok=True)
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as errors:
            process = subprocess.Popen(
                [
                    sys.executable,
                    str(PROJECT / "manage.py"),
                    "quickstart",
                    "--port=0",
                    f"--data={folder}",
                    *arguments,
                ],
                # With the folder in the environment too, it need not start over to read it.
                env=environment(DATA_DIR=str(folder)),
                stdout=out,
                stderr=errors,
            )
        return cls(folder, process)

    def wait_until_running(self) -> None:
        """Return once it has played its story, and runs on."""
        eventually(
            lambda: "Running." in self.talk or self.process.poll() is not None,
            what="a running demo",
            timeout_s=START_TIMEOUT_S,
        )
        assert self.process.poll() is None, f"{self.talk}\n{self.output}"

    @property
    def talk(self) -> str:
        """What it has said so far on standard error."""
        return (self.folder / "stderr").read_text()

    @property
    def output(self) -> str:
        """What it has printed so far on standard output."""
        return (self.folder / "stdout").read_text()

    @property
    def facts(self) -> dict[str, Any]:
        """What `quickstart.json` says now."""
        facts: dict[str, Any] = json.loads((self.folder / "quickstart.json").read_text())
        return facts

    def kill(self, name: str) -> int:
        """Kill a child with SIGKILL, wait until it runs again, and return its new pid."""
        before: int = self.facts["pids"][name]
        os.kill(before, signal.SIGKILL)
        return eventually(
            lambda: self.facts["pids"][name] if self.facts["pids"][name] != before else 0,
            what=f"another pid of {name}",
            timeout_s=30,
        )

    def client(self) -> httpx.Client:
        """Return an HTTP client with the administrator's key."""
        return httpx.Client(
            base_url=self.facts["url"],
            headers={"Authorization": f"Bearer {self.facts['admin']['api_key']}"},
            timeout=30,
            trust_env=False,
        )

    def agrees(self, *, timeout_s: float) -> None:
        """Fail unless all stores agree with the log within `timeout_s`, and the log is whole."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.system.agreement", str(timeout_s)],
            cwd=PROJECT,
            env=environment(DATA_DIR=str(self.folder)),
            capture_output=True,
            text=True,
            timeout=timeout_s + START_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def processes(self) -> list[int]:
        """Return the pids of the quickstart and of all that it started, and they in turn."""
        return [self.process.pid, *descendants(self.process.pid)]

    def stop(self) -> None:
        """End it, whatever state it is in."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def open_accounts(client: httpx.Client, count: int, *, funded: int) -> list[str]:
    """Open accounts of the caller in EUR, each with `funded` minor units; return their ids."""
    ids = []
    for number in range(count):
        answer = client.post("/api/accounts", json={"currency": "EUR", "name": f"no. {number}"})
        assert answer.status_code == 201, answer.text
        ids.append(answer.json()["id"])
        deposit = {"type": "deposit", "destination": ids[-1], "amount": funded, "currency": "EUR"}
        answer = client.post(
            "/api/transactions", json=deposit, headers={"Idempotency-Key": f"fund-{ids[-1]}"}
        )
        assert answer.status_code == 201, answer.text
    return ids


def transfer(client: httpx.Client, *, source: str, destination: str, key: str) -> str:
    """Move one cent; return the id of the transaction."""
    answer = client.post(
        "/api/transactions",
        json={
            "type": "transfer",
            "source": source,
            "destination": destination,
            "amount": 1,
            "currency": "EUR",
        },
        headers={"Idempotency-Key": key},
    )
    assert answer.status_code == 201, answer.text
    identity: str = answer.json()["id"]
    return identity


def events_after(client: httpx.Client, position: int) -> list[dict[str, Any]]:
    """Return every event behind `position`, in order."""
    events: list[dict[str, Any]] = []
    while True:
        page = client.get("/api/events", params={"after": position, "limit": 200}).json()
        events += page["data"]
        if not page["has_more"]:
            return events
        position = events[-1]["position"]


def curl_lines(output: str) -> Sequence[str]:
    """Return the lines for a shell in what quickstart printed."""
    return re.findall(r"^ *(curl .*)$", output, re.MULTILINE)
