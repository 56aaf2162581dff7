"""The pool alone: what it lends, what it keeps, and what it closes."""

import gc

import pytest

from platform_site.database.config import PoolConfig, PoolExhausted
from resilience import FakeClock
from tests.database.tools import CONFIG, Server, ServerAway


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def server() -> Server:
    return Server()


def test_a_connection_that_was_given_back_is_lent_again(server: Server, clock: FakeClock) -> None:
    pool = server.pool(clock)
    lease = pool.borrow()
    connection = lease.connection
    pool.give_back(lease)
    assert pool.borrow().connection is connection
    assert connection.resets == 1
    assert len(server.opened) == 1


def test_no_connection_is_opened_before_it_is_needed(server: Server, clock: FakeClock) -> None:
    pool = server.pool(clock)
    pool.maintain()
    assert server.opened == []


def test_two_borrowers_never_share_a_connection(server: Server, clock: FakeClock) -> None:
    pool = server.pool(clock)
    assert pool.borrow().connection is not pool.borrow().connection


def test_one_beyond_the_maximum_is_refused_and_told_how_many_there_are(
    server: Server, clock: FakeClock
) -> None:
    pool = server.pool(clock)
    leases = [pool.borrow() for _ in range(3)]
    with pytest.raises(PoolExhausted, match="all 3 connections"):
        pool.borrow(timeout_s=0)
    pool.give_back(leases[0])
    assert pool.borrow(timeout_s=0)
    assert len(server.opened) == 3


def test_one_used_a_moment_ago_is_lent_without_asking(server: Server, clock: FakeClock) -> None:
    pool = server.pool(clock)
    pool.give_back(pool.borrow())
    clock.advance(0.4)
    pool.give_back(pool.borrow())
    assert server.asked == 0
    clock.advance(0.5)
    pool.borrow()
    assert server.asked == 1


def test_one_that_died_meanwhile_is_replaced_without_an_error(
    server: Server, clock: FakeClock
) -> None:
    pool = server.pool(clock)
    pool.give_back(pool.borrow())
    server.restart()
    clock.advance(1)
    assert pool.borrow().connection.alive
    assert server.opened[0].closed
    assert pool.snapshot().size == 1


def test_one_found_dead_has_all_the_others_asked_however_lately_they_were_used(
    server: Server, clock: FakeClock
) -> None:
    pool = server.pool(clock)
    leases = [pool.borrow() for _ in range(3)]
    for lease in leases[:2]:
        pool.give_back(lease)
    clock.advance(0.1)
    server.restart()
    pool.give_back(leases[2])
    assert server.opened[2].closed
    assert all(pool.borrow().connection.alive for _ in range(3))


def test_a_broken_one_that_is_given_back_is_closed_and_its_place_is_free(
    server: Server, clock: FakeClock
) -> None:
    pool = server.pool(clock)
    leases = [pool.borrow() for _ in range(3)]
    server.opened[1].alive = False
    pool.give_back(leases[1])
    assert server.opened[1].closed
    assert pool.borrow(timeout_s=0).connection is server.opened[3]


def test_one_whose_borrower_met_an_error_is_asked_before_it_is_lent_again(
    server: Server, clock: FakeClock
) -> None:
    pool = server.pool(clock)
    pool.give_back(pool.borrow(), suspect=True)
    assert server.asked == 1
    assert pool.borrow().connection is server.opened[0]
    server.resets_say_nothing = True
    lease = pool.borrow()
    server.opened[1].alive = False
    pool.give_back(lease, suspect=True)
    assert server.opened[1].closed


def test_one_that_its_borrower_has_changed_is_not_lent_again(
    server: Server, clock: FakeClock
) -> None:
    pool = server.pool(clock)
    pool.give_back(pool.borrow(), reusable=False)
    assert server.opened[0].closed
    assert pool.borrow().connection is server.opened[1]


def test_a_server_that_is_away_costs_no_place(server: Server, clock: FakeClock) -> None:
    pool = server.pool(clock)
    server.is_up = False
    for _ in range(5):
        with pytest.raises(ServerAway):
            pool.borrow()
    server.is_up = True
    assert [pool.borrow(timeout_s=0) for _ in range(3)]


