"""The web server on a real MariaDB server that dies, comes back, or has no connection left."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from deploy.local import mariadb
from deploy.local.processes import start, stop
from platform_site.demo import processes
from platform_site.supervisor import Supervisor
from tests.system.demo import environment, manage, open_accounts
from tests.system.tools import eventually
from transactions.models import Account

pytestmark = [pytest.mark.system, pytest.mark.mariadb]

CLIENTS = 8
TRANSFERS_EACH = 40
TRANSFERS_BEFORE = 60
# The breaker lets a request through again 30 s after it has opened.
PATIENCE_S = 120.0
SEQUENCE = "from eventstore.sequencer import sequence; sequence()"


@dataclass(frozen=True, slots=True)
class Site:
    """A database server, and what the platform is told of it."""

    folder: Path
    variables: dict[str, str]
    api_key: str

    def manage(self, *arguments: str) -> str:
        """Run a command that must succeed; return what it prints."""
        done = manage(*arguments, **self.variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def kill_database(self) -> None:
        """End the server as a power cut would."""
        state, _ = start(mariadb.SERVICE, self.folder / "mariadb")
        os.kill(state.pid, signal.SIGKILL)
        eventually(lambda: not mariadb.SERVICE.answers(state), what="a dead server")

    def start_database(self) -> None:
        """Start the server again on its data, at its old address."""
        assert start(mariadb.SERVICE, self.folder / "mariadb")[1]

    @contextmanager
    def database_stopped(self) -> Iterator[None]:
        """Have the server do nothing, as one does whose disk hangs."""
        state, _ = start(mariadb.SERVICE, self.folder / "mariadb")
        os.kill(state.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(state.pid, signal.SIGCONT)

    @contextmanager
    def web(self, **changes: str) -> Iterator[httpx.Client]:
        """Run a web server; give a client of it."""
        supervisor = Supervisor(on_change=lambda _: None, say=lambda _: None)
        port = processes.choose_port(0)
        child = processes.web(self.folder, env=environment(**self.variables, **changes), port=port)
        try:
            supervisor.start(child)
            supervisor.wait_until_ready("web", timeout_s=60)
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}",
                headers={"Authorization": f"Bearer {self.api_key}"},
                timeout=45,
                trust_env=False,
            ) as client:
                yield client
        finally:
            supervisor.stop()


@pytest.fixture(scope="module")
def site(mariadb_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server of this module's own: others must not notice that it is killed."""
    folder = tmp_path_factory.mktemp("restart")
    try:
        state, _ = start(mariadb.SERVICE, folder / "mariadb")
        variables = {"DATA_DIR": str(folder), **mariadb.SERVICE.variables(state)}
        site = Site(folder, variables, "")
        site.manage("migrate", "--verbosity=0")
        key = site.manage(
            "create_api_key",
            "--email=ada@example.com",
            "--create-user",
            "--scopes=accounts:read,accounts:write,transactions:read,transactions:write,admin",
            "--tier=unlimited",
        )
        yield Site(folder, variables, key.strip())
    finally:
        stop(folder / "mariadb")


@dataclass(slots=True)
class Load:
    """Clients that send transfers, each again under its key until it is told what became of it."""

    client: httpx.Client
    source: str
    destination: str
    refused: int = 0
    ids: dict[str, str] = field(default_factory=dict)
    strange: list[str] = field(default_factory=list)
    slowest_s: float = 0.0

    def send(self, key: str) -> httpx.Response:
        began_s = time.monotonic()
        answer = self.client.post(
            "/api/transactions",
            json={
                "type": "transfer",
                "source": self.source,
                "destination": self.destination,
                "amount": 1,
                "currency": "EUR",
            },
            headers={"Idempotency-Key": key},
        )
        self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
        return answer

    def run(self, number: int) -> None:
        ends_s = time.monotonic() + PATIENCE_S
        for turn in range(TRANSFERS_EACH):
            key = f"restart-{number}-{turn}"
            while key not in self.ids and time.monotonic() < ends_s:
                self.take(key, self.send(key))

    def take(self, key: str, answer: httpx.Response) -> None:
        if answer.status_code == 201:
            self.ids[key] = answer.json()["id"]
            return
        problem = answer.json() if "json" in answer.headers["Content-Type"] else {}
        wait_s = float(answer.headers.get("Retry-After", "0"))
        if answer.status_code != 503 or not problem.get("retryable") or wait_s < 1:
            self.strange.append(f"{answer.status_code} {dict(answer.headers)} {answer.text}")
        self.refused += 1
        time.sleep(min(wait_s, 5.0))


