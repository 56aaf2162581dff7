"""The pool when all connections are in use: who waits, for how long, and who is next."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from platform_site.database import pool as pool_module
from platform_site.database.config import PoolExhausted
from platform_site.database.lease import Lease
from platform_site.database.pool import Pool
from resilience import FakeClock
from tests.database.tools import CONFIG, Connection, Server, ServerAway, eventually, in_thread


@pytest.fixture(autouse=True)
def _impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have those that wait look at the clock often."""
    monkeypatch.setattr(pool_module, "RECLAIM_INTERVAL_S", 0.005)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class Borrower:
    """A thread that borrows, and says what it was given."""

    def __init__(self, pool: Pool[Connection]) -> None:
        self.lease: Lease[Connection] | None = None
        self.error: Exception | None = None
        self._pool = pool
        self._waiting = pool.snapshot().waiting
        self.thread = in_thread(self._borrow)

    def _borrow(self) -> None:
        try:
            self.lease = self._pool.borrow()
        except Exception as error:
            self.error = error

    def waits(self) -> "Borrower":
        eventually(lambda: self._pool.snapshot().waiting == self._waiting + 1)
        return self

    def done(self) -> "Borrower":
        self.thread.join(20)
        assert not self.thread.is_alive()
        return self


def full(pool: Pool[Connection]) -> list[Lease[Connection]]:
    return [pool.borrow() for _ in range(pool.config.size_max)]


def test_those_that_wait_are_served_in_the_order_in_which_they_came(
    server: Server, clock: FakeClock
) -> None:
    pool = server.pool(clock)
    leases = full(pool)
    borrowers = [Borrower(pool).waits() for _ in range(3)]
    for number, lease in enumerate(leases):
        connection = lease.connection
        pool.give_back(lease)
        borrower = borrowers[number].done()
        assert borrower.lease
        assert borrower.lease.connection is connection
        assert pool.snapshot().waiting == 2 - number


def test_one_that_comes_later_does_not_overtake_those_that_wait(
    server: Server, clock: FakeClock
) -> None:
    pool = server.pool(clock)
    leases = full(pool)
    first = Borrower(pool).waits()
    pool.give_back(leases[0])
    # Whether or not the first has woken up yet, the connection is its own.
    with pytest.raises(PoolExhausted):
        pool.borrow(timeout_s=0)
    assert first.done().lease


def test_a_borrower_waits_its_time_and_leaves_no_trace(server: Server, clock: FakeClock) -> None:
    pool = server.pool(clock)
    leases = full(pool)
    late = Borrower(pool).waits()
    clock.advance(29.9)
    patient = Borrower(pool).waits()
    clock.advance(0.2)
    assert isinstance(late.done().error, PoolExhausted)
    assert pool.snapshot().waiting == 1
    pool.give_back(leases[0])
    assert patient.done().lease
    assert pool.snapshot().size == 3


def test_only_so_many_may_wait(server: Server, clock: FakeClock) -> None:
    pool = server.pool(clock, replace(CONFIG, waiting_max=1))
    leases = full(pool)
    first = Borrower(pool).waits()
    with pytest.raises(PoolExhausted):
        pool.borrow()
    pool.give_back(leases[0])
    assert first.done().lease


def test_a_broken_connection_gives_its_place_to_the_first_that_waits(
    server: Server, clock: FakeClock
) -> None:
    pool = server.pool(clock)
    leases = full(pool)
    borrower = Borrower(pool).waits()
    server.opened[0].alive = False
    pool.give_back(leases[0])
    lease = borrower.done().lease
    assert lease
    assert lease.connection is server.opened[3]
    assert pool.snapshot().size == 3


def test_when_the_server_is_away_those_that_wait_are_told_one_after_the_other(
    server: Server, clock: FakeClock
) -> None:
    pool = server.pool(clock)
    leases = full(pool)
    borrowers = [Borrower(pool).waits() for _ in range(3)]
    server.restart()
    server.is_up = False
    pool.give_back(leases[0])
    assert all(isinstance(borrower.done().error, ServerAway) for borrower in borrowers)
    server.is_up = True
    assert pool.borrow(timeout_s=0)


def test_one_that_cannot_connect_lets_the_next_try(server: Server, clock: FakeClock) -> None:
    pool = server.pool(clock, replace(CONFIG, size_max=1))
    opening, go_on = threading.Event(), threading.Event()

    def gate() -> None:
        opening.set()
        go_on.wait(20)

    server.gate = gate
    server.is_up = False
    first = Borrower(pool)
    assert opening.wait(20)
    # A connection that is being opened has its place already.
    with pytest.raises(PoolExhausted):
        pool.borrow(timeout_s=0)
    second = Borrower(pool).waits()
    go_on.set()
    assert isinstance(first.done().error, ServerAway)
    assert isinstance(second.done().error, ServerAway)
    assert pool.snapshot().size == 0


def test_one_that_waits_gets_the_place_of_a_borrower_that_has_gone(
    server: Server, clock: FakeClock
) -> None:
    pool = server.pool(clock)
    leases = full(pool)
    borrower = Borrower(pool).waits()
    del leases[0]
    lease = borrower.done().lease
    assert lease
    assert lease.connection is server.opened[3]
    assert server.opened[0].closed


def test_many_threads_never_hold_more_than_there_may_be(server: Server) -> None:
    pool = server.pool(FakeClock(), replace(CONFIG, waiting_max=50))
    held: set[Connection] = set()
    most: list[int] = []
    lock = threading.Lock()

    def work() -> None:
        for turn in range(100):
            lease = pool.borrow()
            with lock:
                assert lease.connection not in held
                held.add(lease.connection)
                most.append(len(held))
            with lock:
                held.remove(lease.connection)
            lease.connection.alive = turn % 7 != 3
            pool.give_back(lease, reusable=turn % 11 != 5)

    threads = [in_thread(work) for _ in range(12)]
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert len(most) == 1_200
    assert max(most) <= 3
    snapshot = pool.snapshot()
    assert (snapshot.in_use, snapshot.waiting) == (0, 0)
    assert len(server.connected) == snapshot.size <= 3


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    eventually(lambda: not [each for each in threading.enumerate() if each not in before])
