"""The rate limiter: exact across processes, mostly without I/O, and never an error of its own."""

import asyncio
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence

from resilience import _check
from resilience._breaker import CircuitBreaker
from resilience._breaker_config import BreakerConfig
from resilience._clock import SYSTEM_CLOCK, Clock
from resilience._decision import Decision, DecisionSource, LimiterConfig, LimiterSnapshot
from resilience._lease import Leases, Policy
from resilience._limiter_store import Ask, AsyncLimiterStore, Grant, LimiterStore
from resilience._listener import Listener, tell
from resilience._memory_store import MemoryStore
from resilience.errors import BreakerOpen, StoreUnavailable

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
_DEFAULTS = LimiterConfig()
# Faster than `Decision(...)`, which is a function around it.
_new_tuple = tuple.__new__


class RateLimiter:
    """At most `limit` requests of each key in any window of `window_s` seconds.

    Below `LimiterConfig.lease_limit_min`, an allowed request costs one call of the store. From
    there on, a process leases blocks of the quota for a moment and decides by itself, mostly; see
    `LimiterStore.take` for what that keeps to. A denied request is remembered until the moment at
    which the next could be allowed, so whoever keeps knocking costs no call. When the store is
    away, a breaker keeps its time-out from being paid again and again, and each process allows
    its share of the limit: at worst, as many again as the limit in the windows that the outage
    touches. No decision ever raises because of the store.

    Args:
        store: where requests are counted; shared between processes, if the limit shall be.
        fallback: counts this process's share while `store` is away; by default a `MemoryStore`.
        async_store: the same store for `decide_async`; without one, that asks `store` in a thread.
        config: shares, leases and bounds.
        name: appears in metrics.
        clock: where the time comes from; for denials, leases, the breaker and the fallback.
        listeners: told of local decisions, and of the breaker's transitions.
    """

    def __init__(
        self,
        store: LimiterStore,
        fallback: LimiterStore | None = None,
        *,
        async_store: AsyncLimiterStore | None = None,
        config: LimiterConfig = _DEFAULTS,
        name: str = "rate_limiter",
        clock: Clock = SYSTEM_CLOCK,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self.name = name
        self.config = config
        self._lease_limit_min = config.lease_limit_min
        self._store = store
        self._async_store = async_store
        self._fallback = MemoryStore(clock=clock) if fallback is None else fallback
        self._now = clock.monotonic
        self._listeners = tuple(listeners)
        self._breaker = CircuitBreaker(name, _STORE_BREAKER, clock=clock, listeners=listeners)
        self._lock = threading.Lock()
        self._fallback_decisions = 0
        # When to ask again and when a place frees, in monotonic seconds; the latter in Unix ones.
        self._denials: OrderedDict[Policy, tuple[float, float, float]] = OrderedDict()
        self._leases = Leases(config)
        _LIMITERS.add(self)

    def snapshot(self) -> LimiterSnapshot:
        """Return the state of the store's breaker and the number of local decisions."""
        return LimiterSnapshot(
            name=self.name,
            store=self._breaker.snapshot(),
            fallback_decisions=self._fallback_decisions,
            denials_cached=len(self._denials),
            leases_held=len(self._leases),
        )

    def peek(self, key: str, *, limit: int, window_s: float) -> Decision | None:
        """Decide on one request if that takes no I/O; else return None, and count nothing.

        A decision is final: an allowed request is counted. After None, call `decide`. For event
        loops, which may hand the latter to a thread. Arguments as of `decide`.
        """
        return self._local((key, limit, window_s), limit)

    def decide(self, key: str, *, limit: int, window_s: float) -> Decision:
        """Decide on one request, and count it if it is allowed.

        Args:
            key: who is limited. Policies that count apart need keys that differ, such as
                `token:203.0.113.7`.
            limit: requests allowed in each window, at least 1.
            window_s: length of the window, in seconds.
        """
        policy = (key, limit, window_s)
        decision = self._local(policy, limit)
        return self._ask(policy) if decision is None else decision

    async def decide_async(self, key: str, *, limit: int, window_s: float) -> Decision:
        """Decide like `decide`, without blocking the event loop."""
        policy = (key, limit, window_s)
        decision = self._local(policy, limit)
        if decision is not None:
            return decision
        if self._async_store is None:
            return await asyncio.to_thread(self._ask, policy)
        now_s = self._now()
        ask = self._question(policy, now_s)
        try:
            grant = await self._breaker.async_call(self._async_store.take, ask)
        except (StoreUnavailable, BreakerOpen) as error:
            self._leases.fail(policy, ask)
            return self._decide_locally(policy, error)
        except BaseException:
            self._leases.fail(policy, ask)
            raise
        self._settle(policy, ask, now_s, grant)
        if len(self._leases):
            await self.give_back_async(calls_max=1)
        return _decision(grant, policy, "store")

    def give_back(self, *, calls_max: int = 1_000, is_ending: bool = False) -> int:
        """Give back what is left of leases that have ended, one call of the store for each.

        It happens by itself, one by one, as other clients are asked for. A process that may have
        none for long calls it now and then; one that ends, at its end.

        Args:
            calls_max: at most so many calls.
            is_ending: give back the leases that have not ended, too.

        Returns:
            How many rests were given back. What the store could not take expires there.
        """
        for count in range(calls_max):
            ask = self._leases.lapsed(self._now(), is_ending=is_ending)
            if ask is None:
                return count
            try:
                self._breaker.call(self._store.take, ask)
            except (StoreUnavailable, BreakerOpen):
                return count
        return calls_max

    async def give_back_async(self, *, calls_max: int = 1_000, is_ending: bool = False) -> int:
        """Give back like `give_back`, without blocking the event loop."""
        if self._async_store is None:
            return await asyncio.to_thread(self.give_back, calls_max=calls_max, is_ending=is_ending)
        for count in range(calls_max):
            ask = self._leases.lapsed(self._now(), is_ending=is_ending)
            if ask is None:
                return count
            try:
                await self._breaker.async_call(self._async_store.take, ask)
            except (StoreUnavailable, BreakerOpen):
                return count
        return calls_max

    # Below: what needs no question, and one question from its beginning to its end.

    def _local(self, policy: Policy, limit: int) -> Decision | None:
        # Takes the limit apart from the policy, and positional, as every denied request comes here.
        if limit >= self._lease_limit_min:
            decision = self._leases.use(policy, self._now())
            if decision is not None:
                return decision
        denial = self._denials.get(policy)
        if denial is None:
            return None
        recheck_s, frees_s, reset_at_s = denial
        now_s = self._now()
        if now_s >= recheck_s:
            self._denials.pop(policy, None)
            return None
        return _new_tuple(
            Decision, (False, limit, 0, reset_at_s, frees_s - now_s, policy[2], "denial_cache")
        )

    def _ask(self, policy: Policy) -> Decision:
        now_s = self._now()
        ask = self._question(policy, now_s)
        try:
            grant = self._breaker.call(self._store.take, ask)
        except (StoreUnavailable, BreakerOpen) as error:
            self._leases.fail(policy, ask)
            return self._decide_locally(policy, error)
        except BaseException:
            self._leases.fail(policy, ask)
            raise
        self._settle(policy, ask, now_s, grant)
        if len(self._leases):
            self.give_back(calls_max=1)
        return _decision(grant, policy, "store")

    def _question(self, policy: Policy, now_s: float) -> Ask:
        key, limit, window_s = policy
        _check.at_least(1, limit=limit)
        _check.seconds(window_s=window_s)
        if limit < self._lease_limit_min:
            return Ask(key, limit, window_s)
        return self._leases.ask(policy, now_s)

    def _settle(self, policy: Policy, ask: Ask, now_s: float, grant: Grant) -> None:
        """Remember what the answer means for the next decisions."""
        self._leases.keep(policy, ask, grant)
        if grant.units:
            return
        # From before the call, so that the denial is never remembered for too long.
        denial = (now_s + grant.recheck_in_s, now_s + grant.frees_in_s, grant.frees_at_s)
        with self._lock:
            self._denials[policy] = denial
            if len(self._denials) > self.config.denials_max:
                self._denials.popitem(last=False)

    def _decide_locally(self, policy: Policy, error: Exception) -> Decision:
        key, limit, window_s = policy
        share = max(1, limit // self.config.share_count)
        grant = self._fallback.take(Ask(key, share, window_s))
        with self._lock:
            self._fallback_decisions += 1
        tell(self._listeners, lambda each: each.on_fallback(self.name, error))
        return _decision(grant, policy, "fallback")

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._leases.after_fork()


# A block of quota that a fork has copied would be used twice.
_LIMITERS: "weakref.WeakSet[RateLimiter]" = weakref.WeakSet()


def _after_fork() -> None:
    for limiter in list(_LIMITERS):
        limiter._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _decision(grant: Grant, policy: Policy, source: DecisionSource) -> Decision:
    _, limit, window_s = policy
    return Decision(
        grant.units > 0,
        limit,
        # What is left of a lease is this process's own, and so can still be allowed.
        grant.remaining + max(0, grant.units - 1),
        grant.frees_at_s,
        0.0 if grant.units else grant.frees_in_s,
        window_s,
        source,
    )
