"""Naive limiters, searched from end to end, and a Redis store whose server runs on a fake clock."""

import hashlib
import uuid
from dataclasses import dataclass, field

import redis
from hypothesis import strategies as st

from resilience import Ask, FakeClock, Grant
from resilience._limiter_scripts import SCRIPTS, Script
from resilience._limiter_store import LimiterWindow
from resilience.redis_store import RedisStore


@dataclass(frozen=True, slots=True)
class Step:
    """One request of `key`, `after_s` whole seconds after the one before."""

    key: str
    after_s: int


@dataclass(frozen=True, slots=True)
class Expected:
    """What the naive limiter says."""

    allowed: bool
    remaining: int
    frees_in_s: float
    retry_after_s: float


def steps(*, max_size: int) -> st.SearchStrategy[list[Step]]:
    """Histories for a window of 100 s: mostly crowded, with some pauses, also exact ones."""
    pauses = st.sampled_from([0, 0, 0, 1, 7, 50, 99, 100, 101])
    return st.lists(st.builds(Step, key=st.sampled_from("ab"), after_s=pauses), max_size=max_size)


@dataclass
class Model:
    """Decides as the definition says: fewer than `limit` in the last `window_s`."""

    limit: int
    window_s: float
    admitted: list[tuple[str, float]] = field(default_factory=list)

    def decide(self, key: str, now_s: float) -> Expected:
        counted = self.counted(key, now_s)
        allowed = len(counted) < self.limit
        if allowed:
            self.admitted.append((key, now_s))
            counted.append(now_s)
        frees_in_s = self.frees_s(key, counted) - now_s
        return Expected(
            allowed, self.limit - len(counted), frees_in_s, 0.0 if allowed else frees_in_s
        )

    def counted(self, key: str, now_s: float) -> list[float]:
        """Return the moments that count now."""
        return [at for who, at in self.admitted if who == key and at > now_s - self.window_s]

    def frees_s(self, key: str, counted: list[float]) -> float:
        """Return when one that counts leaves."""
        return min(counted) + self.window_s


@dataclass
class FixedModel(Model):
    """Decides for windows that begin with the first request after the one before it ended."""

    def counted(self, key: str, now_s: float) -> list[float]:
        """Return the moments of the window that is open now."""
        began_s = self.began_s(key)
        if began_s is None or now_s >= began_s + self.window_s:
            return []
        return [at for who, at in self.admitted if who == key and at >= began_s]

    def frees_s(self, key: str, counted: list[float]) -> float:
        """Return the end of the window."""
        return (self.began_s(key) or 0.0) + self.window_s

    def began_s(self, key: str) -> float | None:
        """Return when the last window began."""
        began_s: float | None = None
        for who, at in self.admitted:
            if who == key and (began_s is None or at >= began_s + self.window_s):
                began_s = at
        return began_s


MODELS: dict[LimiterWindow, type[Model]] = {"sliding": Model, "fixed": FixedModel}


class ClockedRedisStore:
    """The scripts on a real server that reads a fake clock where it would read its own."""

    def __init__(
        self, client: redis.Redis, clock: FakeClock, *, window: LimiterWindow = "sliding"
    ) -> None:
        self._client = client
        self._clock = clock
        self.step_s = 0.0
        self.prefix = f"clocked-{uuid.uuid4()}"
        self._store = RedisStore(client, prefix=self.prefix, window=window)
        text = SCRIPTS[window].text.replace(
            "redis.call('TIME')", f"{{0, redis.call('GET', '{self.prefix}:clock')}}"
        )
        assert text != SCRIPTS[window].text
        sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self._store._script = Script(text, sha, SCRIPTS[window].name)

    def take(self, ask: Ask, /) -> Grant:
        """Ask the server at the clock's moment, set wrong by `step_s`."""
        now_us = round((self._clock.time() + self.step_s) * 1_000_000)
        self._client.set(f"{self.prefix}:clock", now_us)
        return self._store.take(ask)
