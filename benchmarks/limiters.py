"""The product's rate limiter, and bare scripts beside it, for `rate_limiter.py`.

One process holds ours and all peers, which take turns; they all ask the same Valkey.
"""

import importlib
import itertools
import time
import uuid
from collections.abc import Callable

from benchmarks.common import Skipped
from benchmarks.threads import per_second
from resilience import RateLimiter
from resilience._limiter_scripts import SCRIPTS
from resilience.redis_store import RedisStore, connect

WINDOW_S = 900
# Takes a key and a limit, counts one request, finds out what the headers say, and answers whether
# the request may pass.
Decide = Callable[[str, int], bool]

TIMEOUT_S = 30.0
# The sliding-window log as tutorials write it, with the figures of the headers: no thought for
# clocks that are set back, for requests of one microsecond, or for leases.
TUTORIAL_SCRIPT = """
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local window_us = tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_us - window_us)
local used = redis.call('ZCARD', KEYS[1])
local allowed = 0
if used < tonumber(ARGV[1]) then
  redis.call('ZADD', KEYS[1], now_us, ARGV[3])
  redis.call('PEXPIRE', KEYS[1], window_us / 1000)
  allowed, used = 1, used + 1
end
local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {allowed, used, oldest[2]}
"""


def evenkeel(url: str) -> Decide:
    """Return the decision of the product's limiter with a sliding window."""
    limiter = RateLimiter(RedisStore(connect(url, timeout_s=TIMEOUT_S)))
    return lambda key, limit: limiter.decide(key, limit=limit, window_s=WINDOW_S).allowed


def evenkeel_fixed(url: str) -> Decide:
    """Return the decision of the product's limiter with a fixed window."""
    limiter = RateLimiter(RedisStore(connect(url, timeout_s=TIMEOUT_S), window="fixed"))
    return lambda key, limit: limiter.decide(key, limit=limit, window_s=WINDOW_S).allowed


def bare_script(url: str) -> Decide:
    """Return one call of the product's script, with nothing around it."""
    client = connect(url, timeout_s=TIMEOUT_S)
    sha = str(client.script_load(SCRIPTS["sliding"].text))
    window_us = WINDOW_S * 1_000_000

    def decide(key: str, limit: int) -> bool:
        answer: bytes = client.evalsha(sha, 1, f"bare:{key}", limit, window_us)
        return not answer.startswith(b"0 ")

    return decide


def tutorial_script(url: str) -> Decide:
    """Return one call of a script as tutorials have it."""
    client = connect(url, timeout_s=TIMEOUT_S)
    sha = str(client.script_load(TUTORIAL_SCRIPT))
    window_us = WINDOW_S * 1_000_000
    run, member = uuid.uuid4(), itertools.count()

    def decide(key: str, limit: int) -> bool:
        given = (f"tutorial:{key}", limit, window_us, f"{run}-{next(member)}")
        return bool(client.evalsha(sha, 1, *given)[0])

    return decide


OURS: dict[str, Callable[[str], Decide]] = {
    "Evenkeel": evenkeel,
    "Evenkeel, fixed window": evenkeel_fixed,
    "bare script": bare_script,
    "tutorial's script": tutorial_script,
}


class Limiters:
    """All limiters in one process.

    Args:
        url: of the Valkey that they share.
    """

    def __init__(self, *, url: str) -> None:
        self._url = url
        self._decides: dict[str, Decide] = {}

    def allowed(self, name: str, *, count: int, per_key: int) -> float:
        """Return the decisions a second about requests that pass, each client's `per_key`."""
        decide, run = self._decide(name), uuid.uuid4()
        keys = [f"{run}-{number}" for number in range(-(-count // per_key))]
        started_s = time.perf_counter()
        for key in keys:
            for _ in range(per_key):
                if not decide(key, per_key):
                    raise RuntimeError(f"{name} refused a request within the limit")
        return len(keys) * per_key / (time.perf_counter() - started_s)

    def leased(self, name: str, *, count: int, limit: int) -> float:
        """Return the decisions a second about one client far below a large limit."""
        decide, key = self._decide(name), str(uuid.uuid4())
        return per_second(1, lambda _: sum(decide(key, limit) for _ in range(count)))

    def denied(self, name: str, *, count: int, limit: int) -> float:
        """Return the decisions a second about one client that is over its limit."""
        decide, key = self._decide(name), str(uuid.uuid4())
        for _ in range(limit + 1):
            decide(key, limit)
        started_s = time.perf_counter()
        for _ in range(count):
            decide(key, limit)
        elapsed_s = time.perf_counter() - started_s
        if decide(key, limit):
            raise RuntimeError(f"{name} admitted a request over the limit")
        return count / elapsed_s

    def race(self, name: str, *, key: str, limit: int, threads: int, begins_s: float) -> int:
        """Return how many requests of so many threads are admitted, all at once.

        Args:
            begins_s: when to begin, in Unix seconds: the same for all processes of the race.
        """
        decide = self._decide(name)
        decide(f"{key}-connects", limit)
        admitted = [0] * threads

        def work(number: int) -> int:
            time.sleep(max(0.0, begins_s - time.time()))
            admitted[number] = sum(decide(key, limit) for _ in range(limit // 10))
            return 1

        per_second(threads, work)
        return sum(admitted)

    def _decide(self, name: str) -> Decide:
        if name not in self._decides:
            self._decides[name] = self._made(name)
        return self._decides[name]

    def _made(self, name: str) -> Decide:
        if name in OURS:
            return OURS[name](self._url)
        try:
            peers = importlib.import_module("benchmarks.peers.limiter_peers")
            made: Decide = peers.PEERS[name](self._url)
        except ImportError as error:
            raise Skipped(f"{error.name} is not installed: make bench installs it") from error
        return made
