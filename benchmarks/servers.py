"""Servers that answer HTTP, run for as long as a block lasts."""

import contextlib
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.common import Skipped
from benchmarks.databases import HOST

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
PROBE_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that answers.

    Args:
        url: such as `http://127.0.0.1:8000`.
        process: the first of its processes.
    """

    url: str
    process: psutil.Process

    def processes(self) -> list[psutil.Process]:
        """Return all of its processes, the first one first."""
        return [self.process, *self.process.children(recursive=True)]

    def cpu_s(self) -> float:
        """Return how much of the processor all of them have taken so far, in seconds."""
        times = [each.cpu_times() for each in self.processes()]
        return sum(each.user + each.system for each in times)


@contextlib.contextmanager
def http_server(
    argv: Sequence[str],
    *,
    port: int,
    probe: str,
    cwd: Path,
    env: Mapping[str, str],
    log: Path,
) -> Iterator[Server]:
    """Run a server; yield it once it answers.

    Args:
        probe: the path whose answer of 200 says that it serves.
        env: its whole environment.
        log: the file for what it says.

    Raises:
        Skipped: it did not start; the message ends with what it said last.
    """
    url = f"http://{HOST}:{port}"
    with log.open("wb") as file:
        process = subprocess.Popen(
            argv, cwd=cwd, env=dict(env), stdout=file, stderr=file, start_new_session=True
        )
    try:
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while not _answers(url + probe):
            if process.poll() is not None or time.monotonic() > give_up_s:
                said = " ".join(log.read_text(errors="replace").split())[-200:]
                raise Skipped(f"{Path(argv[0]).name} did not start: {said}")
            time.sleep(0.1)
        yield Server(url=url, process=psutil.Process(process.pid))
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=PROBE_TIMEOUT_S, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
