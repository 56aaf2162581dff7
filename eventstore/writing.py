"""The transaction that a write runs in.

# Note [Writers of one SQLite file]

SQLite has one writer at a time, and who finds it busy sleeps and asks again, longer each time:
with 32 threads a commit then waits for nobody, most of the time. So the writers of one process
queue up in front of it, which costs nothing and loses no time. Other processes still meet it as
SQLite means them to.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import OperationalError, connection, transaction

LOCK_TIMEOUT_S = 20.0

_lock = threading.Lock()


def _begin_anew() -> None:
    """Let a child of a fork begin without the lock of a thread that it does not have."""
    global _lock  # noqa: PLW0603 - a lock cannot be freed for a thread that is gone
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_begin_anew)


@contextmanager
def write_transaction(*, durable: bool = False) -> Iterator[None]:
    """Open a transaction to write in; within another one, a savepoint of it.

    Args:
        durable: refuse to be within another one.

    Raises:
        OperationalError: another thread has not come to an end in `LOCK_TIMEOUT_S`.
    """
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        with transaction.atomic(durable=durable):
            yield
        return
    lock = _lock
    if not lock.acquire(timeout=LOCK_TIMEOUT_S):
        raise OperationalError("database is locked: another thread writes for too long")
    try:
        with transaction.atomic(durable=durable):
            yield
    finally:
        lock.release()
