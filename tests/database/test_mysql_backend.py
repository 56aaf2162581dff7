"""Django's connections to a real MariaDB server, lent by the pool."""

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, ProgrammingError, transaction
from django.db.utils import ConnectionHandler

from platform_site.database import pools
from platform_site.database.config import PoolSnapshot
from resilience import Deadline
from tests.database.conftest import Connect
from tests.database.tools import eventually, in_thread

pytestmark = pytest.mark.mariadb
ROOT = Path(__file__).parents[2]


def ask(connections: ConnectionHandler, sql: str) -> Any:
    """Return the first value of the first row."""
    with connections["default"].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def session(connections: ConnectionHandler) -> int:
    number: int = ask(connections, "SELECT CONNECTION_ID()")
    return number


def snapshot() -> PoolSnapshot:
    (only,) = pools.snapshots()
    return only


def sessions_of(connections: ConnectionHandler, numbers: list[int]) -> set[int]:
    """Return which of the sessions `numbers` the server still has."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist")
        return {row[0] for row in cursor.fetchall()} & set(numbers)


class Holder:
    """A thread that borrows a connection and keeps it until it is told to close."""

    def __init__(self, connections: ConnectionHandler) -> None:
        self.number = 0
        self._go = threading.Event()
        self._connections = connections
        self._thread = in_thread(self._hold)
        eventually(lambda: self.number)

    def _hold(self) -> None:
        self.number = session(self._connections)
        self._go.wait(60)
        self._connections["default"].close()

    def close(self) -> None:
        self._go.set()
        self._thread.join(20)


def test_a_closed_connection_is_the_next_ones(connect: Connect) -> None:
    connections = connect()
    number = session(connections)
    connections["default"].close()
    holder = Holder(connections)
    assert holder.number == number
    holder.close()
    assert snapshot() == PoolSnapshot(size_max=20, size=1, in_use=0, waiting=0)


def test_the_twenty_first_waits_and_is_then_told_that_all_are_in_use(connect: Connect) -> None:
    connections = connect(acquire_timeout_s=0.2)
    holders = [Holder(connections) for _ in range(20)]
    assert len({holder.number for holder in holders}) == 20
    with pytest.raises(pools.DatabaseOverloaded, match="all 20 connections are in use"):
        session(connections)
    assert snapshot() == PoolSnapshot(size_max=20, size=20, in_use=20, waiting=0)
    for holder in holders:
        holder.close()
    assert session(connections) in {holder.number for holder in holders}


def test_the_twenty_first_is_served_as_soon_as_one_is_free(connect: Connect) -> None:
    connections = connect()
    holders = [Holder(connections) for _ in range(20)]
    found: list[int] = []
    waiter = in_thread(lambda: found.append(session(connections)))
    eventually(lambda: snapshot().waiting == 1)
    holders[7].close()
    waiter.join(20)
    assert found == [holders[7].number]
    for holder in holders:
        holder.close()


def test_nobody_waits_beyond_the_deadline_of_the_request(connect: Connect) -> None:
    connections = connect(size_max=1, size_min=0, acquire_timeout_s=3_600)
    holder = Holder(connections)
    with Deadline.after(0.05).scope(), pytest.raises(pools.DatabaseOverloaded):
        session(connections)
    holder.close()


def kill(connections: ConnectionHandler, number: int) -> None:
    """End a session from another one, which is not of the pool."""
    with connections["default"]._nodb_cursor() as cursor:
        cursor.execute(f"KILL {number}")

        def is_gone() -> bool:
            cursor.execute(f"SELECT 1 FROM information_schema.processlist WHERE id = {number}")
            return cursor.fetchone() is None

        eventually(is_gone)


def test_a_connection_that_the_server_killed_is_replaced_without_an_error(
    connect: Connect,
) -> None:
    connections = connect(check_after_s=0)
    number = session(connections)
    connections["default"].close()
    kill(connections, number)
    assert session(connections) != number
    assert snapshot().size == 1


def test_one_killed_while_it_was_lent_is_not_lent_again_and_has_the_others_asked(
    connect: Connect,
) -> None:
    connections = connect(check_after_s=3_600)
    holder = Holder(connections)
    number = session(connections)
    holder.close()
    for each in (holder.number, number):
        kill(connections, each)
    with pytest.raises(OperationalError):
        session(connections)
    connections["default"].close()
    assert session(connections) not in {holder.number, number}
    assert snapshot().size == 1


def test_connections_that_lie_unused_are_closed_but_for_the_minimum(connect: Connect) -> None:
    connections = connect(size_min=2, idle_s=0)
    holders = [Holder(connections) for _ in range(6)]
    for holder in holders:
        holder.close()
    (pool,) = pools._registry.pools.values()
    pool.maintain()
    assert pool.snapshot().size == 2
    numbers = [holder.number for holder in holders]
    eventually(lambda: len(sessions_of(connections, numbers)) == 2)


def test_what_a_borrower_left_undone_is_rolled_back(connect: Connect) -> None:
    connections = connect()
    number = session(connections)
    connections["default"].set_autocommit(False)
    ask(connections, "SELECT COUNT(*) FROM information_schema.tables")
    ask(connections, "SELECT @@in_transaction")
    connections["default"].close()
    assert session(connections) == number
    assert ask(connections, "SELECT @@autocommit") == 1
    assert ask(connections, "SELECT @@in_transaction") == 0


def test_locks_of_a_borrower_that_broke_off_are_gone(connect: Connect) -> None:
    connections = connect()
    with connections["default"].cursor() as cursor:
        cursor.execute("START TRANSACTION")
    assert ask(connections, "SELECT @@in_transaction") == 1
    connections["default"].close()
    assert ask(connections, "SELECT @@in_transaction") == 0


def test_each_session_reads_what_was_committed(connect: Connect) -> None:
    connections = connect()
    assert ask(connections, "SELECT @@tx_isolation") == "READ-COMMITTED"
    assert ask(connections, "SELECT @@autocommit") == 1


def test_a_session_gives_up_a_locked_row_within_the_time_of_a_request(connect: Connect) -> None:
    connections = connect()
    assert ask(connections, "SELECT @@innodb_lock_wait_timeout") == 8


def test_a_session_that_was_changed_is_not_lent_again(connect: Connect) -> None:
    connections = connect()
    number = session(connections)
    with connections["default"].cursor() as cursor:
        cursor.execute("  set session transaction isolation level serializable")
    connections["default"].close()
    assert session(connections) != number
    assert ask(connections, "SELECT @@tx_isolation") == "READ-COMMITTED"


def test_after_a_close_within_a_transaction_nobody_reaches_the_connection(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = connect()
    monkeypatch.setattr(transaction, "get_connection", lambda _using=None: connections["default"])
    with transaction.atomic():
        session(connections)
        connections["default"].close()
        assert snapshot().in_use == 0
        with pytest.raises(ProgrammingError, match="in an atomic block"):
            session(connections)
    assert session(connections)


def test_a_thread_that_ends_without_closing_keeps_no_place(connect: Connect) -> None:
    connections = connect(size_max=1, size_min=0)
    in_thread(lambda: session(connections)).join(20)
    gc.collect()
    assert session(connections)


def test_keeping_connections_is_refused(connect: Connect) -> None:
    connections = connect()
    connections["default"].settings_dict["CONN_MAX_AGE"] = 60
    with pytest.raises(ImproperlyConfigured, match="CONN_MAX_AGE"):
        session(connections)


def test_a_child_of_a_fork_does_not_share_the_connections_of_its_parent(mariadb_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.database.forking"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": mariadb_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "nothing is shared"