def test_those_beyond_the_minimum_are_closed_when_they_lie_unused(
    server: Server, clock: FakeClock
) -> None:
    pool = server.pool(clock)
    for lease in [pool.borrow() for _ in range(3)]:
        pool.give_back(lease)
    clock.advance(299)
    # One is in use all the time, so the two others are those that lie unused.
    pool.give_back(pool.borrow())
    pool.maintain()
    assert len(server.connected) == 3
    clock.advance(1)
    pool.maintain()
    assert server.connected == [server.opened[2]]
    clock.advance(1_000)
    pool.maintain()
    assert len(server.connected) == 1


def test_the_minimum_is_opened_again_after_the_server_was_restarted(
    server: Server, clock: FakeClock
) -> None:
    config = PoolConfig(size_max=3, size_min=2, lifetime_s=1_800)
    pool = server.pool(clock, config)
    for lease in [pool.borrow() for _ in range(3)]:
        pool.give_back(lease)
    clock.advance(1_800)
    server.is_up = False
    pool.maintain()
    assert server.connected == []
    server.is_up = True
    pool.maintain()
    assert len(server.connected) == 2


def test_a_pool_that_never_lent_two_at_once_keeps_one(server: Server, clock: FakeClock) -> None:
    pool = server.pool(clock, PoolConfig(size_max=20, size_min=5))
    for _ in range(10):
        pool.give_back(pool.borrow())
    pool.maintain()
    assert len(server.opened) == 1


def test_an_old_connection_is_not_lent_again(server: Server, clock: FakeClock) -> None:
    pool = server.pool(clock)
    first = pool.borrow()
    clock.advance(CONFIG.lifetime_s)
    pool.give_back(first)
    assert server.opened[0].closed
    pool.give_back(pool.borrow())
    clock.advance(CONFIG.lifetime_s)
    assert pool.borrow().connection is server.opened[2]
    assert server.opened[1].closed


def test_one_whose_borrower_has_gone_is_closed_and_its_place_is_free(
    server: Server, clock: FakeClock
) -> None:
    pool = server.pool(clock)
    leases = [pool.borrow() for _ in range(3)]
    leases.clear()
    gc.collect()
    assert pool.borrow(timeout_s=0)
    assert [connection.closed for connection in server.opened] == [True, True, True, False]


def test_a_lease_is_good_once(server: Server, clock: FakeClock) -> None:
    pool = server.pool(clock)
    lease = pool.borrow()
    pool.give_back(lease)
    pool.give_back(lease)
    assert pool.borrow() is not lease
    assert pool.snapshot().size == 1
    with pytest.raises(ValueError, match="given back"):
        assert lease.connection


def test_a_closed_pool_leaves_nothing_behind(server: Server, clock: FakeClock) -> None:
    pool = server.pool(clock)
    lent, unused = pool.borrow(), pool.borrow()
    pool.give_back(unused)
    pool.close()
    assert server.connected == [lent.connection]
    pool.give_back(lent)
    assert server.connected == []


def test_a_child_of_a_fork_begins_anew_and_touches_nothing_of_its_parent(
    server: Server, clock: FakeClock
) -> None:
    pool = server.pool(clock)
    lent, unused = pool.borrow(), pool.borrow()
    pool.give_back(unused)
    pool.after_fork()
    assert [connection.abandoned for connection in server.opened] == [True, True]
    assert pool.snapshot().size == 0
    # Even when the child gives back, or forgets, what its parent had borrowed.
    pool.give_back(lent)
    assert pool.borrow().connection is server.opened[2]
    assert not any(connection.closed for connection in server.opened)


@pytest.mark.parametrize(("size_min", "size_max"), [(-1, 1), (0, 0), (2, 1)])
def test_impossible_bounds_are_refused(size_min: int, size_max: int) -> None:
    with pytest.raises(ValueError, match="connections"):
        PoolConfig(size_min=size_min, size_max=size_max)
