"""Bad input and faults against the real web server: within bounds, and well again by itself.

Asserted are facts, never times: what was answered, what is held afterwards, and what is left.
"""

import json
import os
import resource
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from platform_site.demo import processes
from platform_site.demo.processes import Valkey
from platform_site.supervisor import Child, Supervisor
from tests.system.demo import environment, manage
from tests.system.tools import eventually

pytestmark = pytest.mark.system

SEQUENCE = "from eventstore.sequencer import sequence; sequence()"
SLOW_CLIENTS = 200
CONNECTIONS = 1_000
CALLS = 50
# How much more memory a fault may take, for good, of what all its clients together could ask for.
GROWTH_BYTES_MAX = 96 * 1024 * 1024
SOCKET_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Site:
    """A folder with a database, a key without limits, and a Valkey server."""

    folder: Path
    variables: dict[str, str]
    valkey: Valkey
    key: str

    @contextmanager
    def web(self, **changes: str) -> Iterator["Web"]:
        """Run a web server, begun with as few files as on a system that allows few."""
        port = processes.choose_port(0)
        child = processes.web(self.folder, env=environment(**self.variables, **changes), port=port)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        supervisor = _supervisor()
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
            try:
                supervisor.start(child)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            supervisor.wait_until_ready("web", timeout_s=processes.READY_TIMEOUT_S)
            url = f"http://127.0.0.1:{port}"
            with (
                httpx.Client(base_url=url, timeout=SOCKET_TIMEOUT_S, trust_env=False) as client,
                httpx.Client(base_url=url, timeout=SOCKET_TIMEOUT_S, trust_env=False) as anybody,
            ):
                client.headers["Authorization"] = f"Bearer {self.key}"
                yield Web(self, port, supervisor.pids()["web"], client, anybody)
        finally:
            supervisor.stop()


@dataclass(frozen=True, slots=True)
class Web:
    """A running web server, and two well-behaved clients: the administrator, and anybody."""

    site: Site
    port: int
    pid: int
    client: httpx.Client
    anybody: httpx.Client

    @property
    def worker(self) -> psutil.Process:
        """The process that answers; granian starts it."""
        workers: list[psutil.Process] = psutil.Process(self.pid).children(recursive=True)
        return max(workers, key=lambda each: each.memory_info().rss)

    @property
    def memory(self) -> int:
        """Bytes that the process holds."""
        held: int = self.worker.memory_info().rss
        return held

    def connect(self, *, receive_bytes: int = 0) -> socket.socket:
        """Open a connection; with a receive buffer of about so many bytes."""
        connection = socket.socket()
        if receive_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(SOCKET_TIMEOUT_S)
        connection.connect(("127.0.0.1", self.port))
        return connection

    def head(self, method: str, path: str, *fields: str) -> bytes:
        """Return the head of a request."""
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            f"Authorization: Bearer {self.site.key}",
            *fields,
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def answers(self, times: int = CALLS) -> None:
        """Fail unless every one of so many calls, each on a new connection, is answered."""
        for _ in range(times):
            answer = self.client.get(
                "/api/accounts", params={"limit": 1}, headers={"Connection": "close"}
            )
            assert answer.status_code == 200, answer.text

    def is_calm(self) -> None:
        """Fail unless nothing is held any more, and nothing was left alone for it."""

        def listed() -> list[dict[str, Any]]:
            services: list[dict[str, Any]] = self.client.get("/api/discovery/services").json()[
                "data"
            ]
            return services

        eventually(
            lambda: all(
                each["bulkhead"]["active"] == each["bulkhead"]["queued"] == 0
                and each["breaker"] == "closed"
                and each["healthy"]
                for each in listed()
            ),
            what="every slot free and every breaker closed",
        )
        self.answers(5)

    def metric(self, name: str) -> float:
        """Return the sum of all values of a metric."""
        families = text_string_to_metric_families(self.client.get("/metrics").text)
        return sum(
            sample.value for family in families for sample in family.samples if sample.name == name
        )


def _supervisor() -> Supervisor:
    return Supervisor(on_change=lambda _: None, say=lambda _: None)