def balance(client: httpx.Client, account: str) -> int:
    amount: int = client.get(f"/api/accounts/{account}").json()["balance"]["posted"]["amount"]
    return amount


@pytest.mark.timeout(400)
def test_transfers_while_the_database_is_killed_are_applied_once_or_refused_clearly(
    site: Site,
) -> None:
    with site.web() as client:
        source, destination = open_accounts(client, 2, funded=10_000)
        load = Load(client, source, destination)
        threads = [threading.Thread(target=load.run, args=(each,)) for each in range(CLIENTS)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(load.ids) >= TRANSFERS_BEFORE, what="some transfers", timeout_s=60)
        site.kill_database()
        eventually(lambda: load.refused >= CLIENTS, what="refusals", timeout_s=60)
        site.start_database()
        for thread in threads:
            thread.join(PATIENCE_S + 60)
        assert load.strange == []
        assert load.slowest_s < 30
        assert len(load.ids) == len(set(load.ids.values())) == CLIENTS * TRANSFERS_EACH
        # What was answered once is answered the same way for ever.
        for key, identity in load.ids.items():
            again = load.send(key)
            assert (again.status_code, again.json()["id"]) == (201, identity)
        moved = CLIENTS * TRANSFERS_EACH
        assert balance(client, source) == 10_000 - moved
        assert balance(client, destination) == 10_000 + moved
    site.manage("shell", "-c", SEQUENCE)
    # Every hash, every head, and that all money sums up to zero.
    assert "the log is whole" in site.manage("verify_events")


def test_when_all_connections_are_in_use_a_request_is_told_so_in_time(site: Site) -> None:
    variables = {
        # Who waits for the lock has one; those behind it share its transaction and need none.
        "DATABASE_POOL_SIZE_MAX": "1",
        "DATABASE_POOL_SIZE_MIN": "1",
        "DATABASE_POOL_ACQUIRE_TIMEOUT_S": "1",
    }
    with site.web(**variables) as client:
        source, destination = open_accounts(client, 2, funded=1_000)
        load = Load(client, source, destination)
        with held(site):
            thread = threading.Thread(target=load.run, args=(100,))
            thread.start()
            eventually(lambda: "size_max 1.0" in figures(client), what="a full pool")
            eventually(lambda: "in_use 1.0" in figures(client), what="a full pool")
            began_s = time.monotonic()
            answer = client.get(f"/api/accounts/{source}")
            assert 0.9 < time.monotonic() - began_s < 10
            assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
            assert "connections" in answer.json()["detail"]
            assert answer.headers["Retry-After"] == "1"
        thread.join(60)
        assert load.strange == []
        assert client.get(f"/api/accounts/{source}").status_code == 200
        # Nobody keeps one between requests.
        eventually(lambda: "in_use 0.0" in figures(client), what="connections that come back")


def test_a_database_that_says_nothing_any_more_is_given_up_in_time(site: Site) -> None:
    with site.web(DATABASE_READ_TIMEOUT_S="1") as client:
        (account,) = open_accounts(client, 1, funded=100)
        with site.database_stopped():
            began_s = time.monotonic()
            answer = client.get(f"/api/accounts/{account}")
            assert time.monotonic() - began_s < 20
            assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
            assert answer.headers["Retry-After"] == "1"
        assert balance(client, account) == 100


def figures(client: httpx.Client) -> str:
    """Return the pool's lines of the metrics."""
    text = client.get("/metrics").text
    return "\n".join(line for line in text.splitlines() if line.startswith("evenkeel_database"))


@contextmanager
def held(site: Site) -> Iterator[None]:
    """Keep all accounts locked, as a writer does that takes its time."""
    import MySQLdb

    url = urlsplit(site.variables["DATABASE_URL"])
    with closing(
        MySQLdb.connect(
            host=url.hostname,
            port=url.port,
            user=url.username,
            password=url.password,
            database=url.path.strip("/"),
        )
    ) as connection:
        connection.query(f"SELECT 1 FROM {Account._meta.db_table} FOR UPDATE")
        connection.store_result()
        yield
