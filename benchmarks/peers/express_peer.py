"""Express as a gateway, with the packages that its users put into one."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import Skipped, say
from benchmarks.databases import free_port, program
from benchmarks.servers import Server, http_server

SOURCE = Path(__file__).absolute().with_name("express")
FILES = ("package.json", "package-lock.json", "server.js")
INSTALL_TIMEOUT_S = 120.0
# Of the exact versions of the lock, from wherever npm is told to look; no package runs a script.
INSTALL = ("ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1")


def install(folder: Path) -> None:
    """Install Express and its packages into `folder`, unless it holds just these already.

    Raises:
        Skipped: without Node.js and npm, or when npm cannot.
    """
    npm = program("npm")
    program("node")
    lock = (SOURCE / "package-lock.json").read_bytes()
    stamp = folder / "installed.json"
    if not stamp.exists() or stamp.read_bytes() != lock:
        say("installing Express by npm")
        folder.mkdir(parents=True, exist_ok=True)
        _copy(folder)
        try:
            done = subprocess.run(
                [npm, *INSTALL], cwd=folder, capture_output=True, text=True, check=False,
                timeout=INSTALL_TIMEOUT_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Skipped(f"npm took longer than {INSTALL_TIMEOUT_S:.0f} s") from None
        if done.returncode != 0:
            raise Skipped(f"npm failed: {' '.join(done.stderr.split())[:200]}")
        stamp.write_bytes(lock)
    _copy(folder)


@contextlib.contextmanager
def express(
    folder: Path, *, log: Path, workers: int, redis_url: str, upstream_url: str
) -> Iterator[Server]:
    """Run the server that is installed in `folder`."""
    port = free_port()
    env = {
        **os.environ,
        "NODE_ENV": "production",
        "PORT": str(port),
        "WORKERS": str(workers),
        "REDIS_URL": redis_url,
        "UPSTREAM_URL": upstream_url,
    }
    argv = [program("node"), "server.js"]
    with http_server(argv, port=port, probe="/health", cwd=folder, env=env, log=log) as server:
        yield server


def _copy(folder: Path) -> None:
    for name in FILES:
        shutil.copyfile(SOURCE / name, folder / name)
