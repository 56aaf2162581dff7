"""What the rate limiter decides, on the store inside the process."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience import (
    Ask,
    BreakerOpen,
    BreakerState,
    Decision,
    FakeClock,
    Grant,
    LimiterConfig,
    MemoryStore,
    RateLimiter,
    StoreUnavailable,
)
from tests.resilience.limiter_model import Model, Step, steps
from tests.resilience.tools import Recorder

WINDOW_S = 900.0


class CountedStore:
    """A store that counts the questions, and cannot be asked while it is `down`."""

    def __init__(self, clock: FakeClock) -> None:
        self.inner = MemoryStore(clock=clock)
        self.asked = 0
        self.down = False

    def take(self, ask: Ask, /) -> Grant:
        self.asked += 1
        if self.down:
            raise StoreUnavailable("counted")
        return self.inner.take(ask)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> CountedStore:
    return CountedStore(clock)


@pytest.fixture
def limiter(clock: FakeClock, store: CountedStore) -> RateLimiter:
    return RateLimiter(store, clock=clock)


def ask(limiter: RateLimiter, times: int, *, key: str = "user-1", limit: int = 5) -> list[Decision]:
    return [limiter.decide(key, limit=limit, window_s=WINDOW_S) for _ in range(times)]


def allowed(decisions: Sequence[Decision]) -> int:
    return sum(decision.allowed for decision in decisions)


@given(history=steps(max_size=80), limit=st.integers(min_value=1, max_value=5))
def test_every_decision_is_that_of_a_naive_log(history: list[Step], limit: int) -> None:
    clock = FakeClock()
    limiter = RateLimiter(MemoryStore(clock=clock), clock=clock)
    model = Model(limit=limit, window_s=100)
    for step in history:
        clock.advance(step.after_s)
        decision = limiter.decide(step.key, limit=limit, window_s=100)
        expected = model.decide(step.key, clock.monotonic())
        assert decision.allowed == expected.allowed
        assert decision.remaining == expected.remaining
        assert decision.retry_after_s == pytest.approx(expected.retry_after_s)
        assert decision.reset_at_s == pytest.approx(clock.time() + expected.frees_in_s)
        assert (decision.limit, decision.window_s) == (limit, 100)


def test_the_answers_count_down_and_then_say_when_to_come_back(
    limiter: RateLimiter, clock: FakeClock
) -> None:
    began_s = clock.time()
    decisions = ask(limiter, 3, limit=2)
    assert [decision.remaining for decision in decisions] == [1, 0, 0]
    assert [decision.allowed for decision in decisions] == [True, True, False]
    assert [decision.reset_at_s for decision in decisions] == [began_s + 900] * 3
    assert [decision.retry_after_s for decision in decisions] == [0, 0, 900]


def test_a_client_that_waits_for_the_reset_is_allowed(
    limiter: RateLimiter, clock: FakeClock
) -> None:
    ask(limiter, 5)
    denied = ask(limiter, 1)[0]
    clock.advance(denied.reset_at_s - clock.time() - 0.001)
    assert allowed(ask(limiter, 1)) == 0
    clock.advance(0.001)
    assert allowed(ask(limiter, 1)) == 1


def test_no_window_holds_more_than_the_limit_also_across_a_boundary(
    limiter: RateLimiter, clock: FakeClock
) -> None:
    clock.advance(899)
    assert allowed(ask(limiter, 10)) == 5
    clock.advance(2)
    assert allowed(ask(limiter, 10)) == 0


def test_rejected_requests_do_not_prolong_the_denial(
    limiter: RateLimiter, clock: FakeClock
) -> None:
    ask(limiter, 5)
    for _ in range(899):
        clock.advance(1)
        assert allowed(ask(limiter, 1)) == 0
    clock.advance(1)
    assert allowed(ask(limiter, 5)) == 5


def test_a_denied_client_is_not_asked_about_until_it_may_come_back(
    limiter: RateLimiter, clock: FakeClock, store: CountedStore
) -> None:
    ask(limiter, 6)
    assert store.asked == 6
    denied = ask(limiter, 1000)
    assert allowed(denied) == 0
    assert {decision.source for decision in denied} == {"denial_cache"}
    assert store.asked == 6
    clock.advance(900)
    assert ask(limiter, 1)[0].source == "store"
    assert store.asked == 7


def test_the_advice_of_a_remembered_denial_runs_down(
    limiter: RateLimiter, clock: FakeClock
) -> None:
    first = ask(limiter, 6)[-1]
    clock.advance(400)
    later = ask(limiter, 1)[0]
    assert (first.retry_after_s, later.retry_after_s) == (900, 500)
    assert later.reset_at_s == first.reset_at_s


def test_a_raised_limit_ends_a_denial(limiter: RateLimiter) -> None:
    assert allowed(ask(limiter, 6, limit=5)) == 5
    assert allowed(ask(limiter, 6, limit=8)) == 3


def test_a_lowered_limit_waits_until_enough_have_left(
    limiter: RateLimiter, clock: FakeClock
) -> None:
    for _ in range(5):
        ask(limiter, 1)
        clock.advance(10)
    denied = ask(limiter, 1, limit=2)[0]
    # Of the five, four must leave: the fourth came 20 s ago.
    assert (denied.allowed, denied.remaining, denied.retry_after_s) == (False, 0, 880)
    clock.advance(880)
    assert allowed(ask(limiter, 2, limit=2)) == 1


def test_the_number_of_remembered_denials_is_bounded(clock: FakeClock, store: CountedStore) -> None:
    limiter = RateLimiter(store, config=LimiterConfig(denials_max=10), clock=clock)
    for number in range(50):
        ask(limiter, 2, key=f"user-{number}", limit=1)
    assert limiter.snapshot().denials_cached == 10
    # One that was forgotten is still denied, by the store.
    assert ask(limiter, 1, key="user-0", limit=1)[0][:1] == (False,)


def test_the_number_of_keys_in_memory_is_bounded_and_the_idlest_goes(clock: FakeClock) -> None:
    store = MemoryStore(clock=clock, keys_max=2)
    admitted = [store.take(Ask(key, 1, 60)).units for key in "abacab"]
    assert admitted == [1, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(("limit", "window_s"), [(0, 900.0), (5, 0.0), (5, float("nan"))])
def test_a_limit_that_makes_no_sense_is_refused(
    limiter: RateLimiter, limit: int, window_s: float
) -> None:
    with pytest.raises(ValueError, match="will not do"):
        limiter.decide("user-1", limit=limit, window_s=window_s)


def test_threads_are_admitted_exactly_to_the_limit(clock: FakeClock) -> None:
    limiter = RateLimiter(MemoryStore(clock=clock), clock=clock)
    start = threading.Barrier(16)

    def work() -> int:
        start.wait(30)
        return allowed(ask(limiter, 20, limit=100))

    with ThreadPoolExecutor(16) as pool:
        admitted = [call.result(60) for call in [pool.submit(work) for _ in range(16)]]
    assert sum(admitted) == 100


# Without the store


def test_without_the_store_each_process_allows_its_share(
    clock: FakeClock, store: CountedStore
) -> None:
    recorder = Recorder()
    limiter = RateLimiter(
        store, config=LimiterConfig(share_count=4), clock=clock, listeners=[recorder]
    )
    store.down = True
    decisions = ask(limiter, 50, limit=100)
    assert allowed(decisions) == 25
    assert {decision.source for decision in decisions} == {"fallback"}
    assert {decision.limit for decision in decisions} == {100}
    assert decisions[-1].retry_after_s == 900
    assert limiter.snapshot().fallback_decisions == 50
    assert len(recorder.fallbacks) == 50


def test_a_share_is_at_least_one(clock: FakeClock, store: CountedStore) -> None:
    limiter = RateLimiter(store, config=LimiterConfig(share_count=4), clock=clock)
    store.down = True
    assert allowed(ask(limiter, 5, limit=2)) == 1


def test_a_dead_store_is_not_asked_for_every_request(clock: FakeClock, store: CountedStore) -> None:
    recorder = Recorder()
    limiter = RateLimiter(store, clock=clock, listeners=[recorder])
    store.down = True
    ask(limiter, 100, limit=900)
    assert store.asked == 3
    assert limiter.snapshot().store.state is BreakerState.OPEN
    kinds = [type(error) for _, error in recorder.fallbacks]
    assert kinds == [StoreUnavailable] * 3 + [BreakerOpen] * 97
    clock.advance(1)
    ask(limiter, 100, limit=900)
    assert store.asked == 4


def test_a_store_that_dies_under_load_is_given_up_within_two_seconds(
    clock: FakeClock, store: CountedStore
) -> None:
    exact = LimiterConfig(lease_limit_min=10_000_000)
    limiter = RateLimiter(store, config=exact, clock=clock)
    for _ in range(2000):
        clock.advance(0.001)
        ask(limiter, 1, limit=1_000_000)
    store.down = True
    died_s = clock.monotonic()
    while limiter.snapshot().store.state is BreakerState.CLOSED:
        clock.advance(0.25)
        ask(limiter, 1, limit=1_000_000)
    assert clock.monotonic() - died_s <= 2.0


def test_when_the_store_comes_back_it_decides_again(clock: FakeClock, store: CountedStore) -> None:
    limiter = RateLimiter(store, clock=clock)
    ask(limiter, 2)
    store.down = True
    ask(limiter, 10)
    store.down = False
    clock.advance(1)
    decisions = ask(limiter, 10)
    # Two had been counted before the outage; a local denial is not remembered.
    assert allowed(decisions) == 3
    assert decisions[0].source == "store"
    assert limiter.snapshot().store.state is BreakerState.CLOSED


def test_a_fault_of_the_store_itself_is_not_hidden(clock: FakeClock) -> None:
    class Faulty:
        def take(self, ask: Ask, /) -> Grant:
            raise TypeError(f"{ask}")

    with pytest.raises(TypeError):
        ask(RateLimiter(Faulty(), clock=clock), 1)
