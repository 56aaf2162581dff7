"""The platform as several processes: a gateway, and behind it the same code for one service."""

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from platform_site.demo import processes
from platform_site.supervisor import Supervisor
from tests.conftest import free_port
from tests.gateway.stub import Behave, Stub, hangs, resets, says, stub
from tests.system.demo import environment, manage
from tests.system.tools import all_end, descendants, eventually

pytestmark = pytest.mark.system

SOCKET_TIMEOUT_S = 10.0
# After an answer: how long the next one on the same connection may take.
IDLE_S = 0.25
CREDENTIALS = {"email": "ada@example.com", "password": "correct horse battery"}


class Listening:
    """A stub in a thread of its own, whose behaviour the test at hand sets."""

    def __init__(self) -> None:
        self.behaves: Behave = says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        assert self._started.wait(SOCKET_TIMEOUT_S)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()

        async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.behaves(reader, writer)

        async with stub(behave) as self.stub:
            self._started.set()
            await self._stop.wait()

    def stop(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(SOCKET_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Platform:
    """The gateway, the process for `users` behind it, and a stub in the place of `events`."""

    supervisor: Supervisor
    gateway: httpx.Client
    users: httpx.Client
    listening: Listening
    port: int

    @property
    def stub(self) -> Stub:
        """What `/api/events/` leads to."""
        return self.listening.stub

    def service(self, name: str) -> dict[str, Any]:
        """What discovery says about a service."""
        listed: list[dict[str, Any]] = self.gateway.get("/api/discovery/services").json()["data"]
        return next(each for each in listed if each["name"] == name)

    def raw(self, sent: bytes) -> bytes:
        """Send bytes to the gateway; return what comes back before it closes or has no more."""
        with socket.create_connection(("127.0.0.1", self.port), SOCKET_TIMEOUT_S) as connection:
            connection.sendall(sent)
            received = b""
            with contextlib.suppress(ConnectionError, TimeoutError):
                while part := connection.recv(65_536):
                    received += part
                    connection.settimeout(IDLE_S)
            return received


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Two processes on one data folder."""
    folder = tmp_path_factory.mktemp("services")
    variables = {"DATA_DIR": str(folder), "RATE_LIMIT": "10000/15m"}
    done = manage("migrate", "--verbosity=0", **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    listening = Listening()
    port, users_port = free_port(), free_port()
    gateway_variables = {
        "SERVICE_USERS_URL": f"http://127.0.0.1:{users_port}",
        "SERVICE_EVENTS_URL": listening.stub.url,
        "SERVICE_PAYMENTS_URL": f"http://127.0.0.1:{free_port()}",
        # Where `users` runs, nobody answers for it.
        "SERVICE_ANALYTICS_URL": f"http://127.0.0.1:{users_port}",
        # In a circle.
        "SERVICE_ACCOUNTS_URL": f"http://127.0.0.1:{port}",
    }
    supervisor = Supervisor(on_change=lambda _: None, say=lambda _: None)
    children = {
        "users": ({"EVENKEEL_SERVICES": "users"}, users_port),
        "gateway": (gateway_variables, port),
    }
    try:
        for name, (changes, at) in children.items():
            env = environment(**variables, **changes)
            child = processes.web(folder / name, env=env, port=at)
            supervisor.start(replace(child, name=name))
        for name in children:
            supervisor.wait_until_ready(name, timeout_s=60)
        with (
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as one,
            httpx.Client(
                base_url=f"http://127.0.0.1:{users_port}", timeout=30, trust_env=False
            ) as other,
        ):
            assert one.post("/api/users/register", json=CREDENTIALS).status_code == 201
            yield Platform(supervisor, one, other, listening, port)
    finally:
        supervisor.stop()
        listening.stop()


@pytest.fixture(autouse=True)
def _stub(platform: Platform) -> None:
    """Each test meets a stub that answers, and has received nothing."""
    platform.stub.received.clear()
    platform.listening.behaves = says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.fixture(scope="module")
def token(platform: Platform) -> str:
    """An access token that the process for `users` has made."""
    answer = platform.gateway.post("/api/users/token", json=CREDENTIALS)
    assert answer.status_code == 200, answer.text
    made: str = answer.json()["access_token"]
    return made


def test_a_service_in_another_process_answers_as_one_in_this(
    platform: Platform, token: str
) -> None:
    headers = {"Authorization": f"Bearer {token}", "X-Request-Id": "abc", "Accept-Encoding": "br"}
    answer = platform.gateway.get("/api/users/me", headers=headers)
    assert (answer.status_code, answer.json()["email"]) == (200, CREDENTIALS["email"])
    assert answer.headers["X-Request-Id"] == "abc"
    for name in ("X-RateLimit-Limit", "X-Content-Type-Options", "Content-Length", "Date"):
        assert len(answer.headers.get_list(name)) == 1
    # The other process is in the same place for whoever comes to it directly.
    assert platform.users.get("/api/users/me", headers=headers).json() == answer.json()
    renamed = platform.gateway.patch("/api/users/me", headers=headers, json={"name": "Ada"})
    assert renamed.json()["name"] == "Ada"
    # And what a service of the first process is asked, it answers itself.
    assert platform.gateway.get("/api/transactions", headers=headers).status_code == 200
    assert platform.users.get("/api/transactions", headers=headers).status_code == 404


def test_a_request_counts_once_and_for_its_client(platform: Platform, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}

    def remaining(client: httpx.Client) -> int:
        return int(client.get("/api/users/me", headers=headers).headers["X-RateLimit-Remaining"])

    direct = remaining(platform.users)
    first = remaining(platform.gateway)
    assert [remaining(platform.gateway) for _ in range(2)] == [first - 1, first - 2]
    # The other process has counted none of these.
    assert remaining(platform.users) == direct - 1


def test_every_error_is_a_problem_whichever_process_it_comes_from(platform: Platform) -> None:
    refused = platform.gateway.get("/api/users/me")
    assert (refused.status_code, refused.json()["code"]) == (401, "not_authenticated")
    assert refused.headers["WWW-Authenticate"]
    for path in ("/api/nobody/x", "/api/analytics/summary", "/api/accounts"):
        unknown = platform.gateway.get(path)
        assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_service")
        assert unknown.headers["Content-Type"] == "application/problem+json"


def test_discovery_tells_which_services_run_elsewhere(platform: Platform) -> None:
    kinds = {name: platform.service(name)["kind"] for name in ("users", "events", "transactions")}
    assert kinds == {"users": "remote", "events": "remote", "transactions": "local"}
    assert "/api/users/me" in platform.service("users")["routes"]
    assert platform.service("users")["url"] == f"http://127.0.0.1:{platform.port}/api/users"
    listed = platform.users.get("/api/discovery/services").json()["data"]
    assert [(each["name"], each["kind"]) for each in listed] == [("users", "local")]


def test_a_service_that_nobody_runs_opens_its_breaker_and_no_other(platform: Platform) -> None:
    for _ in range(12):
        answer = platform.gateway.post("/api/payments/callback", json={})
        assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
    assert answer.elapsed.total_seconds() < 0.5
    payments = platform.service("payments")
    assert (payments["healthy"], payments["breaker"]) == (False, "open")
    assert platform.service("users")["healthy"]
    assert platform.gateway.get("/api/users/me").status_code == 401


def test_a_process_that_is_killed_is_missed_by_its_own_service_alone(
    platform: Platform, token: str
) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    pid = platform.supervisor.pids()["users"]
    group = [pid, *descendants(pid)]
    os.killpg(pid, signal.SIGKILL)
    all_end(group)
    answer = platform.gateway.get("/api/users/me", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
    assert answer.elapsed.total_seconds() < 2
    assert platform.gateway.get("/api/transactions", headers=headers).status_code == 200
    eventually(lambda: _answers(platform.users), what="the process again", timeout_s=60)
    assert platform.gateway.get("/api/users/me", headers=headers).status_code == 200


def _answers(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return client.get("/health/live").status_code == 200
    return False


REQUEST = b"POST /api/events/first HTTP/1.1\r\nHost: 127.0.0.1\r\n"
SECOND = b"GET /api/events/smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
SMUGGLING = {
    "CL.TE": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "TE.CL": b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n2\r\nab\r\n0\r\n\r\n"
    + SECOND,
    "two lengths": b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n" + SECOND,
    "a list of lengths": b"Content-Length: 0, 5\r\n\r\n" + SECOND,
    "a length with a sign": b"Content-Length: +0\r\n\r\n" + SECOND,
    "a length in hexadecimal": b"Content-Length: 0x0\r\n\r\n" + SECOND,
    "a space before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "a coding nobody knows": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SECOND,
    "chunked not last": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SECOND,
    "two codings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n" + SECOND,
    "a tab in the coding": b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + SECOND,
    "a folded coding": b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "an underscore": b"Transfer_Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n" + SECOND,
    "a length by name": b"Connection: Content-Length\r\nContent-Length: %d\r\n\r\n%b"
    % (len(SECOND), SECOND),
    "a coding by name": b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"%x\r\n%b\r\n0\r\n\r\n" % (len(SECOND), SECOND),
    "an extension": b"Transfer-Encoding: chunked\r\n\r\n2;a=\n0\r\n\r\n\r\n" + SECOND,
    "a bare line break in a chunk": b"Transfer-Encoding: chunked\r\n\r\n2\nab\n0\n\n" + SECOND,
    "a huge chunk": b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n" + SECOND,
    "a trailer": b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 50\r\n\r\n" + SECOND,
    "a line break in a value": b"X-A: a\nContent-Length: 0\r\n\r\n" + SECOND,
    "half a line break": b"X-A: a\rContent-Length: 0\r\n\r\n" + SECOND,
    "a zero byte": b"X-A: a\x00b\r\nContent-Length: 0\r\n\r\n" + SECOND,
    "a body of a GET": b"Content-Length: %d\r\n\r\n%b" % (len(SECOND), SECOND),
}


@pytest.mark.parametrize("rest", SMUGGLING.values(), ids=list(SMUGGLING))
def test_no_request_hides_in_another(platform: Platform, rest: bytes) -> None:
    answer = platform.raw(REQUEST + rest)
    # What is read as two requests is answered as two, each for itself: nothing in between.
    answered = answer.count(b"HTTP/1.1 ")
    lines = [each.line for each in platform.stub.received]
    assert len(lines) <= answered
    assert lines.count("GET /api/events/smuggled HTTP/1.1") <= max(0, answered - 1)
    for each in platform.stub.received:
        names = [name for name, _ in each.fields]
        assert len({"content-length", "transfer-encoding"} & set(names)) <= 1
        assert names.count("content-length") <= 1


def test_encoded_slashes_and_dots_arrive_as_they_were_sent(platform: Platform) -> None:
    target = b"/api/events/a%2Fb/%2e%2e/;x//y?q=%2F&&z"
    platform.raw(b"GET " + target + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    assert platform.stub.received[0].line == f"GET {target.decode()} HTTP/1.1"


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_long_body_arrives_whole_and_in_time(platform: Platform, is_chunked: bool) -> None:
    body = os.urandom(1024 * 1024)
    sent = iter([body[:700_000], body[700_000:]]) if is_chunked else body
    answer = platform.gateway.post("/api/events/long", content=sent)
    assert (answer.status_code, answer.content) == (200, b"ok")
    assert platform.stub.received[0].body == body
    too_long = platform.gateway.post("/api/events/long", content=iter([body, b"x"]))
    assert (too_long.status_code, too_long.json()["code"]) == (413, "body_too_large")
    assert [each.is_whole for each in platform.stub.received].count(True) == 1


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 200000", b"Transfer-Encoding: chunked"],
)
def test_an_answer_that_breaks_off_breaks_the_clients_connection(
    platform: Platform, head: bytes
) -> None:
    part = b"3e8\r\n" + b"x" * 1000 + b"\r\n" if b"chunked" in head else b"x" * 1000
    platform.listening.behaves = says(
        b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + part * 70, then_closes=True
    )
    with pytest.raises(httpx.RemoteProtocolError):
        platform.gateway.post("/api/events/half")
    eventually(lambda: platform.service("events")["bulkhead"]["active"] == 0, what="a free slot")


def test_a_client_that_leaves_an_endless_answer_ends_it(platform: Platform) -> None:
    ended = threading.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
                await writer.drain()
        finally:
            ended.set()

    platform.listening.behaves = endless
    with platform.gateway.stream("GET", "/api/events/endless") as answer:
        assert answer.status_code == 200
        parts = answer.iter_raw()
        assert next(parts)
        assert platform.service("events")["bulkhead"]["active"] == 1
    assert ended.wait(SOCKET_TIMEOUT_S)
    eventually(lambda: platform.service("events")["bulkhead"]["active"] == 0, what="a free slot")


@pytest.mark.parametrize(
    ("behaves", "status", "code"),
    [(hangs, 504, "deadline_exceeded"), (resets, 503, "service_unavailable")],
)
def test_a_service_that_does_not_answer_is_told_of_in_time(
    platform: Platform, behaves: Behave, status: int, code: str
) -> None:
    platform.listening.behaves = behaves
    answer = platform.gateway.post("/api/events/x", headers={"X-Request-Timeout-Ms": "300"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["retryable"] is True
    assert answer.elapsed.total_seconds() < 2
