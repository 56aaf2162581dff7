"""The limiter's store on Redis or Valkey 7 and later: the one module that knows of Redis.

Not imported by the package itself, so that everything else works without the client library.
"""

import hashlib
from typing import Any, Protocol

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from resilience import _check
from resilience._limiter_store import Hit
from resilience.errors import StoreUnavailable

# A sorted set for each key: one member for each admitted request, scored with its moment in
# microseconds. Everything happens in one indivisible call, on the server's clock:
#
# - Members are made unique here rather than by the caller, whose counters may be copied by a
#   fork: two requests in one microsecond must be two members.
# - The clock may step back (an operator, a fail-over to a replica). Within a window, the key's
#   own newest entry is taken as the time; beyond it, the entries are from a clock that is gone.
# - Times are written with %.0f, because Lua shows large numbers with 14 digits only.
#
# Returns allowed (0, 1), members in the window, microseconds until the next place frees, and the
# present in Unix microseconds.
_SCRIPT = """
local limit, window_us = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local clock_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now_us = clock_us
local newest = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
if newest[2] and tonumber(newest[2]) > now_us then
  if tonumber(newest[2]) - now_us > window_us then
    redis.call('DEL', KEYS[1])
  else
    now_us = tonumber(newest[2])
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now_us - window_us))
local used = redis.call('ZCARD', KEYS[1])
local allowed = 0
if used < limit then
  local score = string.format('%.0f', now_us)
  local member, copy = score, 0
  while redis.call('ZADD', KEYS[1], 'NX', score, member) == 0 do
    copy = copy + 1
    member = score .. '-' .. copy
  end
  redis.call('PEXPIRE', KEYS[1], math.ceil(window_us / 1000) + 1000)
  allowed, used = 1, used + 1
end
local first = math.max(0, used - limit)
local oldest = redis.call('ZRANGE', KEYS[1], first, first, 'WITHSCORES')
return {allowed, used, tonumber(oldest[2]) + window_us - now_us, clock_us}
"""
_SHA = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()


class RedisClient(Protocol):
    """What the store asks of a client; `redis.Redis` has it."""

    def eval(self, script: str, numkeys: int, *keys_and_args: str | bytes | float) -> Any:
        """Run the script, and keep it in the server's cache of scripts."""

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: str | bytes | float) -> Any:
        """Run the script that the cache holds under this hash."""


def connect(url: str, *, timeout_s: float = 0.25) -> redis.Redis:
    """Return a client whose every command ends within about `timeout_s`, done or failed.

    It repeats nothing. (`redis.Redis(host=...)` by itself repeats a failed command ten times,
    with time-outs and pauses that add up to seconds; a limiter has better things to do.)

    Args:
        url: such as `redis://127.0.0.1:6379/0`.
        timeout_s: for connecting, and for each answer, in seconds.
    """
    _check.seconds(timeout_s=timeout_s)
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=timeout_s,
        socket_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
    )


class RedisStore:
    """A sliding-window log in a sorted set, in one call, exact between any number of processes.

    O(log N) for N requests in the window. Keys expire by themselves.

    Args:
        client: a connected client, such as `connect(url)`; its time-outs bound each call.
        prefix: begins every key in Redis.
    """

    def __init__(self, client: RedisClient, *, prefix: str = "limit") -> None:
        self._client = client
        self._prefix = prefix

    def hit(self, key: str, *, limit: int, window_s: float) -> Hit:
        """Admit and record one request; see `LimiterStore.hit`."""
        window_us = round(window_s * 1_000_000)
        arguments = (f"{self._prefix}:{window_us}:{key}", limit, window_us)
        try:
            try:
                answer = self._client.evalsha(_SHA, 1, *arguments)
            except NoScriptError:  # A new server, or SCRIPT FLUSH.
                answer = self._client.eval(_SCRIPT, 1, *arguments)
        except RedisError as error:
            raise StoreUnavailable("redis") from error
        allowed, used, frees_in_us, now_us = (int(number) for number in answer)
        frees_in_s = frees_in_us / 1_000_000
        return Hit(bool(allowed), max(0, limit - used), frees_in_s, now_us / 1_000_000 + frees_in_s)