@contextmanager
def running(child: Child) -> Iterator[int]:
    """Run a child; give its pid."""
    supervisor = _supervisor()
    try:
        supervisor.start(child)
        supervisor.wait_until_ready(child.name, timeout_s=processes.READY_TIMEOUT_S)
        yield supervisor.pids()[child.name]
    finally:
        supervisor.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A new database, and the key of an administrator."""
    folder = tmp_path_factory.mktemp("faults")
    valkey = processes.valkey(folder, env=environment())
    variables = {
        "DATA_DIR": str(folder),
        "REDIS_URL": valkey.url,
        "RATE_LIMIT": "300/15m",
        "TRUSTED_PROXY_COUNT": "1",
    }
    assert manage("migrate", "--verbosity=0", **variables).returncode == 0

    done = manage(
        "create_api_key",
        "--email=ada@example.com",
        "--create-user",
        "--scopes=accounts:read,accounts:write,transactions:read,transactions:write,admin",
        "--tier=unlimited",
        **variables,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Site(folder, variables, valkey, done.stdout.strip())


@pytest.fixture(scope="module")
def _valkey(site: Site) -> Iterator[None]:
    with running(site.valkey.child):
        yield


@pytest.fixture(scope="module")
def web(site: Site, _valkey: None) -> Iterator[Web]:
    """A web server for all tests that leave it well."""
    with site.web() as server:
        server.answers(5)
        yield server


@pytest.fixture
def calm(web: Web) -> Iterator[Web]:
    """The web server, which must be as well after the test as before."""
    before = web.memory
    yield web
    web.is_calm()
    assert web.memory - before < GROWTH_BYTES_MAX


def read(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Return the next answer: its status, its headers by name in lower case, and its body."""
    response = HTTPResponse(connection)
    response.begin()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return response.status, headers, response.read()


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([f"X-Long: {'a' * 65_536}"], 431),
        ([f"X-{number}: a" for number in range(2_000)], 431),
        ([f"Authorization: Bearer {'a' * 65_536}"], 431),
        ([f"X-Long: {'a' * 16_384}"], 200),
        (["X-Bad\x00: a"], 400),
        ([" folded: a"], 400),
        (["Content-Length: 1", "Content-Length: 2"], 400),
        (["Transfer-Encoding: xchunked"], 400),
        (["Content-Length: -1"], 400),
    ],
)
def test_a_head_that_is_too_long_or_malformed_is_refused_in_words(
    calm: Web, fields: list[str], status: int
) -> None:
    with calm.connect() as connection:
        connection.sendall(calm.head("GET", "/api/accounts", *fields))
        answered, headers, _ = read(connection)
        assert answered == status
        if status != 200:
            # It is not known where another request would begin.
            assert headers["connection"] == "close"
            assert connection.recv(1) == b""


def test_clients_that_send_byte_by_byte_hold_up_nobody(calm: Web) -> None:
    body = json.dumps({"currency": "EUR", "name": "slow"}).encode()
    fields = ("Content-Type: application/json", f"Content-Length: {len(body)}")
    with ExitStack() as stack:
        slow = [stack.enter_context(calm.connect()) for _ in range(SLOW_CLIENTS)]
        for connection in slow:
            connection.sendall(calm.head("POST", "/api/accounts", *fields))
        for position in range(len(body) - 1):
            for connection in slow:
                connection.sendall(body[position : position + 1])
            calm.answers(2)
        # None of them holds anything that others could want.
        services = calm.client.get("/api/discovery/services").json()["data"]
        assert [each["bulkhead"]["active"] for each in services] == [0] * len(services)
        # No more at once than the queue of their service takes.
        for begin in range(0, SLOW_CLIENTS, 50):
            for connection in slow[begin : begin + 50]:
                connection.sendall(body[-1:])
            for connection in slow[begin : begin + 50]:
                status, _, text = read(connection)
                assert status == 201, text


