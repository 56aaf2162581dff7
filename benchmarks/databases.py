"""Private databases for one benchmark: in a temporary folder, on free ports, gone afterwards.

All of them are durable: a commit that was answered is on the disk. Beyond that they run on the
defaults of their packages, like most databases in the world.
"""

import contextlib
import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import Skipped

HOST = "127.0.0.1"
# One for each contender that keeps its tables to itself.
DATABASES = ("bench", "ledger", "peer")
START_TIMEOUT_S = 30.0
CONNECTIONS_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A database server that answers.

    Args:
        user: who may do everything, from loopback, without a password.
    """

    port: int
    user: str
    version: str

    def mysql_url(self, database: str) -> str:
        """Return the address of a database of MariaDB as `DATABASE_URL` wants it."""
        return f"mysql://{self.user}@{HOST}:{self.port}/{database}"


def free_port() -> int:
    """Return a TCP port of loopback that nothing listens on."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def mariadb() -> Iterator[Server]:
    """Run a MariaDB that writes its log at every commit; raise `Skipped` where there is none."""
    install, mariadbd = program("mariadb-install-db"), program("mariadbd")
    client = program("mariadb")
    user = _unprivileged("mysql")
    with _folder(user) as folder:
        data, port = folder / "data", free_port()
        _run([install, f"--datadir={data}", "--auth-root-authentication-method=normal"], user)
        socket_file = folder / "s.sock"
        argv = [
            mariadbd,
            "--no-defaults",
            f"--datadir={data}",
            f"--port={port}",
            f"--bind-address={HOST}",
            f"--socket={socket_file}",
            f"--pid-file={folder / 'm.pid'}",
            f"--max-connections={CONNECTIONS_MAX}",
            "--innodb-flush-log-at-trx-commit=1",
        ]
        ask = [client, "--no-defaults", "-uroot", f"-S{socket_file}", "-N", "-e"]
        with _running(argv, user=user, ready=[*ask, "SELECT 1"], name="MariaDB"):
            for statement in (
                *(f"CREATE DATABASE {each} CHARACTER SET utf8mb4" for each in DATABASES),
                f"CREATE USER bench@'{HOST}'",
                f"GRANT ALL ON *.* TO bench@'{HOST}'",
            ):
                _run([*ask, statement], None)
            version = _output([*ask, "SELECT VERSION()"]).split("-")[0]
            yield Server(port=port, user="bench", version=version)


@contextlib.contextmanager
def postgresql() -> Iterator[Server]:
    """Run a PostgreSQL with fsync on; raise `Skipped` where there is none."""
    initdb, postgres, client = program("initdb"), program("postgres"), program("psql")
    user = _unprivileged("postgres")
    with _folder(user) as folder:
        data, port = folder / "data", free_port()
        _run([initdb, "-D", str(data), "-U", "bench", "-A", "trust", "-E", "UTF8"], user)
        argv = [
            postgres, "-D", str(data), "-p", str(port), "-h", HOST, "-k", str(folder),
            "-c", f"max_connections={CONNECTIONS_MAX}", "-c", "fsync=on",
            "-c", "synchronous_commit=on",
        ]  # fmt: skip
        ask = [client, "-h", HOST, "-p", str(port), "-U", "bench", "-d", "postgres", "-Atc"]
        with _running(argv, user=user, ready=[*ask, "SELECT 1"], name="PostgreSQL"):
            for name in DATABASES:
                _run([*ask, f"CREATE DATABASE {name}"], None)
            version = _output([*ask, "SHOW server_version"]).split(" ")[0]
            yield Server(port=port, user="bench", version=version)


@contextlib.contextmanager
def sqlite_folder() -> Iterator[Path]:
    """Make a folder for database files, of our own user."""
    with _folder(None) as folder:
        yield folder


def program(name: str) -> str:
    """Return the path of a program, on the PATH or where Debian keeps servers; raise `Skipped`."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    where = os.pathsep.join([*map(str, folders), os.environ.get("PATH", ""), "/usr/sbin"])
    found = shutil.which(name, path=where)
    if found is None:
        raise Skipped(f"{name} is not installed")
    return found


def _unprivileged(name: str) -> str | None:
    """Return the user as whom a server must run: servers refuse to run as root."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(name)
    except KeyError:
        raise Skipped(f"there is no user {name}, and servers do not run as root") from None
    return name


@contextlib.contextmanager
def _folder(user: str | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="evenkeel-bench-") as name:
        if user is not None:
            shutil.chown(name, user)
        yield Path(name)


@contextlib.contextmanager
def _running(
    argv: Sequence[str], *, user: str | None, ready: Sequence[str], name: str
) -> Iterator[None]:
    """Run a server until the block ends, which begins once the command `ready` succeeds."""
    server = subprocess.Popen(
        argv,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=user,
        cwd="/",
        start_new_session=True,
    )
    try:
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while subprocess.run(ready, capture_output=True, check=False).returncode != 0:
            if server.poll() is not None or time.monotonic() > give_up_s:
                raise Skipped(f"{name} did not start")
            time.sleep(0.1)
        yield
    finally:
        # PostgreSQL waits for its clients at SIGTERM, and does not at SIGINT.
        server.send_signal(2 if "postgres" in Path(argv[0]).name else 15)
        try:
            server.wait(timeout=START_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _run(argv: Sequence[str], user: str | None) -> None:
    done = subprocess.run(argv, user=user, cwd="/", capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = re.sub(r"\s+", " ", done.stderr or done.stdout)[-200:]
        raise Skipped(f"{Path(argv[0]).name} failed: {said}")


def _output(argv: Sequence[str]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
