"""A server that exists in memory, for tests of the pool alone."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from platform_site.database.config import Driver, PoolConfig
from platform_site.database.pool import Pool
from resilience import FakeClock

CONFIG = PoolConfig(
    size_max=3,
    size_min=1,
    acquire_timeout_s=30.0,
    waiting_max=4,
    idle_s=300.0,
    lifetime_s=1_800.0,
    check_after_s=0.5,
)


class ServerAway(Exception):
    """The server cannot be reached."""


@dataclass(eq=False, slots=True)
class Connection:
    """A connection to the server in memory."""

    number: int
    alive: bool = True
    closed: bool = False
    abandoned: bool = False
    resets: int = 0


@dataclass(slots=True)
class Server:
    """Opens connections, and counts what is done with them."""

    is_up: bool = True
    opened: list[Connection] = field(default_factory=list)
    asked: int = 0
    # Whether to reset a dead connection goes unnoticed: nothing had to be said to the server.
    resets_say_nothing: bool = False
    # Called before a connection is opened.
    gate: Callable[[], None] = lambda: None

    def open(self) -> Connection:
        self.gate()
        if not self.is_up:
            raise ServerAway
        connection = Connection(len(self.opened))
        self.opened.append(connection)
        return connection

    def is_alive(self, connection: Connection) -> bool:
        self.asked += 1
        return connection.alive

    def reset(self, connection: Connection) -> None:
        if not connection.alive and not self.resets_say_nothing:
            raise ServerAway
        connection.resets += 1

    def close(self, connection: Connection) -> None:
        assert not connection.closed, "closed twice"
        connection.closed = True

    def abandon(self, connection: Connection) -> None:
        connection.abandoned = True

    def restart(self) -> None:
        """End every connection, as a server does that is killed and comes back."""
        for connection in self.opened:
            connection.alive = False

    @property
    def connected(self) -> list[Connection]:
        """The connections that nobody has closed."""
        return [connection for connection in self.opened if not connection.closed]

    def pool(self, clock: FakeClock, config: PoolConfig = CONFIG) -> Pool[Connection]:
        return Pool(
            Driver(
                open=self.open,
                is_alive=self.is_alive,
                reset=self.reset,
                close=self.close,
                abandon=self.abandon,
            ),
            config,
            clock=clock,
        )


def eventually(look: Callable[[], object], *, timeout_s: float = 20.0) -> None:
    """Return as soon as `look` is true; fail when that takes longer than `timeout_s`."""
    ends_s = time.monotonic() + timeout_s
    while not look():
        assert time.monotonic() < ends_s, "not in time"
        time.sleep(0.002)


def in_thread(work: Callable[[], object]) -> threading.Thread:
    """Run `work` in a thread of its own."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
