"""Start, stop or show the services of this checkout.

    python -m deploy.local start|stop|status [SERVICE...]

Everything lies in `.services`: a folder for each service with its data, its log and its state.
Their addresses are written to `.services.env`, which a shell can source.
"""

import argparse
import fcntl
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.local import mariadb, processes
from deploy.local.service import Service, ServiceFailed, State

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".services"
VARIABLES = ROOT / ".services.env"

# In the order in which they start; a new one is a module and a line here.
SERVICES: Mapping[str, Service] = {service.name: service for service in (mariadb.SERVICE,)}


def main(arguments: Sequence[str]) -> None:
    """Do as the command line says; exit with 1 and a reason when that cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    parser.add_argument("action", choices=("start", "stop", "status"))
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="by default, all")
    options = parser.parse_args(arguments)
    unknown = set(options.services) - set(SERVICES)
    if unknown:
        parser.error(f"there is no service {', '.join(unknown)}; there are {', '.join(SERVICES)}")
    names = [name for name in SERVICES if not options.services or name in options.services]
    # Where a server of Debian lies, which only root has on its PATH.
    os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin:/usr/sbin"))
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        # Two at once in one checkout: the second finds what the first has started.
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            {"start": _start, "stop": _stop, "status": _status}[options.action](names)
        except ServiceFailed as error:
            sys.exit(str(error))


def _start(names: Sequence[str]) -> None:
    for name in names:
        service = SERVICES[name]
        processes.install(service)
        port = int(os.environ.get(service.port_variable) or 0)
        state, is_new = processes.start(service, FOLDER / name, port=port)
        verb = "runs" if is_new else "is running already"
        print(f"{name} {verb}: port {state.port}, pid {state.pid}, data in {FOLDER / name}")
    _write_variables()
    print(f"The addresses are in {VARIABLES}")


def _stop(names: Sequence[str]) -> None:
    for name in reversed(names):
        stopped = processes.stop(FOLDER / name)
        print(f"{name} {'stopped' if stopped else 'was not running'}")
    _write_variables()


def _status(names: Sequence[str]) -> None:
    for name in names:
        state = _running(name)
        print(f"{name}: " + (f"port {state.port}, pid {state.pid}" if state else "not running"))


def _running(name: str) -> State | None:
    state = State.read(FOLDER / name)
    return state if state is not None and processes.running(state) is not None else None


def _write_variables() -> None:
    """Write the addresses of all services that run, or no file when none does."""
    lines = []
    for name, service in SERVICES.items():
        state = _running(name)
        if state is not None:
            lines += [f"{key}={value}" for key, value in service.variables(state).items()]
    if not lines:
        VARIABLES.unlink(missing_ok=True)
        return
    VARIABLES.touch(mode=0o600)
    VARIABLES.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
