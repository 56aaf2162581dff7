"""The folder of a demo: who holds it, what it remembers, and where it can be reached.

- `quickstart.lock` is held (flock) by the quickstart and by every process it started, so that
  a second one cannot run on data that a survivor of the first still writes.
- `demo.json` remembers the credentials from one run to the next.
- `quickstart.json` tells other programs where the running demo is. It is removed when a run
  begins and written once everything answers, so that its presence means something.

The two files hold secrets and are readable by their owner alone.
"""

import fcntl
import json
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SURVIVORS_TIMEOUT_S = 15.0
LOCK_POLL_INTERVAL_S = 0.25


class FolderUnusable(Exception):
    """The folder cannot be written, or another quickstart runs on it; the message says which."""


def prepare(folder: Path) -> None:
    """Create `folder`, for its owner alone, and see that files can be written in it.

    Raises:
        FolderUnusable: when they cannot.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise FolderUnusable(
            f"The folder {folder} cannot be used: {error.strerror}. Choose another with --data DIR."
        ) from error


def lock(folder: Path) -> int:
    """Take the lock of `folder` and return its file descriptor, which holds it.

    Processes that an earlier, killed quickstart left behind are ended by its guard within
    seconds: they are waited for, `SURVIVORS_TIMEOUT_S` at most.

    Raises:
        FolderUnusable: when another quickstart runs there.
    """
    descriptor = os.open(folder / "quickstart.lock", os.O_CREAT | os.O_RDWR, 0o600)
    deadline = time.monotonic() + SURVIVORS_TIMEOUT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            pid = holder.get("pid")
            if (pid is None or not _is_alive(pid)) and time.monotonic() < deadline:
                time.sleep(LOCK_POLL_INTERVAL_S)
                continue
            os.close(descriptor)
            where = f", at {holder['url']}" if "url" in holder else ""
            raise FolderUnusable(
                f"A quickstart already runs on {folder} (pid {pid}{where}). "
                "Stop it first, or choose another folder with --data DIR."
            ) from None
        sign(descriptor)
        return descriptor


def sign(descriptor: int, **more: str) -> None:
    """Write into the lock's file that this process holds it, and `more`, such as its `url`."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps({"pid": os.getpid(), **more}).encode(), 0)


def read(path: Path) -> dict[str, Any]:
    """Return the JSON object in the file `path`; an empty one when there is none."""
    try:
        value = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write(path: Path, value: Mapping[str, Any]) -> None:
    """Replace the file `path` by `value` as JSON: at once, and readable by its owner alone."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
    temporary.replace(path)


def _holder(descriptor: int) -> dict[str, Any]:
    try:
        value = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
