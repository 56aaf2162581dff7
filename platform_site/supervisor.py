"""Keeps a handful of child processes running, and leaves none of them behind.

Plain Python without the site, so that it can be used alone:

    supervisor = Supervisor(on_change=print, say=print)
    supervisor.start(Child(name="web", argv=["granian", "..."], env=env, log_path=log))
    supervisor.wait_until_ready("web", timeout_s=30)
    ...
    supervisor.stop()

# Note [No process is left behind]

A child may have children of its own: Celery's prefork pool, granian's worker. Each child leads
a session and process group of its own, so that what it started can be ended with it, also when
the child itself was killed and could not do it.

The supervisor may be killed too, and then runs no code. So a guard, a second small process, is
told of every group and holds the reading end of a pipe. When the writing end closes, for
whatever reason, the guard ends the groups that are left. Linux' PR_SET_PDEATHSIG is no
replacement: it reaches children but not grandchildren, it is sent when the thread that forked
ends, and other systems do not have it.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from platform_site import guard
from platform_site.guard import send_signal

BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 10.0
HEALTHY_AFTER_S = 30.0
POLL_INTERVAL_S = 0.1
LOG_TAIL_LINES_MAX = 15


class ChildFailed(Exception):
    """A child ended or did not answer in time; the message holds its last words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process to keep running.

    Args:
        name: what people call it.
        argv: program and arguments.
        env: its whole environment.
        log_path: the file that receives its output, emptied at the first start.
        ready: answers whether the child serves; None when being alive is enough.
        cwd: its working folder.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log_path: Path
    ready: Callable[[], bool] | None = None
    cwd: Path | None = None


@dataclass(slots=True)
class _Running:
    """What the supervisor knows of one child."""

    child: Child
    process: subprocess.Popen[bytes]
    started_at: float
    failures: int = 0
    restart_at: float | None = field(default=None)


def backoff_s(failures: int) -> float:
    """Return the seconds to wait before a start after `failures` deaths in a row."""
    return float(min(BACKOFF_FIRST_S * 2 ** min(failures - 1, 16), BACKOFF_MAX_S))


