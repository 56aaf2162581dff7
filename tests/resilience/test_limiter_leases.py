"""Leases: how many questions a large limit costs, what comes back, and what the answers say."""

import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from resilience import Ask, Decision, FakeClock, Grant, LimiterConfig, MemoryStore, RateLimiter
from resilience.errors import StoreUnavailable

WINDOW_S = 900.0
LIMIT = 10_000


class CountedStore:
    """A store that keeps the questions, and cannot be asked while it is `down`."""

    def __init__(self, clock: FakeClock) -> None:
        self.inner = MemoryStore(clock=clock)
        self.asks: list[Ask] = []
        self.down = False

    def take(self, ask: Ask, /) -> Grant:
        self.asks.append(ask)
        if self.down:
            raise StoreUnavailable("counted")
        return self.inner.take(ask)

    @property
    def left(self) -> int:
        """How much of the quota of "user" is neither used nor leased."""
        return self.inner.take(Ask("user", LIMIT, WINDOW_S, 0)).remaining


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> CountedStore:
    return CountedStore(clock)


@pytest.fixture
def limiter(clock: FakeClock, store: CountedStore) -> RateLimiter:
    return RateLimiter(store, clock=clock)


def ask(limiter: RateLimiter, times: int, *, limit: int = LIMIT) -> list[Decision]:
    return [limiter.decide("user", limit=limit, window_s=WINDOW_S) for _ in range(times)]


def at_rate(
    limiter: RateLimiter, clock: FakeClock, per_second: int, *, seconds: float = 1.0
) -> list[Decision]:
    decisions = []
    for _ in range(round(per_second * seconds)):
        clock.advance(1 / per_second)
        decisions += ask(limiter, 1)
    return decisions


def test_a_busy_client_costs_few_questions(limiter: RateLimiter, store: CountedStore) -> None:
    decisions = ask(limiter, 8000)
    assert all(decision.allowed for decision in decisions)
    assert len(store.asks) < 40
    assert {decision.source for decision in decisions} == {"store", "lease"}


def test_below_the_tier_of_leases_every_allowed_request_is_a_question(
    limiter: RateLimiter, store: CountedStore
) -> None:
    ask(limiter, 999, limit=999)
    assert store.asks == [Ask("user", 999, WINDOW_S)] * 999


def test_a_slow_client_leases_nothing(
    limiter: RateLimiter, clock: FakeClock, store: CountedStore
) -> None:
    for _ in range(20):
        clock.advance(1.3)
        assert ask(limiter, 1)[0].source == "store"
    assert [each.units for each in store.asks] == [1] * 20


def test_a_block_is_for_about_the_rate_and_at_most_a_twentieth_of_the_limit(
    limiter: RateLimiter, clock: FakeClock, store: CountedStore
) -> None:
    at_rate(limiter, clock, 100, seconds=5)
    assert [each.units for each in store.asks[:3]] == [1, 8, 64]
    assert all(100 <= each.units <= 160 for each in store.asks[4:])
    ask(limiter, 3000)
    assert max(each.units for each in store.asks) == LIMIT // 20


def test_all_of_the_limit_is_admitted_and_not_one_more(
    limiter: RateLimiter, clock: FakeClock, store: CountedStore
) -> None:
    decisions = ask(limiter, LIMIT + 50)
    assert sum(decision.allowed for decision in decisions) == LIMIT
    assert [decision.remaining for decision in decisions[:LIMIT]] == list(range(LIMIT))[::-1]
    assert {decision.source for decision in decisions[LIMIT + 1 :]} == {"denial_cache"}


def test_the_answers_from_a_lease_are_like_those_of_the_store(
    limiter: RateLimiter, clock: FakeClock
) -> None:
    first = ask(limiter, 1)[0]
    assert first.reset_at_s == clock.time() + WINDOW_S
    ask(limiter, 1)
    leased = ask(limiter, 1)[0]
    assert leased == (True, LIMIT, LIMIT - 3, first.reset_at_s, 0.0, WINDOW_S, "lease")


def test_an_answer_does_not_promise_a_moment_that_has_passed(
    limiter: RateLimiter, clock: FakeClock
) -> None:
    ask(limiter, 1)
    clock.advance(WINDOW_S - 0.5)
    at_rate(limiter, clock, 100, seconds=0.3)
    clock.advance(0.4)
    decision = ask(limiter, 1)[0]
    assert decision.source == "lease"
    assert decision.reset_at_s == pytest.approx(clock.time(), abs=0.001)


def test_a_lease_ends_after_a_second_and_its_rest_goes_back_with_the_next_question(
    limiter: RateLimiter, clock: FakeClock, store: CountedStore
) -> None:
    ask(limiter, 20)
    assert store.left == LIMIT - 73
    clock.advance(0.999)
    assert ask(limiter, 1)[0].source == "lease"
    clock.advance(0.001)
    decision = ask(limiter, 1)[0]
    assert (decision.source, decision.remaining) == ("store", LIMIT - 22)
    assert store.asks[-1].rest is not None
    assert store.asks[-1].rest.units == 73 - 21


def test_a_lease_is_never_longer_than_a_twentieth_of_the_window(
    clock: FakeClock, store: CountedStore
) -> None:
    limiter = RateLimiter(store, clock=clock, config=LimiterConfig(lease_s=60.0))
    for _ in range(3):
        limiter.decide("user", limit=LIMIT, window_s=10)
    assert store.asks[1].lease_s == 0.5
    clock.advance(0.5)
    assert limiter.peek("user", limit=LIMIT, window_s=10) is None


