"""Resident memory of each process of the platform, after a few thousand requests.

    python benchmarks/memory.py [--quick] [--json FILE] [--profile]

The processes are the quickstart's: web, worker, beat and Valkey, on embedded stores, each as a user
starts it. They are asked for transfers and for what came of them, by eight clients at once, and
looked at when the work behind the requests is done. What counts is PSS: the pages of a process,
those that it shares divided by how many share them, so that it adds up over processes.
"""

import contextlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

if not __package__:
    sys.path[0] = str(Path(__file__).absolute().parents[1])

import httpx
import psutil

from benchmarks.common import Report, Skipped, read_options, say
from benchmarks.contender import Contender
from benchmarks.databases import sqlite_folder
from benchmarks.product import environment
from benchmarks.threads import per_second

PROJECT = Path(__file__).absolute().parents[1]
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
SETTLE_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 30.0
CLIENTS = 8
REQUESTS = 4000
ACCOUNTS = 20
SERVICES = ("web", "worker", "beat", "valkey")
# Of these, a target says how large they may be.
OURS = ("web", "worker", "beat")
IDLE_SHARE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """The quickstart, running.

    Args:
        secret: an API key that may do everything, without a limit.
        pids: of each service's first process.
    """

    url: str
    secret: str
    pids: Mapping[str, int]

    def processes(self, service: str) -> list[psutil.Process]:
        """Return all processes of a service, the first one first."""
        first = psutil.Process(self.pids[service])
        return [first, *first.children(recursive=True)]

    def client(self) -> httpx.Client:
        """Return a client with a connection of its own."""
        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.secret}"},
            timeout=ANSWER_TIMEOUT_S,
            trust_env=False,
        )


def main() -> None:
    """Run the benchmark."""
    options = read_options("memory", __doc__)
    report = Report(benchmark="memory")
    with ExitStack() as stack:
        folder = stack.enter_context(sqlite_folder())
        if options.profile:
            _profile(folder)
            return
        platform = stack.enter_context(quickstart(folder / "data"))
        say("measuring before")
        before = {service: _pss_mb(platform.processes(service)) for service in SERVICES}
        accounts = _accounts(platform)
        say("asking")
        count = max(CLIENTS * 3, options.count(REQUESTS))
        per_second(CLIENTS, lambda _: _ask(platform, accounts, count // CLIENTS))
        _settle(platform)
        for service in SERVICES:
            is_peer = service not in OURS
            report.add(f"{service}, before: PSS", before[service], "MB", peer=is_peer)
            _add(report, service, platform.processes(service), peer=is_peer)
        with platform.client() as client:
            client.get("/api/schema").raise_for_status()
        described = _pss_mb(platform.processes("web"))
        report.add("web, once the OpenAPI document was made: PSS", described, "MB")
    for service in OURS:
        report.ratios[f"{service}_mb"] = report.value(f"{service}: PSS") or 0.0
    report.ratios["worker_process_mb"] = report.value("worker, largest process: PSS") or 0.0
    report.finish(options)


@contextlib.contextmanager
def quickstart(folder: Path) -> Iterator[Platform]:
    """Run the quickstart with its data in `folder`, from the moment when its story is played."""
    env = {**_environment(folder), "LOG_LEVEL": "WARNING"}
    argv = [sys.executable, "manage.py", "quickstart", "--port", "0"]
    log = folder / "quickstart.log"
    say("starting the quickstart")
    with log.open("wb") as file:
        process = subprocess.Popen(
            argv, cwd=PROJECT, env=env, stdout=file, stderr=file, start_new_session=True
        )
    try:
        announced = folder / "quickstart.json"
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while not announced.exists():
            if process.poll() is not None or time.monotonic() > give_up_s:
                raise RuntimeError(f"the quickstart did not start: {log.read_text()[-500:]}")
            time.sleep(0.2)
        facts = json.loads(announced.read_text())
        yield Platform(url=facts["url"], secret=facts["admin"]["api_key"], pids=facts["pids"])
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            # Its guard ends whatever it has started.
            process.kill()
            process.wait()


def _environment(folder: Path) -> dict[str, str]:
    from platform_site import env

    return env.for_child(**environment(folder=folder))


def _accounts(platform: Platform) -> list[str]:
    """Open accounts, each with money in it."""
    with platform.client() as client:
        opened = []
        for _ in range(ACCOUNTS):
            answer = client.post("/api/accounts", json={"currency": "EUR", "name": "Benchmark"})
            opened.append(str(answer.raise_for_status().json()["id"]))
            _move(client, {"type": "deposit", "destination": opened[-1], "amount": 1_000_000})
        return opened


def _ask(platform: Platform, accounts: Sequence[str], count: int) -> int:
    """Move money, look at an account, look at the last transactions, over and over."""
    with platform.client() as client:
        for _ in range(count // 3):
            source, destination = random.sample(accounts, 2)
            _move(
                client,
                {"type": "transfer", "source": source, "destination": destination, "amount": 1},
            )
            client.get(f"/api/accounts/{source}").raise_for_status()
            client.get("/api/transactions").raise_for_status()
    return count


def _move(client: httpx.Client, what: Mapping[str, str | int]) -> None:
    client.post(
        "/api/transactions",
        json={"currency": "EUR", **what},
        headers={"Idempotency-Key": str(uuid4())},
    ).raise_for_status()


def _settle(platform: Platform) -> None:
    """Wait until the worker has little left to do, for so long at most."""
    give_up_s = time.monotonic() + SETTLE_TIMEOUT_S
    share = 1.0
    while share > IDLE_SHARE and time.monotonic() < give_up_s:
        before_s, started_s = _cpu_s(platform), time.monotonic()
        time.sleep(2.0)
        share = (_cpu_s(platform) - before_s) / (time.monotonic() - started_s)


def _cpu_s(platform: Platform) -> float:
    times = [each.cpu_times() for each in platform.processes("worker")]
    return sum(each.user + each.system for each in times)


def _add(report: Report, service: str, processes: Sequence[psutil.Process], *, peer: bool) -> None:
    """Add what a service takes, and what its largest process has for itself."""
    sizes = [each.memory_full_info() for each in processes]
    report.add(f"{service}: processes", float(len(processes)), "", peer=peer)
    report.add(f"{service}: PSS", _mb(sum(each.pss for each in sizes)), "MB", peer=peer)
    report.add(f"{service}: USS", _mb(sum(each.uss for each in sizes)), "MB", peer=peer)
    report.add(f"{service}: RSS", _mb(sum(each.rss for each in sizes)), "MB", peer=peer)
    if len(processes) > 1:
        largest = max(each.pss for each in sizes)
        report.add(f"{service}, largest process: PSS", _mb(largest), "MB", peer=peer)


def _pss_mb(processes: Sequence[psutil.Process]) -> float:
    return _mb(sum(each.memory_full_info().pss for each in processes))


def _mb(size: int) -> float:
    return size / 1e6


def _profile(folder: Path) -> None:
    """Print what each package allocates when the modules of a process are loaded."""
    for name, module in (
        ("web", "platform_site.asgi"),
        ("worker and beat", "platform_site.celery"),
    ):
        subject = "benchmarks.memory_profile:ImportProfile"
        with Contender(subject, env=environment(folder=folder / "data"), module=module) as loaded:
            print(f"\n== {name}\n\n{loaded.ask('table')}")


if __name__ == "__main__":
    try:
        main()
    except Skipped as reason:
        sys.exit(f"memory: nothing to measure: {reason}")
