"""Put load on an HTTP server by wrk, which takes less of the machine than any client in Python."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import Skipped

FOLDER = Path(__file__).absolute().parent
TIMEOUT_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What came of it.

    Args:
        refused: how many answers had another status than 2xx or 3xx.
    """

    per_second: float
    p50_ms: float
    p99_ms: float
    requests: int = 0
    refused: int = 0


def is_installed() -> bool:
    """Return whether wrk is on the PATH."""
    return shutil.which("wrk") is not None


def wrk(url: str, script: str, *arguments: str, clients: int, duration_s: float) -> Load:
    """Let each of so many clients send its next request when the last is answered.

    Args:
        script: a file of this folder, which says its result by `report.lua`.
        arguments: of the script.
        duration_s: whole seconds, one at least; wrk knows no others.

    Raises:
        Skipped: wrk is not installed.
        RuntimeError: there was no answer, or a connection broke.
    """
    if not is_installed():
        raise Skipped("wrk is not installed; Debian's package has that name")
    argv = [
        "wrk", "-t1", f"-c{clients}", f"-d{max(1, round(duration_s))}s", f"--timeout={TIMEOUT_S}s",
        f"-s{FOLDER / script}", url, "--", *arguments,
    ]  # fmt: skip
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    found = next(line for line in said.splitlines() if line.startswith("RESULT "))
    result = json.loads(found.removeprefix("RESULT "))
    if result["lost"] or not result["requests"]:
        raise RuntimeError(f"{result['lost']} connections broke, {result['requests']} answers")
    return Load(
        per_second=result["requests"] / result["duration_us"] * 1e6,
        p50_ms=result["p50_us"] / 1000,
        p99_ms=result["p99_us"] / 1000,
        requests=result["requests"],
        refused=result["refused"],
    )
