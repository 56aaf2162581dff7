"""The backend: a thread borrows a connection when it needs one, and `close` gives it back.

With `CONN_MAX_AGE` 0 Django closes at the end of each request, so nothing is held in between. What
is pooled is the session as well: its isolation level is set once, when it is opened. Whatever a
borrower leaves undone is rolled back, and a session that somebody has changed by SET is closed
instead of being lent again.
"""

import contextlib
import os
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.base import NO_DB_ALIAS, BaseDatabaseWrapper
from django.db.backends.mysql import base
from MySQLdb import Connection, Error, connect

from platform_site.database import pools
from platform_site.database.config import Driver, PoolConfig, PoolExhausted
from platform_site.database.lease import Lease
from platform_site.database.pool import Pool
from resilience import bounded_timeout_s

STATEMENT_BYTES_MAX = 1024 * 1024


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's connection of a thread to MySQL or MariaDB, lent by the pool of the process.

    `OPTIONS["pool"]` has the arguments of `PoolConfig`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pool: Pool[Connection] | None = None
        self._lease: Lease[Connection] | None = None
        self._session_changed = False

    def get_connection_params(self) -> dict[str, Any]:
        """Return what the driver wants to know."""
        params = super().get_connection_params()
        params.pop("pool", None)
        return params

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Borrow a connection, for at most the time that the request has left.

        Raises:
            DatabaseOverloaded: all are in use.
        """
        # Around the database itself (its creation for a test), nothing is worth keeping.
        if self.alias == NO_DB_ALIAS:
            return super().get_new_connection(conn_params)
        if self.settings_dict["CONN_MAX_AGE"] != 0:
            raise ImproperlyConfigured("A pool wants CONN_MAX_AGE 0: who keeps one starves others.")
        pool = self._pool_of_process(conn_params)
        try:
            lease = pool.borrow(timeout_s=bounded_timeout_s(pool.config.acquire_timeout_s))
        except PoolExhausted as error:
            raise pools.DatabaseOverloaded(str(error)) from error
        self._pool, self._lease, self._session_changed = pool, lease, False
        return lease.connection

    def init_connection_state(self) -> None:
        """Check the server's version, once; the session was set up when it was opened."""
        if self._lease is None:
            super().init_connection_state()
        else:
            BaseDatabaseWrapper.init_connection_state(self)

    def create_cursor(self, name: str | None = None) -> Any:  # noqa: ARG002
        """Return a cursor that notices when the session is changed."""
        cursor = self.connection.cursor()
        # The driver joins rows into statements of so many bytes: at its 64 KiB a batch of a
        # thousand commands would take a hundred of them. Servers take 16 MiB by default.
        cursor.max_stmt_length = STATEMENT_BYTES_MAX
        return _Cursor(cursor, self)

    def note(self, statement: object) -> None:
        """Remember that the session is not as others expect it, if `statement` changes it."""
        if isinstance(statement, str) and statement.lstrip()[:3].upper() == "SET":
            self._session_changed = True

    def forget_after_fork(self) -> None:
        """Let go, in a child, of the connection that this thread's parent is using."""
        self.connection = None
        self._pool = self._lease = None

    def _close(self) -> None:
        pool, lease = self._pool, self._lease
        if pool is None or lease is None:
            super()._close()  # type: ignore[misc]  # the stubs know only `close`
            return
        # From here it may be lent to another thread, so this one must not reach it any more.
        self.connection = None
        self._pool = self._lease = None
        pool.give_back(lease, reusable=not self._session_changed)

    def _pool_of_process(self, params: dict[str, Any]) -> Pool[Connection]:
        level = self.isolation_level
        address = ("unix_socket", "host", "port", "user", "database")
        return pools.pool_for(
            (*map(params.get, address), level),
            config=PoolConfig(**self.settings_dict["OPTIONS"].get("pool", {})),
            driver=lambda: Driver(
                open=lambda: _open(params, isolation_level=level),
                is_alive=_is_alive,
                reset=_reset,
                close=_close,
                abandon=_abandon,
            ),
        )


class _Cursor(base.CursorWrapper):
    """Django's cursor for MySQL, which tells the connection what is executed."""

    def __init__(self, cursor: Any, wrapper: DatabaseWrapper) -> None:
        super().__init__(cursor)
        self._wrapper = wrapper

    def execute(self, query: str, args: Any = None) -> Any:
        """Execute `query`."""
        self._wrapper.note(query)
        return super().execute(query, args)


def _open(params: dict[str, Any], *, isolation_level: str | None) -> Connection:
    """Return a new session, set up as Django does it (`init_connection_state`)."""
    connection = connect(**params)
    try:
        connection.autocommit(True)
        connection.query("SET SQL_AUTO_IS_NULL = 0")
        if isolation_level:
            connection.query(f"SET SESSION TRANSACTION ISOLATION LEVEL {isolation_level.upper()}")
    except BaseException:
        connection.close()
        raise
    return connection


def _is_alive(connection: Connection) -> bool:
    try:
        connection.ping()
    except Error:
        return False
    return True


def _reset(connection: Connection) -> None:
    """Roll back; raise when the connection is broken, or still has an answer to be read."""
    connection.rollback()
    connection.autocommit(True)


def _close(connection: Connection) -> None:
    with contextlib.suppress(Error):
        connection.close()


def _abandon(connection: Connection) -> None:
    """Put nothing in the place of an inherited socket: what is said to it reaches nobody.

    Merely to forget the connection would close it, and the driver then takes leave of the server
    in the parent's name.
    """
    with contextlib.suppress(Error, OSError):
        nowhere = os.open(os.devnull, os.O_RDWR)
        try:
            os.dup2(nowhere, connection.fileno())
        finally:
            os.close(nowhere)
