"""A connection in its pool, lent to a borrower, and waited for."""

import threading
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

ConnectionT = TypeVar("ConnectionT")


@dataclass(slots=True, eq=False)
class Entry(Generic[ConnectionT]):
    """A connection, when it was opened, and when it was last given back, in monotonic seconds."""

    connection: ConnectionT
    opened_s: float
    used_s: float


class Waiter(Generic[ConnectionT]):
    """One that waits. Once granted it has a place, with a connection in it or without."""

    __slots__ = ("entry", "granted", "woken")

    def __init__(self) -> None:
        self.woken = threading.Event()
        self.granted = False
        self.entry: Entry[ConnectionT] | None = None


class Lease(Generic[ConnectionT]):
    """A connection that is lent: `Pool.give_back` takes it again, once.

    One that is forgotten instead, because its thread has ended, is closed and its place given to
    the next.

    Args:
        entry: the connection in its pool.
        abandoned: where the pool finds those that were forgotten.
    """

    __slots__ = ("_abandoned", "_entry")

    def __init__(self, entry: Entry[ConnectionT], abandoned: "deque[Entry[ConnectionT]]") -> None:
        self._entry: Entry[ConnectionT] | None = entry
        self._abandoned = abandoned

    @property
    def connection(self) -> ConnectionT:
        """The connection; raises `ValueError` once it was given back."""
        if self._entry is None:
            raise ValueError("this connection was given back")
        return self._entry.connection

    def take_back(self) -> Entry[ConnectionT] | None:
        """Return the entry, the first time; from now on the lease is of no use."""
        entry, self._entry = self._entry, None
        return entry

    def __del__(self) -> None:
        # The garbage collector may come at any time, with any lock held, so this takes none.
        if self._entry is not None:
            self._abandoned.append(self._entry)
