"""What a service is, and what is known of one that runs."""

import json
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

HOST = "127.0.0.1"


class ServiceFailed(Exception):
    """A service cannot be had; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A service as it was started last; kept as JSON beside its data.

    Args:
        port: where it listens on loopback.
        pid: its process.
        created_s: when that process began, in Unix seconds: pids are used again.
        secrets: what it made up itself, such as passwords, by name.
    """

    port: int
    pid: int = 0
    created_s: float = 0.0
    secrets: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "State | None":
        """Return what `write` left in `folder`, if it did."""
        try:
            return cls(**json.loads((folder / "state.json").read_text()))
        except FileNotFoundError:
            return None

    def write(self, folder: Path) -> None:
        """Keep this in `folder`, for the owner's eyes only."""
        path = folder / "state.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self), indent=2))


@dataclass(frozen=True, slots=True)
class Need:
    """Something that has to be installed.

    Args:
        package: what Debian and Ubuntu call the package that brings it.
        is_there: whether it is there.
    """

    package: str
    is_there: Callable[[], bool]


def program(name: str) -> Callable[[], bool]:
    """Return the question whether the program `name` is there."""
    return lambda: shutil.which(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """How to get a service, start it, and know that it is there.

    Args:
        name: its folder under `.services`.
        needs: what it and its client want installed.
        instead: a sentence for machines without apt.
        port_variable: names the port; without it any free one is taken.
        new_secrets: make up its secrets, once.
        prepare: make the data, given the folder and the state; called before each start.
        command: return the command line, given the folder and the state.
        answers: whether it answers, given the state.
        variables: return what `.services.env` tells, given the state.
        start_timeout_s: how long a start may take, in seconds.
    """

    name: str
    needs: Sequence[Need]
    instead: str
    port_variable: str
    new_secrets: Callable[[], Mapping[str, str]]
    prepare: Callable[[Path, State], None]
    command: Callable[[Path, State], Sequence[str]]
    answers: Callable[[State], bool]
    variables: Callable[[State], Mapping[str, str]]
    start_timeout_s: float = 60.0

    def missing(self) -> list[str]:
        """Return the packages of what is not there."""
        return [need.package for need in self.needs if not need.is_there()]


def free_port() -> int:
    """Return a TCP port of loopback on which nobody listens."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def is_free(port: int) -> bool:
    """Return whether nobody listens on `port` of loopback."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
        return True
