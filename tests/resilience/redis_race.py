"""One process of the race for a limit, importable by the processes that run it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier

from resilience import RateLimiter
from resilience._limiter_store import LimiterWindow
from resilience.redis_store import RedisStore, connect

THREADS = 8
_barriers: list[Barrier] = []


def prepare(barrier: Barrier) -> None:
    """Remember the barrier that all processes start from."""
    _barriers.append(barrier)


def race(url: str, key: str, limit: int, window: LimiterWindow, requests: int) -> int:
    """Return how many were admitted of this process's requests, so many from each thread."""
    client = connect(url, timeout_s=30.0)
    limiter = RateLimiter(RedisStore(client, window=window))
    start = threading.Barrier(THREADS)
    _barriers[0].wait(60)

    def work() -> int:
        start.wait(60)
        decisions = [limiter.decide(key, limit=limit, window_s=900) for _ in range(requests)]
        assert "fallback" not in {decision.source for decision in decisions}
        return sum(decision.allowed for decision in decisions)

    with ThreadPoolExecutor(THREADS) as pool:
        calls = [pool.submit(work) for _ in range(THREADS)]
        admitted = sum(call.result(60) for call in calls)
    client.close()
    return admitted
