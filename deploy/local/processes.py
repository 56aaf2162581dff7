"""Services as processes that outlive the command which starts them, ended by their pid."""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from deploy.local.service import Service, ServiceFailed, State, free_port, is_free

POLL_INTERVAL_S = 0.05
STOP_TIMEOUT_S = 30.0
END_TIMEOUT_S = 5.0
INSTALL_TIMEOUT_S = 900.0
# Clocks are set, and a process's beginning is computed with their help.
_CREATED_TOLERANCE_S = 2.0
_LOG_LINES = 15


def install(service: Service) -> None:
    """Install what `service` needs, by apt where this process may do so.

    Raises:
        ServiceFailed: something is missing and cannot be installed.
    """
    missing = service.missing()
    if not missing:
        return
    if os.geteuid() != 0 or subprocess.call(["which", "apt-get"], stdout=subprocess.DEVNULL):  # noqa: S607
        names = " ".join(missing)
        raise ServiceFailed(
            f"{service.name} needs what is not installed here. On Debian or Ubuntu: "
            f"sudo apt-get install {names}\n{service.instead}"
        )
    print(f"{service.name}: installing {' '.join(missing)}", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        done = subprocess.run(  # noqa: S603
            ["apt-get", "--quiet", *arguments],  # noqa: S607
            env=quiet,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise ServiceFailed(f"apt-get {arguments[0]} failed:\n{done.stdout}{done.stderr}")
    if service.missing():
        raise ServiceFailed(f"{service.name} still misses {' '.join(service.missing())}.")


def running(state: State) -> psutil.Process | None:
    """Return the process of `state`, unless it has ended or its pid was given to another."""
    try:
        process = psutil.Process(state.pid) if state.pid else None
        if process is None or process.status() == psutil.STATUS_ZOMBIE:
            return None
        began_s = process.create_time()
    except psutil.NoSuchProcess:
        return None
    return process if abs(began_s - state.created_s) < _CREATED_TOLERANCE_S else None


def start(service: Service, folder: Path, *, port: int = 0) -> tuple[State, bool]:
    """Start `service` with its data in `folder`, unless it runs; return once it answers.

    Args:
        port: where it shall listen; 0: where it did before, or any free port.

    Returns:
        its state, and whether it had to be started.

    Raises:
        ServiceFailed: it ended, or does not answer in time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = State.read(folder)
    if before is not None and running(before) is not None and _comes_up(service, before, folder):
        return before, False
    wanted = port or (_old_port(before) if before is not None else free_port())
    if not is_free(wanted):
        raise ServiceFailed(f"{service.name}: port {wanted} is in use by another program.")
    secrets = before.secrets if before is not None else service.new_secrets()
    state = State(port=wanted, secrets=secrets)
    service.prepare(folder, state)
    pid = _spawn(service.command(folder, state), log=folder / "log")
    created_s = psutil.Process(pid).create_time()
    state = State(port=wanted, pid=pid, created_s=created_s, secrets=secrets)
    state.write(folder)
    if not _comes_up(service, state, folder):
        raise ServiceFailed(f"{service.name} ended while it started. {_end_of_log(folder)}")
    return state, True


def stop(folder: Path) -> bool:
    """End what was started in `folder`; return whether it ran.

    It gets SIGTERM, and SIGKILL when it has not ended after `STOP_TIMEOUT_S`.
    """
    state = State.read(folder)
    process = running(state) if state is not None else None
    if process is None:
        return False
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(STOP_TIMEOUT_S)
    return True


def _old_port(before: State) -> int:
    """Return the port of `before`, or a free one if another program has taken it.

    A server that was killed keeps its port, and its data, for as long as it takes to end.
    """
    deadline = time.monotonic() + END_TIMEOUT_S
    while not is_free(before.port):
        if time.monotonic() > deadline:
            return free_port()
        time.sleep(POLL_INTERVAL_S)
    return before.port


def _spawn(command: Sequence[str], *, log: Path) -> int:
    """Start a process that outlives this one, in a session of its own; return its pid."""
    output = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawnp(
        command[0],
        list(command),
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), output, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def _comes_up(service: Service, state: State, folder: Path) -> bool:
    """Wait until `service` answers; return False when its process ends instead.

    Raises:
        ServiceFailed: it does neither in time.
    """
    deadline = time.monotonic() + service.start_timeout_s
    while not service.answers(state):
        if running(state) is None:
            return False
        if time.monotonic() > deadline:
            why = f"did not answer within {service.start_timeout_s:.0f} s"
            raise ServiceFailed(f"{service.name} {why}. {_end_of_log(folder)}")
        time.sleep(POLL_INTERVAL_S)
    return True


def _end_of_log(folder: Path) -> str:
    log = folder / "log"
    lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
    return "\n".join((f"The end of {log}:", *lines))
