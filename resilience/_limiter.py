"""The rate limiter: a sliding-window log, exact across processes, never an error of its own."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from resilience import _check
from resilience._breaker import CircuitBreaker
from resilience._breaker_config import BreakerConfig, BreakerSnapshot
from resilience._clock import SYSTEM_CLOCK, Clock
from resilience._limiter_store import Hit, LimiterStore, MemoryStore
from resilience._listener import Listener, tell
from resilience.errors import BreakerOpen, StoreUnavailable

DecisionSource = Literal["store", "denial_cache", "fallback"]

# The window is short, so that the good calls of a busy process soon stop outvoting a store that
# has just died: each further failing call costs its caller a time-out.
_STORE_BREAKER = BreakerConfig(
    window_s=2.0,
    calls_min=3,
    slow_call_s=1.0,
    reset_s=1.0,
    probe_timeout_s=1.0,
    is_failure=lambda error: isinstance(error, StoreUnavailable),
)


class Decision(NamedTuple):
    """Whether a request may pass, and what its answer should say about the limit.

    Args:
        allowed: whether it may pass.
        limit: requests allowed in each window.
        remaining: how many more would be allowed now.
        reset_at_s: Unix seconds (with fraction) at which the next request's place frees: the
            oldest one counted leaves the window. A client that waits until then, as clients do
            with `X-RateLimit-Reset`, is admitted; the quota comes back one by one after it. (The
            moment at which all of it is back would be "now + window" after every request.)
        retry_after_s: seconds until a request would be allowed; 0.0 when this one is.
        window_s: the length of the window, in seconds.
        source: `store`; `denial_cache`: known to be denied, without asking; `fallback`: this
            process's share, because the store could not be asked.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_at_s: float
    retry_after_s: float
    window_s: float
    source: DecisionSource


@dataclass(frozen=True, slots=True, kw_only=True)
class LimiterConfig:
    """Settings of a `RateLimiter`.

    Args:
        share_count: how many processes decide locally when the store is away; each then allows
            `limit / share_count`, and at least 1.
        denials_max: how many denied clients are remembered.
    """

    share_count: int = 1
    denials_max: int = 10_000

    def __post_init__(self) -> None:
        _check.at_least(1, share_count=self.share_count, denials_max=self.denials_max)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimiterSnapshot:
    """A limiter at one moment.

    Args:
        name: the limiter's name.
        store: the breaker in front of the store; not `closed` means local decisions.
        fallback_decisions: decisions made locally since the start.
        denials_cached: clients remembered as denied.
    """

    name: str
    store: BreakerSnapshot
    fallback_decisions: int
    denials_cached: int


_DEFAULTS = LimiterConfig()


class RateLimiter:
    """At most `limit` requests of each key in any window of `window_s` seconds.

    An allowed request costs one call of the store. A denied one is remembered until the moment
    at which the next could be allowed, so whoever keeps knocking costs no call. When the store
    is away, a breaker keeps its time-out from being paid again and again, and each process
    allows its share of the limit: at worst, as many again as the limit in the windows that the
    outage touches. `decide` never raises because of the store.

    Args:
        store: where requests are counted; shared between processes, if the limit shall be.
        fallback: counts this process's share while `store` is away; by default a `MemoryStore`.
        config: shares and bounds.
        name: appears in metrics.
        clock: where the time comes from; only for denials, the breaker and the fallback.
        listeners: told of local decisions, and of the breaker's transitions.
    """

    def __init__(
        self,
        store: LimiterStore,
        fallback: LimiterStore | None = None,
        *,
        config: LimiterConfig = _DEFAULTS,
        name: str = "rate_limiter",
        clock: Clock = SYSTEM_CLOCK,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self.name = name
        self.config = config
        self._store = store
        self._fallback = MemoryStore(clock=clock) if fallback is None else fallback
        self._now = clock.monotonic
        self._listeners = tuple(listeners)
        self._breaker = CircuitBreaker(name, _STORE_BREAKER, clock=clock, listeners=listeners)
        self._lock = threading.Lock()
        self._fallback_decisions = 0
        # (key, limit, window) -> (monotonic, Unix) seconds at which the denial ends.
        self._denials: OrderedDict[tuple[str, int, float], tuple[float, float]] = OrderedDict()

    def snapshot(self) -> LimiterSnapshot:
        """Return the state of the store's breaker and the number of local decisions."""
        return LimiterSnapshot(
            name=self.name,
            store=self._breaker.snapshot(),
            fallback_decisions=self._fallback_decisions,
            denials_cached=len(self._denials),
        )

    def decide(self, key: str, *, limit: int, window_s: float) -> Decision:
        """Decide on one request, and count it if it is allowed.

        Args:
            key: who is limited. Policies that count apart need keys that differ, such as
                `token:203.0.113.7`.
            limit: requests allowed in each window, at least 1.
            window_s: length of the window, in seconds.
        """
        now_s = self._now()
        denial = self._denials.get((key, limit, window_s))
        if denial is not None:
            ends_s, reset_at_s = denial
            if now_s < ends_s:
                return Decision(
                    False, limit, 0, reset_at_s, ends_s - now_s, window_s, "denial_cache"
                )
            self._denials.pop((key, limit, window_s), None)
        _check.at_least(1, limit=limit)
        _check.seconds(window_s=window_s)
        try:
            hit = self._breaker.call(self._store.hit, key, limit=limit, window_s=window_s)
        except (StoreUnavailable, BreakerOpen) as error:
            return self._decide_locally(key, limit, window_s, error)
        if not hit.allowed:
            # From before the call, so that the denial is never remembered for too long.
            self._remember_denial((key, limit, window_s), now_s + hit.frees_in_s, hit.frees_at_s)
        return _decision(hit, limit, window_s, "store")

    def _decide_locally(self, key: str, limit: int, window_s: float, error: Exception) -> Decision:
        share = max(1, limit // self.config.share_count)
        hit = self._fallback.hit(key, limit=share, window_s=window_s)
        with self._lock:
            self._fallback_decisions += 1
        tell(self._listeners, lambda each: each.on_fallback(self.name, error))
        return _decision(hit, limit, window_s, "fallback")

    def _remember_denial(
        self, denied: tuple[str, int, float], ends_s: float, reset_at_s: float
    ) -> None:
        with self._lock:
            self._denials[denied] = (ends_s, reset_at_s)
            if len(self._denials) > self.config.denials_max:
                self._denials.popitem(last=False)


def _decision(hit: Hit, limit: int, window_s: float, source: DecisionSource) -> Decision:
    return Decision(
        hit.allowed,
        limit,
        hit.remaining,
        hit.frees_at_s,
        0.0 if hit.allowed else hit.frees_in_s,
        window_s,
        source,
    )
