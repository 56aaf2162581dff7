"""Several limiters over one store, in any order of requests, pauses and outages, beside a model.

What is checked after every step: no window holds more than the limit. Below the tier of leases,
every decision is also exactly the model's.
"""

from typing import Any

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from resilience import (
    Ask,
    Decision,
    FakeClock,
    Grant,
    LimiterConfig,
    MemoryStore,
    RateLimiter,
    StoreUnavailable,
)
from resilience._limiter_store import LimiterStore, LimiterWindow
from resilience.redis_store import connect
from tests.resilience.limiter_model import MODELS, ClockedRedisStore, Model

WINDOW_S = 100.0
PROCESSES = 3
KEYS = "ab"
PAUSES_S = st.sampled_from([0.25, 0.5, 1, 1, 2, 3, 40, 98, 99, 100, 101, 102])


class Interrupted:
    """A store that cannot be asked while it is `down`."""

    def __init__(self, inner: LimiterStore) -> None:
        self.inner = inner
        self.down = False

    def take(self, ask: Ask, /) -> Grant:
        if self.down:
            raise StoreUnavailable("interrupted")
        return self.inner.take(ask)


class Machine(RuleBasedStateMachine):
    """Three processes that share a store. Subclasses say which, and whether there are leases."""

    window: LimiterWindow = "sliding"
    has_leases = False
    client: redis.Redis | None = None

    @initialize(limit=st.sampled_from([1, 3, 40, 200]))
    def begin(self, limit: int) -> None:
        self.limit = limit
        self.clock = FakeClock()
        self.store = Interrupted(
            MemoryStore(clock=self.clock, window=self.window)
            if self.client is None
            else ClockedRedisStore(self.client, self.clock, window=self.window)
        )
        config = LimiterConfig(lease_limit_min=1 if self.has_leases else 10_000)
        self.limiters = [
            RateLimiter(self.store, config=config, clock=self.clock) for _ in range(PROCESSES)
        ]
        self.model: Model = MODELS[self.window](limit=limit, window_s=WINDOW_S)
        # What the store, or a lease of it, has admitted: a share without the store is apart.
        self.admitted: dict[str, list[float]] = {key: [] for key in KEYS}
        self.idle_since_s = self.clock.monotonic()

    def decide(self, process: int, key: str) -> Decision:
        return self.limiters[process].decide(key, limit=self.limit, window_s=WINDOW_S)

    @rule(
        process=st.integers(0, PROCESSES - 1),
        key=st.sampled_from(KEYS),
        times=st.sampled_from([1, 2, 5, 30]),
    )
    def ask(self, process: int, key: str, times: int) -> None:
        for _ in range(times):
            decision = self.decide(process, key)
            self.check(key, decision)
            self.idle_since_s = self.clock.monotonic()

    @precondition(lambda self: not self.store.down)
    @rule(key=st.sampled_from(KEYS), others=st.lists(st.integers(0, 2), max_size=8))
    def race(self, key: str, others: list[int]) -> None:
        for process in others:
            self.ask(process, key, 1)

    def check(self, key: str, decision: Decision) -> None:
        now_s = self.clock.monotonic()
        assert (decision.limit, decision.window_s) == (self.limit, WINDOW_S)
        assert 0 <= decision.remaining < self.limit or not decision.allowed
        assert decision.reset_at_s >= self.clock.time()
        assert (decision.retry_after_s > 0) == (not decision.allowed)
        if decision.source == "fallback":
            return
        if decision.allowed:
            self.admitted[key].append(now_s)
        if not self.has_leases:
            expected = self.model.decide(key, now_s)
            assert decision.allowed == expected.allowed
            assert decision.remaining == expected.remaining
            assert decision.retry_after_s == pytest.approx(expected.retry_after_s)

    @rule(seconds=PAUSES_S)
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(process=st.integers(0, PROCESSES - 1), is_ending=st.booleans())
    def give_back(self, process: int, is_ending: bool) -> None:
        self.limiters[process].give_back(is_ending=is_ending)

    @rule(process=st.integers(0, PROCESSES - 1), key=st.sampled_from(KEYS))
    def peek(self, process: int, key: str) -> None:
        decision = self.limiters[process].peek(key, limit=self.limit, window_s=WINDOW_S)
        if decision is not None:
            assert decision.source in {"lease", "denial_cache"}
            self.check(key, decision)

    @rule()
    def lose_the_store(self) -> None:
        self.store.down = True

    @rule()
    def find_the_store(self) -> None:
        self.store.down = False
        # The breakers try it again after a second.
        self.clock.advance(1)

    @precondition(lambda self: not self.store.down)
    @rule(process=st.integers(0, PROCESSES - 1))
    def all_is_back_after_a_pause(self, process: int) -> None:
        self.clock.advance(WINDOW_S + 2)
        decision = self.decide(process, "a")
        assert decision.allowed
        self.check("a", decision)

    @invariant()
    def no_window_holds_more_than_the_limit(self) -> None:
        for key, moments in getattr(self, "admitted", {}).items():
            if self.window == "fixed":
                # Windows begin where the store says; a lease of one is not used in the next.
                began_s, count = float("-inf"), 0
                for at in moments:
                    if at >= began_s + WINDOW_S:
                        began_s, count = at, 0
                    count += 1
                    assert count <= self.limit, key
                continue
            for first in range(len(moments) - self.limit):
                assert moments[first + self.limit] >= moments[first] + WINDOW_S, key


def run(machine: type[Machine], *, examples: int, **attributes: Any) -> None:
    kind = type("Kind", (machine,), attributes)
    run_state_machine_as_test(
        kind, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None)
    )


@pytest.mark.parametrize("window", ["sliding", "fixed"])
@pytest.mark.parametrize("has_leases", [False, True])
def test_limiters_over_one_store_in_memory_keep_to_the_limit(
    window: LimiterWindow, has_leases: bool
) -> None:
    run(Machine, examples=60, window=window, has_leases=has_leases)


@pytest.mark.parametrize("window", ["sliding", "fixed"])
@pytest.mark.parametrize("has_leases", [False, True])
def test_limiters_over_one_server_keep_to_the_limit(
    valkey_url: str, window: LimiterWindow, has_leases: bool
) -> None:
    with connect(valkey_url, timeout_s=30.0) as client:
        run(Machine, examples=15, window=window, has_leases=has_leases, client=client)
