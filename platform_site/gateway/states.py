"""How this process is: breakers, bulkheads, threads, connections, memory.

# Note [States of several processes]

Each process has states of its own, and of several processes behind one address only one answers
a scrape. With `PROMETHEUS_MULTIPROC_DIR`, each writes its states into a file there, every
`PUBLISH_INTERVAL_S`, and the one that is asked adds up the files of all. So every gauge here is a
number that can be added up: of a breaker, how many processes have it in that state. A file that
was not touched for `STALE_AFTER_S` is of a process that has ended, and is passed over.
"""

import logging
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from prometheus_client import Gauge

from platform_site.database import pools
from platform_site.gateway import metrics, services
from platform_site.gateway.limiter import limiter
from platform_site.gateway.metrics import REGISTRY
from platform_site.gateway.steps import admission
from platform_site.gateway.threads import Threads
from resilience import BreakerState, Bulkhead

logger = logging.getLogger(__name__)

PUBLISH_INTERVAL_S = 2.0
STALE_AFTER_S = 15.0


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"evenkeel_{name}", text, labels, registry=REGISTRY, multiprocess_mode="livesum")


_PROCESSES = _gauge("processes", "Processes that these figures are the sum of.")
_MEMORY = _gauge("resident_memory_bytes", "Memory that is in use, as the system counts it.")
_BREAKER = _gauge("breaker_state", "Processes whose breaker is in this state.", "breaker", "state")
_BULKHEAD = {
    name: _gauge(f"bulkhead_{name}", text, "bulkhead")
    for name, text in (
        ("size", "Requests that may be worked on at once."),
        ("active", "Requests that are being worked on."),
        ("queued", "Requests that wait for a slot."),
    )
}
_THREADS = {
    name: _gauge(f"threads_{name}", text, "pool")
    for name, text in (
        ("size_max", "Threads that there may be."),
        ("size", "Threads that there are."),
        ("busy", "Threads that work."),
        ("waiting", "Jobs that wait for a thread."),
    )
}
_POOL = {
    name: _gauge(f"database_pool_{name}", text)
    for name, text in (
        ("size_max", "Connections to the primary store that there may be at once."),
        ("size", "Connections to the primary store that there are."),
        ("in_use", "Connections to the primary store that a request or a task has borrowed."),
        ("waiting", "Requests and tasks that wait for a connection to the primary store."),
    )
}
_LIMITER = {
    name: _gauge(f"limiter_{name}", text)
    for name, text in (
        ("denials_cached", "Clients that are denied without asking the store."),
        ("leases_held", "Clients of whose quota a process holds a block, or did lately."),
    )
}


@dataclass(slots=True)
class _Cpu:
    """How much of this process's processor time has been counted already."""

    counted_s: float = 0.0


_threads: dict[str, Threads] = {}
_refreshing = threading.Lock()
_cpu = _Cpu()


def watch(threads: Mapping[str, Threads]) -> None:
    """Show these threads from now on, by the name of their pool."""
    _threads.update(threads)


def refresh() -> None:
    """Set every gauge to what is true now."""
    with _refreshing:
        _PROCESSES.set(1)
        _MEMORY.set(_resident_bytes())
        _count_cpu()
        _refresh_services()
        for pool, threads in _threads.items():
            for name, number in threads.snapshot().items():
                _THREADS[name].labels(pool).set(number)
        pool_snapshots = pools.snapshots()
        for name, gauge in _POOL.items():
            gauge.set(sum(getattr(each, name) for each in pool_snapshots))


def _refresh_services() -> None:
    guarded = [*services.SERVICES.values(), services.SITE, services.OPERATIONS]
    limits = limiter().snapshot()
    breakers = {each.name: each.breaker.state for each in guarded} | {
        limits.name: limits.store.state
    }
    bulkheads: list[Bulkhead] = [*(each.bulkhead for each in guarded), admission.BULKHEAD]
    for breaker, current in breakers.items():
        for state in BreakerState:
            _BREAKER.labels(breaker, state).set(current is state)
    for bulkhead in bulkheads:
        snapshot = bulkhead.snapshot()
        for name, gauge in _BULKHEAD.items():
            gauge.labels(bulkhead.name).set(getattr(snapshot, name))
    for name, gauge in _LIMITER.items():
        gauge.set(getattr(limits, name))
    metrics.start_at_zero(breakers, [each.name for each in bulkheads])


def _count_cpu() -> None:
    used_s = time.process_time()
    metrics.count_cpu(max(0.0, used_s - _cpu.counted_s))  # A child of a fork begins at zero.
    _cpu.counted_s = used_s


def _resident_bytes() -> int:
    """Return the memory that this process has in use; 0 where the system does not tell.

    Source: proc(5), /proc/pid/statm: the second number is the resident set, in pages.
    """
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def publish() -> None:
    """Refresh the gauges, and say in the shared folder that this process is alive."""
    refresh()
    for path in Path(settings.PROMETHEUS_MULTIPROC_DIR).glob(f"gauge_*_{os.getpid()}.db"):
        os.utime(path)


def start_publishing() -> None:
    """Publish from now on, in a thread, when this is one process of several."""
    if settings.PROMETHEUS_MULTIPROC_DIR:
        threading.Thread(target=_publish_for_ever, name="metrics", daemon=True).start()


def _publish_for_ever() -> None:
    pause = threading.Event()
    while True:
        try:
            publish()
        except Exception:
            logger.exception("The states of this process were not published; the next turn will")
        pause.wait(PUBLISH_INTERVAL_S)


def files_of_all(folder: Path, *, now_s: float) -> list[str]:
    """Return the files of the folder that count: counters of all times, and states of the living.

    Args:
        folder: `PROMETHEUS_MULTIPROC_DIR`.
        now_s: the present time, in Unix seconds.
    """
    return [
        str(path)
        for path in folder.glob("*.db")
        if not path.name.startswith("gauge_") or now_s - path.stat().st_mtime < STALE_AFTER_S
    ]