def last_lines(path: Path) -> str:
    """Return the end of the log at `path`, for a message about a child that failed."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return "(no log)"
    return "\n".join(lines[-LOG_TAIL_LINES_MAX:]) or "(the log is empty)"


class Supervisor:
    """Starts children, starts again those that die, and stops all of them in reverse order.

    Args:
        on_change: told the pids by name after every start; called from any thread.
        say: told in a sentence when a child died or was started again.
        stop_grace_s: seconds each child has between SIGTERM and SIGKILL.
        pass_fds: file descriptors that children and guard inherit, such as that of a lock
            which must be held for as long as any of them lives.
    """

    def __init__(
        self,
        *,
        on_change: Callable[[dict[str, int]], None],
        say: Callable[[str], None],
        stop_grace_s: float = 10.0,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._on_change = on_change
        self._say = say
        self._stop_grace_s = stop_grace_s
        self._pass_fds = tuple(pass_fds)
        self._running: dict[str, _Running] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._forced = threading.Event()
        reading_end, writing_end = os.pipe()
        self._guard = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-S", str(Path(guard.__file__).resolve())],
            stdin=reading_end,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=self._pass_fds,
        )
        os.close(reading_end)
        self._guard_pipe = os.fdopen(writing_end, "wb", buffering=0)
        self._monitor = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._monitor.start()

    @property
    def stopping(self) -> bool:
        """Whether `stop` has begun."""
        return self._stopping.is_set()

    def force(self) -> None:
        """Make `stop` end what is left at once, without waiting for it."""
        self._forced.set()

    def pids(self) -> dict[str, int]:
        """Return the pid of each child by name, the latest of one that is being started again."""
        with self._lock:
            return self._pids()

    def start(self, child: Child) -> None:
        """Start `child` and keep it running until `stop`.

        Raises:
            ChildFailed: when its program cannot be started at all.
        """
        child.log_path.parent.mkdir(parents=True, exist_ok=True)
        child.log_path.write_bytes(b"")
        with self._lock:
            self._running[child.name] = _Running(child, self._spawn(child), time.monotonic())
            self._on_change(self._pids())

    def wait_until_ready(self, name: str, *, timeout_s: float) -> None:
        """Return once the child `name` serves.

        Raises:
            ChildFailed: when it died meanwhile, or does not serve within `timeout_s`.
        """
        running = self._running[name]
        ready = running.child.ready or (lambda: True)
        deadline = time.monotonic() + timeout_s
        while True:
            if running.failures or running.process.poll() is not None:
                why = f"{name} ended with code {running.process.returncode} while starting"
                break
            if ready():
                return
            if time.monotonic() > deadline:
                why = f"{name} did not answer within {timeout_s:.0f} s"
                break
            time.sleep(POLL_INTERVAL_S)
        log = running.child.log_path
        raise ChildFailed(f"{why}. The end of {log}:\n\n{last_lines(log)}")

    def stop(self) -> None:
        """Stop all children, the last started first; return when none is left.

        Each gets SIGTERM, `stop_grace_s` seconds, and SIGKILL for its whole group.
        """
        self._stopping.set()
        self._monitor.join()
        for running in reversed(list(self._running.values())):
            if running.restart_at is not None:
                continue
            process = running.process
            if process.poll() is None and not self._forced.is_set():
                process.terminate()
            deadline = time.monotonic() + self._stop_grace_s
            while process.poll() is None and time.monotonic() < deadline:
                if self._forced.wait(timeout=POLL_INTERVAL_S / 2):
                    break
            self._end_group(process)
        self._guard_pipe.close()
        self._guard.wait()

    def _pids(self) -> dict[str, int]:
        return {name: running.process.pid for name, running in self._running.items()}

    def _spawn(self, child: Child) -> subprocess.Popen[bytes]:
        with child.log_path.open("ab") as log:
            try:
                process = subprocess.Popen(  # noqa: S603
                    list(child.argv),
                    env=dict(child.env),
                    cwd=child.cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    pass_fds=self._pass_fds,
                )
            except OSError as error:
                raise ChildFailed(f"{child.name} cannot be started: {error}") from error
        self._tell_guard(f"+{process.pid}\n")
        return process

    def _end_group(self, process: subprocess.Popen[bytes]) -> None:
        """Kill what is left of the group that `process` leads, and reap the leader."""
        send_signal(os.killpg, process.pid, signal.SIGKILL)
        process.wait()
        self._tell_guard(f"-{process.pid}\n")

    def _tell_guard(self, line: str) -> None:
        """Write to the guard; one that was killed costs its protection, not the children."""
        try:
            self._guard_pipe.write(line.encode())
        except BrokenPipeError:
            self._say("The guard process is gone: a SIGKILL of this process leaves children.")

    def _watch(self) -> None:
        """Start again what dies, until `stop`."""
        while not self._stopping.wait(timeout=POLL_INTERVAL_S):
            with self._lock:
                for running in self._running.values():
                    self._look_after(running, now=time.monotonic())

    def _look_after(self, running: _Running, *, now: float) -> None:
        name = running.child.name
        if running.restart_at is None:
            code = running.process.poll()
            if code is None:
                return
            self._end_group(running.process)
            if now - running.started_at >= HEALTHY_AFTER_S:
                running.failures = 0
            running.failures += 1
            running.restart_at = now + backoff_s(running.failures)
            self._say(
                f"{name} (pid {running.process.pid}) {_how_it_ended(code)}; "
                f"starting it again in {backoff_s(running.failures):g} s"
            )
        elif now >= running.restart_at:
            running.started_at = now
            try:
                running.process = self._spawn(running.child)
            except ChildFailed as error:
                running.failures += 1
                running.restart_at = now + backoff_s(running.failures)
                self._say(str(error))
                return
            running.restart_at = None
            self._say(f"{name} runs again (pid {running.process.pid})")
            self._on_change(self._pids())


def _how_it_ended(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with code {code}"
