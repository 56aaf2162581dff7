"""The guard of a supervisor: ends the processes that a killed supervisor leaves behind.

A program of its own, of the standard library alone, so that it starts at once and stays small.
See Note [No process is left behind] in platform_site/supervisor.py.
"""

import os
import signal
import sys
import time
from collections.abc import Callable

GRACE_S = 8.0
POLL_INTERVAL_S = 0.1


def main() -> None:
    """Read the groups to watch from standard input; at its end, end those that are left.

    A line `+PID` adds the process group PID, a line `-PID` removes it. The leader of a group gets
    SIGTERM and `GRACE_S` seconds, and its group SIGKILL once the leader is gone or that time over.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        pid = int(line[1:])
        if line[0] == "+":
            groups.add(pid)
        else:
            groups.discard(pid)
    for pid in groups:
        send_signal(os.kill, pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while groups:
        forced = time.monotonic() > deadline
        for pid in list(groups):
            if forced or not send_signal(os.kill, pid, 0):
                send_signal(os.killpg, pid, signal.SIGKILL)
                groups.discard(pid)
        time.sleep(POLL_INTERVAL_S)


def send_signal(send: Callable[[int, int], None], pid: int, number: int) -> bool:
    """Send a signal by `os.kill` or `os.killpg`; return whether anyone was there to receive it."""
    try:
        send(pid, number)
    except (ProcessLookupError, PermissionError):
        # macOS refuses permission for a group of which only zombies are left.
        return False
    return True


if __name__ == "__main__":
    main()
