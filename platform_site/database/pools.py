"""The pools of this process: one for each server, database and user.

A thread keeps them: it closes what lay unused for long, and opens what is missing to the minimum.
A child of a fork begins without pools and without that thread; see `begin_anew`.
"""

import logging
import os
import threading
from collections.abc import Callable, Hashable
from typing import Any

from django.db import OperationalError, connections

from platform_site.database.config import Driver, PoolConfig, PoolSnapshot
from platform_site.database.pool import Pool

logger = logging.getLogger(__name__)

KEEP_INTERVAL_S = 30.0


class DatabaseOverloaded(OperationalError):
    """All connections of this process were in use for too long; the work was not begun."""


class _Registry:
    """Pools by what they connect to, and the thread that keeps them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pools: dict[Hashable, Pool[Any]] = {}
        self.keeper: threading.Thread | None = None


_registry = _Registry()


def pool_for(key: Hashable, *, config: PoolConfig, driver: Callable[[], Driver[Any]]) -> Pool[Any]:
    """Return the pool of this process for `key`, made with `config` and `driver` at first."""
    pool = _registry.pools.get(key)
    if pool is not None:
        return pool
    with _registry.lock:
        pool = _registry.pools.setdefault(key, Pool(driver(), config))
        if _registry.keeper is None:
            _registry.keeper = threading.Thread(target=_keep, name="connections", daemon=True)
            _registry.keeper.start()
    return pool


def snapshots() -> list[PoolSnapshot]:
    """Return what each pool of this process looks like now."""
    return [pool.snapshot() for pool in list(_registry.pools.values())]


def close_all() -> None:
    """Close every connection that is not lent, and forget the pools."""
    with _registry.lock:
        pools = list(_registry.pools.values())
        _registry.pools.clear()
    for pool in pools:
        pool.close()


def begin_anew() -> None:
    """Leave everything inherited by a fork to the parent: runs in each child, before anything else.

    Two processes on one connection would read each other's answers, and the first to close it
    would end it for both.
    """
    global _registry
    inherited, _registry = _registry, _Registry()
    for pool in list(inherited.pools.values()):
        pool.after_fork()
    for connection in connections.all(initialized_only=True):
        forget = getattr(connection, "forget_after_fork", None)
        if forget is not None:
            forget()


os.register_at_fork(after_in_child=begin_anew)


def _keep() -> None:
    pause = threading.Event()
    while True:
        pause.wait(KEEP_INTERVAL_S)
        for pool in list(_registry.pools.values()):
            try:
                pool.maintain()
            except Exception:
                logger.exception("A pool of connections was not kept; the next turn tries again")
