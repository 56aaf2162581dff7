"""A pool of connections to a server: bounded, fair, and honest when none is to be had.

It knows neither Django nor a database: what a connection is, `Driver` says. The rules are those of
HikariCP: a maximum, an idle time beyond a minimum, a lifetime, a check when one is lent that has
lain unused, and an error after a bounded wait.

# Note [A place in the pool]

What is bounded is places, not connections: whoever is given a place either finds a connection in
it or has to open one, and a connection that turns out to be broken is replaced in its place. So a
borrower never goes back to the end of the queue, and a failure to connect frees exactly one place,
for the first that waits. Nothing that speaks to the server is done with the lock held.
"""

import threading
from collections import deque
from typing import Generic, TypeVar

from platform_site.database.config import Driver, PoolConfig, PoolExhausted, PoolSnapshot
from platform_site.database.lease import Entry, Lease, Waiter
from resilience import SYSTEM_CLOCK, Clock

ConnectionT = TypeVar("ConnectionT")

# How often those that wait look for connections whose borrower has gone without a word.
RECLAIM_INTERVAL_S = 1.0


class Pool(Generic[ConnectionT]):
    """The connections of one process to one server; any thread may borrow.

    Args:
        driver: what can be done with a connection.
        config: bounds and times.
        clock: tells how long a connection has lain unused.
    """

    def __init__(
        self,
        driver: Driver[ConnectionT],
        config: PoolConfig,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.config = config
        self._driver = driver
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._all: set[Entry[ConnectionT]] = set()
        # The last one used is lent first, so that those beyond need are left to grow old.
        self._idle: deque[Entry[ConnectionT]] = deque()
        self._opening = 0
        self._queue: deque[Waiter[ConnectionT]] = deque()
        self._abandoned: deque[Entry[ConnectionT]] = deque()
        # The most that were lent at once, up to `size_min`: so many are worth being kept.
        self._wanted = 0
        # One that was found dead casts doubt on all that were last used before.
        self._doubted_s = float("-inf")

    def snapshot(self) -> PoolSnapshot:
        """Return how many connections there are, are lent, and are waited for."""
        with self._lock:
            size = len(self._all) + self._opening
            return PoolSnapshot(
                size_max=self.config.size_max,
                size=size,
                in_use=size - len(self._idle),
                waiting=len(self._queue),
            )

    def borrow(self, *, timeout_s: float | None = None) -> Lease[ConnectionT]:
        """Return a connection that was alive just now; wait for it, first come, first served.

        Args:
            timeout_s: wait at most so many seconds; by default `acquire_timeout_s`.

        Raises:
            PoolExhausted: none became free in time, or `waiting_max` wait already.
            Exception: what the driver raises when it cannot connect.
        """
        self._reclaim()
        waiter: Waiter[ConnectionT] | None = None
        with self._lock:
            granted, entry = self._take()
            if not granted:
                wait_s = self.config.acquire_timeout_s if timeout_s is None else timeout_s
                if wait_s <= 0 or len(self._queue) >= self.config.waiting_max:
                    raise PoolExhausted(self.config.size_max, len(self._queue))
                waiter = Waiter()
                self._queue.append(waiter)
        if waiter is not None:
            entry = self._wait(waiter, wait_s)
        return self._lend(entry)

    def give_back(
        self, lease: Lease[ConnectionT], *, reusable: bool = True, suspect: bool = False
    ) -> None:
        """Take a connection back: to be lent again, or to be closed when it is of no use.

        A lease that was given back before, or that was made before a fork, is not taken.

        Args:
            reusable: False when its borrower has changed it in a way that `reset` does not undo.
            suspect: whether its borrower met an error, so that it is asked whether it lives.
        """
        entry = lease.take_back()
        if entry is None or entry not in self._all:
            return
        if not reusable or not self._reset(entry, suspect=suspect):
            self._drop(entry)
            return
        with self._lock:
            if not self._grant(entry):
                self._idle.append(entry)

    def maintain(self) -> None:
        """Close what is old or was not used for long, and open what is missing to the minimum.

        To be called now and then. A server that is away is no error: whoever borrows is told.
        """
        self._reclaim()
        for entry in self._take_stale():
            self._drop(entry)
        while self._reserve_missing():
            try:
                entry = self._open()
            except Exception:
                return
            with self._lock:
                if not self._grant(entry):
                    self._idle.append(entry)

    def close(self) -> None:
        """Close every connection that is not lent; those that are follow as they come back."""
        with self._lock:
            self._wanted = 0
            entries = list(self._idle)
            self._idle.clear()
            for entry in self._all:
                entry.opened_s = float("-inf")
        for entry in entries:
            self._drop(entry)

    def after_fork(self) -> None:
        """Begin anew, in a child: the connections belong to the parent and stay untouched."""
        inherited = list(self._all)
        self._begin()
        for entry in inherited:
            self._driver.abandon(entry.connection)

    def _take(self) -> tuple[bool, Entry[ConnectionT] | None]:
        """Take a place, if there is one, and the connection in it, if there is one."""
        if self._idle:
            granted, entry = True, self._idle.pop()
        else:
            granted, entry = len(self._all) + self._opening < self.config.size_max, None
            self._opening += granted
        in_use = len(self._all) + self._opening - len(self._idle)
        self._wanted = max(self._wanted, min(in_use, self.config.size_min))
        return granted, entry

    def _wait(self, waiter: Waiter[ConnectionT], wait_s: float) -> Entry[ConnectionT] | None:
        """Return what the waiter is granted: a place, with a connection in it or without."""
        ends_s = self._clock.monotonic() + wait_s
        try:
            while not waiter.woken.is_set():
                left_s = ends_s - self._clock.monotonic()
                if left_s <= 0:
                    break
                waiter.woken.wait(min(left_s, RECLAIM_INTERVAL_S))
                self._reclaim()
        except BaseException:  # KeyboardInterrupt
            self._leave(waiter)
            raise
        with self._lock:
            if waiter.granted:
                return waiter.entry
            self._queue.remove(waiter)
            raise PoolExhausted(self.config.size_max, len(self._queue))

    def _leave(self, waiter: Waiter[ConnectionT]) -> None:
        """Take a waiter out; what it was granted at this very moment goes to the next."""
        with self._lock:
            if not waiter.granted:
                self._queue.remove(waiter)
            elif waiter.entry is None:
                self._opening -= 1
                self._pass_place_on()
            elif not self._grant(waiter.entry):
                self._idle.append(waiter.entry)

    def _grant(self, entry: Entry[ConnectionT] | None) -> bool:
        """Give a place to the first that waits; return whether anybody does."""
        if not self._queue:
            return False
        waiter = self._queue.popleft()
        waiter.granted, waiter.entry = True, entry
        waiter.woken.set()
        return True

    def _pass_place_on(self) -> None:
        """Let the first that waits open a connection in a place that was just left."""
        if self._grant(None):
            self._opening += 1

    def _lend(self, entry: Entry[ConnectionT] | None) -> Lease[ConnectionT]:
        """Return a living connection in the place that holds `entry`, or that is empty."""
        if entry is not None:
            if self._is_good(entry):
                return Lease(entry, self._abandoned)
            with self._lock:
                self._all.remove(entry)
                self._opening += 1
            self._driver.close(entry.connection)
        return Lease(self._open(), self._abandoned)

    def _reset(self, entry: Entry[ConnectionT], *, suspect: bool) -> bool:
        """Undo what the borrower left undone; return whether the connection may be lent again."""
        try:
            self._driver.reset(entry.connection)
            is_alive = not suspect or self._driver.is_alive(entry.connection)
        except Exception:
            is_alive = False
        if not is_alive:
            self._doubt()
        entry.used_s = self._clock.monotonic()
        return is_alive and entry.used_s - entry.opened_s < self.config.lifetime_s

    def _is_good(self, entry: Entry[ConnectionT]) -> bool:
        now_s = self._clock.monotonic()
        if now_s - entry.opened_s >= self.config.lifetime_s:
            return False
        unused_s = now_s - entry.used_s
        if unused_s < self.config.check_after_s and entry.used_s > self._doubted_s:
            return True
        if self._driver.is_alive(entry.connection):
            return True
        self._doubt()
        return False

    def _open(self) -> Entry[ConnectionT]:
        """Open a connection in a place that was reserved in `_opening`."""
        try:
            connection = self._driver.open()
        except BaseException:
            self._doubt()
            with self._lock:
                self._opening -= 1
                self._pass_place_on()
            raise
        now_s = self._clock.monotonic()
        entry = Entry(connection, now_s, now_s)
        with self._lock:
            self._opening -= 1
            self._all.add(entry)
        return entry

    def _drop(self, entry: Entry[ConnectionT]) -> None:
        """Close a connection that is neither lent nor unused any more, and free its place."""
        self._driver.close(entry.connection)
        with self._lock:
            self._all.remove(entry)
            self._pass_place_on()

    def _take_stale(self) -> list[Entry[ConnectionT]]:
        """Take out what is past its lifetime or, beyond the minimum, was not used for long."""
        now_s, config = self._clock.monotonic(), self.config
        with self._lock:
            stale = [each for each in self._idle if now_s - each.opened_s >= config.lifetime_s]
            for entry in stale:
                self._idle.remove(entry)
            surplus = len(self._all) - len(stale) - config.size_min
            while surplus > 0 and self._idle and now_s - self._idle[0].used_s >= config.idle_s:
                stale.append(self._idle.popleft())
                surplus -= 1
        return stale

    def _reserve_missing(self) -> bool:
        """Reserve a place for a connection that is missing to the minimum, if one is."""
        with self._lock:
            missing = len(self._all) + self._opening < self._wanted
            self._opening += missing
            return missing

    def _reclaim(self) -> None:
        """Close the connections of those that have gone without giving them back."""
        while self._abandoned:
            try:
                entry = self._abandoned.popleft()
            except IndexError:  # Another thread was faster.
                return
            if entry in self._all:
                self._drop(entry)

    def _doubt(self) -> None:
        self._doubted_s = self._clock.monotonic()