def test_a_body_that_never_ends_is_refused_when_it_is_too_long(calm: Web) -> None:
    part = b"10000\r\n" + b"a" * 65_536 + b"\r\n"
    with calm.connect() as connection:
        connection.sendall(calm.head("POST", "/api/accounts", "Transfer-Encoding: chunked"))
        sent = 0
        try:
            while sent < 1_000:
                connection.sendall(part)
                sent += 1
        except ConnectionError:
            pass  # It is closed in the middle of what nobody wants.
        assert sent < 1_000
    # Who stops to listen is told why.
    with calm.connect() as connection:
        connection.sendall(calm.head("POST", "/api/accounts", "Transfer-Encoding: chunked"))
        connection.sendall(part * 17)
        status, headers, text = read(connection)
    assert (status, json.loads(text)["code"]) == (413, "body_too_large")
    assert headers["connection"] == "close"


@pytest.mark.usefixtures("_valkey")
def test_a_body_that_trickles_in_is_given_up(site: Site) -> None:
    with site.web(REQUEST_BODY_TIMEOUT_S="1") as web:
        with web.connect() as connection:
            connection.sendall(web.head("POST", "/api/accounts", "Content-Length: 100000"))
            connection.settimeout(0.05)
            answer = b""
            while not answer:
                connection.sendall(b"a")
                try:
                    answer = connection.recv(65_536)
                except TimeoutError:
                    continue
        head, _, text = answer.partition(b"\r\n\r\n")
        assert b" 408 " in head.split(b"\r\n")[0]
        assert b"connection: close" in head.lower()
        assert json.loads(text)["code"] == "body_timeout"
        web.is_calm()


@pytest.fixture(scope="module")
def long_log(site: Site, web: Web) -> int:
    """A log whose export is far longer than what the system keeps of a connection."""
    account = web.client.post("/api/accounts", json={"currency": "EUR"}).json()["id"]
    for number in range(150):
        answer = web.client.post(
            "/api/transactions",
            json={
                "type": "deposit",
                "destination": account,
                "amount": 1,
                "currency": "EUR",
                "metadata": {"long": "a" * 60_000},
            },
            headers={"Idempotency-Key": f"long-{number}"},
        )
        assert answer.status_code == 201, answer.text
    assert manage("shell", "-c", SEQUENCE, **site.variables).returncode == 0
    exported = web.client.get("/api/events/export", params={"limit": 100_000}).content
    assert len(exported) > 150 * 60_000
    return len(exported)


def test_answers_that_nobody_reads_are_not_made_and_end_with_their_clients(
    long_log: int, calm: Web
) -> None:
    open_before = len(calm.worker.net_connections())
    with ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(calm.connect(receive_bytes=4_096))
            connection.sendall(calm.head("GET", "/api/events/export?limit=100000"))
            # Its head has come; the rest is not wanted.
            assert connection.recv(12) == b"HTTP/1.1 200"
        held = calm.memory
        calm.answers()
        # Each takes a few parts, not the whole answer.
        assert calm.memory - held < 10 * long_log
        services = calm.client.get("/api/discovery/services").json()["data"]
        assert [each["bulkhead"]["active"] for each in services] == [0] * len(services)
    eventually(
        lambda: len(calm.worker.net_connections()) <= open_before,
        what="no connection of the clients that went away",
    )
    whole = calm.client.get("/api/events/export", params={"limit": 100_000}).content
    assert len(whole) == long_log


def test_a_thousand_connections_at_once_all_get_an_answer(calm: Web) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with ExitStack() as stack:
            opened = [stack.enter_context(calm.connect()) for _ in range(CONNECTIONS)]
            for connection in opened:
                connection.sendall(calm.head("GET", "/api/accounts?limit=1"))
            # The process began with fewer files than that.
            assert len(calm.worker.net_connections()) > 256
            statuses = []
            for connection in opened:
                status, headers, text = read(connection)
                statuses.append(status)
                assert headers["x-request-id"]
                if status == 503:
                    assert json.loads(text)["code"] == "overloaded"
                    assert int(headers["retry-after"]) >= 1
            # More cannot wait than there is place for in the queues; they are told so.
            assert set(statuses) <= {200, 503}
            assert statuses.count(200) >= 100
            # The connections are good for more.
            for connection in opened[:50]:
                connection.sendall(calm.head("GET", "/api/accounts?limit=1"))
                assert read(connection)[0] == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connections_that_say_nothing_shut_nobody_out(calm: Web) -> None:
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(calm.connect())
        calm.answers()