def test_what_an_idle_client_leaves_goes_back_as_others_ask(
    limiter: RateLimiter, clock: FakeClock, store: CountedStore
) -> None:
    ask(limiter, 20)
    assert limiter.snapshot().leases_held == 1
    clock.advance(2)
    limiter.decide("other", limit=5, window_s=WINDOW_S)
    assert store.left == LIMIT - 20
    assert limiter.snapshot().leases_held == 0


def test_a_process_that_ends_gives_everything_back(
    limiter: RateLimiter, clock: FakeClock, store: CountedStore
) -> None:
    ask(limiter, 20)
    assert limiter.give_back() == 0
    assert limiter.give_back(is_ending=True) == 1
    assert store.left == LIMIT - 20
    assert limiter.peek("user", limit=LIMIT, window_s=WINDOW_S) is None


def test_giving_back_is_bounded_and_ends_where_the_store_is_away(
    limiter: RateLimiter, clock: FakeClock, store: CountedStore
) -> None:
    for number in range(6):
        for _ in range(3):
            limiter.decide(f"user-{number}", limit=LIMIT, window_s=WINDOW_S)
    assert limiter.give_back(calls_max=2, is_ending=True) == 2
    assert limiter.snapshot().leases_held == 4
    store.down = True
    assert limiter.give_back(is_ending=True) == 0
    assert limiter.snapshot().leases_held == 3


def test_a_peek_uses_a_lease_and_counts_it_but_asks_nothing(
    limiter: RateLimiter, store: CountedStore
) -> None:
    def peek(key: str = "user") -> Decision | None:
        return limiter.peek(key, limit=LIMIT, window_s=WINDOW_S)

    assert peek() is None
    assert store.asks == []
    ask(limiter, 2)
    peeked = [peek() for _ in range(10)]
    assert [decision.remaining for decision in peeked if decision] == [
        LIMIT - 3 - number for number in range(7)
    ]
    assert peek("somebody else") is None
    assert len(store.asks) == 2


def test_a_lease_outlives_its_store_and_then_there_are_shares(
    clock: FakeClock, store: CountedStore
) -> None:
    limiter = RateLimiter(store, clock=clock, config=LimiterConfig(share_count=2))
    ask(limiter, 10)
    store.down = True
    decisions = ask(limiter, 6000)
    assert [decision.source for decision in decisions].count("lease") == 63
    assert sum(decision.allowed for decision in decisions) == 63 + LIMIT // 2
    store.down = False
    clock.advance(2)
    decision = ask(limiter, 1)[0]
    assert (decision.source, decision.remaining) == ("store", LIMIT - 74)


def test_who_is_refused_beside_a_lease_is_asked_about_again_when_its_rest_may_be_back(
    clock: FakeClock, store: CountedStore
) -> None:
    one, other = (RateLimiter(store, clock=clock) for _ in range(2))
    ask(one, 20)
    refused = ask(other, LIMIT)[-1]
    assert (refused.allowed, refused.retry_after_s) == (False, WINDOW_S)
    asked = len(store.asks)
    clock.advance(1.999)
    assert ask(other, 1)[0].source == "denial_cache"
    one.give_back(is_ending=True)
    clock.advance(0.001)
    assert ask(other, 1)[0].source == "store"
    # Nobody holds a lease any more: from now on the refusal is final.
    assert sum(decision.allowed for decision in ask(other, 100)) == 52
    asked = len(store.asks)
    clock.advance(10)
    ask(other, 100)
    assert len(store.asks) == asked


def test_the_number_of_clients_with_leases_is_bounded(
    clock: FakeClock, store: CountedStore
) -> None:
    limiter = RateLimiter(store, clock=clock, config=LimiterConfig(leases_max=10))
    for number in range(50):
        for _ in range(3):
            limiter.decide(f"user-{number}", limit=LIMIT, window_s=WINDOW_S)
    assert limiter.snapshot().leases_held <= 10


def test_threads_use_each_unit_of_a_lease_once(clock: FakeClock) -> None:
    limiter = RateLimiter(MemoryStore(clock=clock), clock=clock)
    start = threading.Barrier(8)

    def work() -> int:
        start.wait(30)
        return sum(decision.allowed for decision in ask(limiter, 400, limit=2000))

    with ThreadPoolExecutor(8) as pool:
        admitted = sum(call.result(60) for call in [pool.submit(work) for _ in range(8)])
    assert admitted == 2000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_does_not_use_the_lease_of_its_parent(limiter: RateLimiter) -> None:
    ask(limiter, 3)
    with warnings.catch_warnings():
        # Python warns of forks beside threads; the child here does next to nothing.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        peeked = limiter.peek("user", limit=LIMIT, window_s=WINDOW_S)
        os._exit(0 if peeked is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert limiter.peek("user", limit=LIMIT, window_s=WINDOW_S) is not None


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"lease_limit_min": 0}, "lease_limit_min=0"),
        ({"leases_max": 0}, "leases_max=0"),
        ({"lease_s": 0.0}, "lease_s=0.0"),
    ],
)
def test_a_setting_that_will_not_do_is_refused_by_name(given: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        LimiterConfig(**given)
