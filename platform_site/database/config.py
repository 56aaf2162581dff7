"""What a pool of connections is told: its bounds and times, and what a connection is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

ConnectionT = TypeVar("ConnectionT")


class PoolExhausted(Exception):
    """No connection became free in time, or too many wait already. Nothing was begun.

    Args:
        size: connections that there are at most.
        waiting: borrowers that wait for one now.
    """

    def __init__(self, size: int, waiting: int) -> None:
        super().__init__(size, waiting)
        self.size = size
        self.waiting = waiting

    def __str__(self) -> str:
        return f"all {self.size} connections are in use, and {self.waiting} borrowers wait"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """How many connections there may be, and for how long.

    Args:
        size_max: connections at most, lent, unused or being opened.
        size_min: so many are kept, however long unused, once they were needed at the same time.
        acquire_timeout_s: how long a borrower waits, in seconds.
        waiting_max: borrowers that may wait.
        idle_s: one beyond `size_min` is closed when it was not used for so long, in seconds.
        lifetime_s: one that is older is not lent again: servers and what lies between close
            connections that live for long.
        check_after_s: one that was not used for so long is asked whether it lives before it is
            lent. HikariCP's half a second: under load, when it would cost the most, nobody asks.
    """

    size_max: int = 20
    size_min: int = 5
    acquire_timeout_s: float = 30.0
    waiting_max: int = 200
    idle_s: float = 300.0
    lifetime_s: float = 1_800.0
    check_after_s: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.size_min <= self.size_max or self.size_max < 1:
            raise ValueError(f"a pool of {self.size_min} to {self.size_max} connections")


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver(Generic[ConnectionT]):
    """What can be done with a connection.

    Args:
        open: return a new one, or raise.
        is_alive: ask it; never raises.
        reset: undo what its borrower left undone; raises when it is of no use any more.
        close: end it; never raises.
        abandon: give it up in a process that inherited it by a fork, without the server or the
            process that owns it noticing; never raises.
    """

    open: Callable[[], ConnectionT]
    is_alive: Callable[[ConnectionT], bool]
    reset: Callable[[ConnectionT], None]
    close: Callable[[ConnectionT], None]
    abandon: Callable[[ConnectionT], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSnapshot:
    """A pool at one moment: its bound, connections that exist, those lent, and who waits."""

    size_max: int
    size: int
    in_use: int
    waiting: int