def test_clients_that_go_away_leave_nothing_behind(calm: Web) -> None:
    for _ in range(5):
        with ExitStack() as stack:
            for number in range(100):
                connection = stack.enter_context(calm.connect())
                if number % 2:
                    connection.sendall(calm.head("GET", "/api/accounts?limit=200"))
                else:
                    connection.sendall(
                        calm.head("POST", "/api/accounts", "Content-Length: 100") + b"{"
                    )
                # Reset, rather than closed in order.
                connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
                )
        calm.answers(5)


@dataclass(slots=True)
class Load:
    """Clients that go on asking, each as another address for every hundred calls."""

    web: Web
    stop: threading.Event = field(default_factory=threading.Event)
    statuses: list[int] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def ask(self, number: int) -> None:
        """Ask until told to stop."""
        asked = 0
        while not self.stop.is_set():
            address = f"10.{number}.{asked // 100 // 250}.{asked // 100 % 250}"
            asked += 1
            try:
                answer = call(self.web, address)
            except Exception as error:
                self.errors.append(error)
                return
            self.statuses.append(answer.status_code)
            if "x-ratelimit-remaining" not in answer.headers:
                self.untold.append(answer.text)

    @contextmanager
    def running(self, clients: int) -> Iterator["Load"]:
        """Have so many clients ask for as long as the block lasts."""
        threads = [threading.Thread(target=self.ask, args=(each,)) for each in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()

    def go_on(self, count: int) -> None:
        """Return when so many more calls have been answered."""
        until = len(self.statuses) + count
        eventually(
            lambda: len(self.statuses) >= until or self.errors,
            what=f"{count} more answers",
            timeout_s=120,
        )


def call(web: Web, address: str) -> httpx.Response:
    """Call as a client of this address, without credentials."""
    return web.anybody.get("/api/discovery/services", headers={"X-Forwarded-For": address})


def allowed(webs: list[Web], address: str) -> int:
    """Return how many calls of one client are allowed, made to all servers by turns."""
    count = 0
    while True:
        answers = [call(web, address).status_code for web in webs]
        assert set(answers) <= {200, 429}
        count += answers.count(200)
        if 200 not in answers:
            return count


def test_a_valkey_that_is_killed_and_comes_back_costs_no_answer_and_no_limit(
    site: Site, tmp_path: Path
) -> None:
    own = processes.valkey(tmp_path, env=environment())
    site = replace(site, valkey=own, variables={**site.variables, "REDIS_URL": own.url})
    with ExitStack() as stack:
        valkey = stack.enter_context(ExitStack())
        pid = valkey.enter_context(running(site.valkey.child))
        first, second = (stack.enter_context(site.web()) for _ in range(2))
        assert allowed([first, second], "192.0.2.1") == 300
        with Load(first).running(8) as load:
            load.go_on(100)
            os.kill(pid, signal.SIGKILL)
            valkey.close()
            load.go_on(400)
            # Without Valkey each process bounds what it allows, and says that it does so alone.
            assert first.metric("evenkeel_limiter_fallbacks_total") > 0
            assert allowed([first], "192.0.2.2") <= 300
            valkey.enter_context(running(site.valkey.child))
            load.go_on(100)
        assert load.errors == []
        assert set(load.statuses) == {200}
        assert load.untold == []

        def decides_together() -> bool:
            before = first.metric("evenkeel_limiter_fallbacks_total")
            call(first, "192.0.2.3")
            return first.metric("evenkeel_limiter_fallbacks_total") == before

        eventually(decides_together, what="a decision made on Valkey")
        eventually(lambda: call(second, "192.0.2.3").status_code == 200, what="an answer")
        assert allowed([first, second], "192.0.2.4") == 300
        for web in (first, second):
            web.is_calm()
