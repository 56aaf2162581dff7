"""The limiter's stores on Redis or Valkey 7 and later, for threads and for coroutines.

Not imported by the package itself, so that everything else works without the client library.
"""

from collections.abc import Awaitable
from typing import Any, Protocol

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from resilience import _check
from resilience._limiter_scripts import SCRIPTS, arguments, read
from resilience._limiter_store import Ask, Grant, LimiterWindow
from resilience.errors import StoreUnavailable


class RedisClient(Protocol):
    """What the store asks of a client; `redis.Redis` has it."""

    def eval(self, script: str, numkeys: int, *keys_and_args: str | bytes | float) -> Any:
        """Run the script, and keep it in the server's cache of scripts."""

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: str | bytes | float) -> Any:
        """Run the script that the cache holds under this hash."""


class AsyncRedisClient(Protocol):
    """What the asynchronous store asks of a client; `redis.asyncio.Redis` has it."""

    def eval(
        self, script: str, numkeys: int, *keys_and_args: str | bytes | float
    ) -> Awaitable[Any]:
        """Run the script, and keep it in the server's cache of scripts."""

    def evalsha(
        self, sha: str, numkeys: int, *keys_and_args: str | bytes | float
    ) -> Awaitable[Any]:
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


def connect_async(url: str, *, timeout_s: float = 0.25) -> redis.asyncio.Redis:
    """Return a client for coroutines, bounded like that of `connect`."""
    _check.seconds(timeout_s=timeout_s)
    return redis.asyncio.Redis.from_url(
        url,
        socket_connect_timeout=timeout_s,
        socket_timeout=timeout_s,
        retry=AsyncRetry(NoBackoff(), 0),
    )


class RedisStore:
    """Counts in Redis, in one call, exact between any number of processes.

    A sliding window is a log in a sorted set, O(log N) for N requests or leases in the window; a
    fixed window is a count. Keys expire by themselves.

    Args:
        client: a connected client, such as `connect(url)`; its time-outs bound each call.
        prefix: begins every key in Redis.
        window: `sliding`: no window of time, wherever it begins, holds more than the limit; or
            `fixed`: no window does that begins with the first request after the one before it.
    """

    def __init__(
        self, client: RedisClient, *, prefix: str = "limit", window: LimiterWindow = "sliding"
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._script = SCRIPTS[window]

    def take(self, ask: Ask, /) -> Grant:
        """Admit and record; see `LimiterStore.take`."""
        given = arguments(self._script, self._prefix, ask)
        try:
            try:
                answer = self._client.evalsha(self._script.sha, 1, *given)
            except NoScriptError:  # A new server, or SCRIPT FLUSH.
                answer = self._client.eval(self._script.text, 1, *given)
        except RedisError as error:
            raise StoreUnavailable("redis") from error
        return read(ask, answer)


class AsyncRedisStore:
    """A `RedisStore` whose answer is awaited: same keys, same scripts, same counts.

    Args:
        client: such as `connect_async(url)`.
        prefix: begins every key in Redis.
        window: as of `RedisStore`.
    """

    def __init__(
        self, client: AsyncRedisClient, *, prefix: str = "limit", window: LimiterWindow = "sliding"
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._script = SCRIPTS[window]

    async def take(self, ask: Ask, /) -> Grant:
        """Admit and record; see `LimiterStore.take`."""
        given = arguments(self._script, self._prefix, ask)
        try:
            try:
                answer = await self._client.evalsha(self._script.sha, 1, *given)
            except NoScriptError:  # A new server, or SCRIPT FLUSH.
                answer = await self._client.eval(self._script.text, 1, *given)
        except RedisError as error:
            raise StoreUnavailable("redis") from error
        return read(ask, answer)
