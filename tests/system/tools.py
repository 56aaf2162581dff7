"""What the tests with real processes share."""

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import psutil

T = TypeVar("T")

POLL_INTERVAL_S = 0.05


def eventually(look: Callable[[], T], *, what: str, timeout_s: float = 20.0) -> T:
    """Return the first truthy answer of `look`; fail when there is none within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(POLL_INTERVAL_S)


def is_running(pid: int) -> bool:
    """Say whether the process runs; one that has ended and was not collected does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def descendants(pid: int) -> list[int]:
    """Return the pids of all processes below `pid`."""
    return [process.pid for process in psutil.Process(pid).children(recursive=True)]


def all_end(pids: Iterable[int], *, timeout_s: float = 20.0) -> None:
    """Fail unless every process of `pids` ends within `timeout_s`."""
    eventually(
        lambda: not [pid for pid in pids if is_running(pid)],
        what=f"the end of {sorted(pids)}",
        timeout_s=timeout_s,
    )
