"""Describe the machine that a result comes from: what matters for it, and no names or paths."""

import os
import platform
import tempfile
import time
from pathlib import Path
from statistics import median

SYNC_COUNT = 100


def describe_machine() -> dict[str, str]:
    """Return processor, cores, memory, kernel, Python load and the time of one durable write."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{_memory_bytes() / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load average before": f"{os.getloadavg()[0]:.1f}",
        "durable write of 4 KiB": f"{sync_us():.0f} us",
    }


def sync_us() -> float:
    """Return the median time, in microseconds, of writing 4 KiB and waiting for the disk.

    In the folder in which the databases lie: under a file system in memory, where a durable
    write costs nothing, no figure of this folder would mean anything.
    """
    block, times = b"\0" * 4096, []
    with tempfile.TemporaryFile() as file:
        for _ in range(SYNC_COUNT):
            started_s = time.perf_counter()
            os.write(file.fileno(), block)
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - started_s) * 1e6)
    return median(times)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
