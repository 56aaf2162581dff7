"""The order of a policy, one reason at a time, and what its calls raise."""

import asyncio
import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from resilience import (
    BreakerConfig,
    BreakerOpen,
    BreakerState,
    Bulkhead,
    BulkheadConfig,
    BulkheadFull,
    CircuitBreaker,
    Deadline,
    DeadlineExceeded,
    FakeClock,
    Fallback,
    MemoryStore,
    Policy,
    RateLimit,
    RateLimited,
    RateLimiter,
    RetryConfig,
    RetryWithBackoff,
    current_deadline,
)
from tests.resilience.tools import Recorder

BOUND_S = 30.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class Ledger:
    """Fails as often as told, then answers; counts its calls."""

    def __init__(self, failures: int = 0, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or ConnectionError("down")
        self.calls = 0

    def read(self, account: str = "account-1", *, currency: str = "EUR") -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return f"{account} {currency}"

    async def read_async(self, account: str = "account-1", *, currency: str = "EUR") -> str:
        return self.read(account, currency=currency)


def retry_on(clock: FakeClock, sleep: Callable[[float], object] | None = None) -> RetryWithBackoff:
    """Return a retry for calls that may be repeated."""
    return RetryWithBackoff(
        RetryConfig(jitter_s=0.0),
        clock=clock,
        sleep=sleep or clock.sleep,
        sleep_async=clock.sleep_async,
    ).idempotent


def rate_limit(clock: FakeClock, limit: int) -> RateLimit:
    limiter = RateLimiter(MemoryStore(clock=clock), clock=clock)
    return RateLimit(limiter=limiter, key="ledger", limit=limit, window_s=60.0)


def breaker_on(clock: FakeClock) -> CircuitBreaker:
    return CircuitBreaker("ledger", BreakerConfig(calls_min=4), clock=clock)


def both(policy: Policy, ledger: Ledger) -> list[str]:
    """Return what a thread and a coroutine get."""
    return [
        policy.call(ledger.read, "account-2", currency="SEK"),
        asyncio.run(policy.async_call(ledger.read_async, "account-2", currency="SEK")),
    ]


def full_policy(clock: FakeClock) -> Policy:
    return Policy(
        name="read a balance",
        fallback=Fallback.value("unknown"),
        timeout_s=BOUND_S,
        retry=retry_on(clock),
        breaker=breaker_on(clock),
        rate_limit=rate_limit(clock, 100),
        bulkhead=Bulkhead("ledger"),
    )


def test_a_call_passes_through_all_of_them_with_its_arguments(clock: FakeClock) -> None:
    assert both(full_policy(clock), Ledger()) == ["account-2 SEK"] * 2


def test_every_member_may_be_left_out(clock: FakeClock) -> None:
    assert both(Policy(), Ledger()) == ["account-2 SEK"] * 2
    full = full_policy(clock)
    for name in ("fallback", "timeout_s", "retry", "breaker", "rate_limit", "bulkhead"):
        assert both(Policy(**{name: getattr(full, name)}), Ledger()) == ["account-2 SEK"] * 2
        nothing: dict[str, Any] = {name: None}
        without = dataclasses.replace(full, **nothing)
        assert both(without, Ledger()) == ["account-2 SEK"] * 2


def test_a_policy_does_not_change() -> None:
    policy = Policy()
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.timeout_s = 3.0  # type: ignore[misc]


def test_decorated_functions_and_methods_go_through(clock: FakeClock) -> None:
    policy = Policy(retry=retry_on(clock))

    class Client:
        calls = 0

        @policy
        def read(self, account: str) -> str:
            """Read a balance."""
            self.calls += 1
            if self.calls == 1:
                raise ConnectionError("down")
            return account

        @policy
        async def read_async(self, account: str) -> str:
            return account

    client = Client()
    assert client.read("account-1") == "account-1"
    assert client.calls == 2
    assert Client.read.__doc__ == "Read a balance."
    assert inspect.iscoroutinefunction(Client.read_async)
    assert asyncio.run(client.read_async("account-1")) == "account-1"


# The order


def test_the_fallback_answers_what_the_others_refuse(clock: FakeClock) -> None:
    full = full_policy(clock)
    assert full.breaker is not None
    full.breaker.force_open()
    assert both(full, Ledger()) == ["unknown"] * 2


def test_the_fallback_gets_the_error_and_the_arguments_of_the_call_alone(
    clock: FakeClock,
) -> None:
    seen: list[tuple[tuple[object, ...], dict[str, object]]] = []
    ledger = Ledger(failures=99)

    def cached(*args: object, **kwargs: object) -> str:
        seen.append((args, kwargs))
        return "cached"

    policy = dataclasses.replace(full_policy(clock), fallback=Fallback(cached))
    assert both(policy, ledger) == ["cached"] * 2
    assert policy(ledger.read)("account-2", currency="SEK") == "cached"
    assert seen[0] == ((ledger.error, "account-2"), {"currency": "SEK"})
    assert len(seen) == 3
    for args, kwargs in seen:
        assert (args[1:], kwargs) == (("account-2",), {"currency": "SEK"})


def test_the_fallback_answers_only_after_the_last_attempt(clock: FakeClock) -> None:
    ledger = Ledger(failures=99)
    policy = Policy(fallback=Fallback.value("unknown"), retry=retry_on(clock))
    assert policy.call(ledger.read) == "unknown"
    assert ledger.calls == 4


def test_the_deadline_bounds_all_attempts_together(clock: FakeClock) -> None:
    ledger = Ledger(failures=99)
    policy = Policy(timeout_s=2.0, retry=retry_on(clock), clock=clock)
    before_s = clock.monotonic()
    with pytest.raises(ConnectionError):
        policy.call(ledger.read)
    assert ledger.calls == 2
    assert clock.monotonic() - before_s == 1.0


def test_the_deadline_bounds_the_wait_for_a_slot() -> None:
    bulkhead = Bulkhead("ledger", BulkheadConfig(size=1))
    policy = Policy(timeout_s=0.01, bulkhead=bulkhead)
    with bulkhead.slot():
        with pytest.raises(BulkheadFull):
            policy.call(Ledger().read)
        with pytest.raises(BulkheadFull):
            asyncio.run(policy.async_call(Ledger().read_async))


def test_the_call_sees_the_deadline_and_an_earlier_one_holds(clock: FakeClock) -> None:
    policy = Policy(name="read a balance", timeout_s=5.0, clock=clock)

    async def current() -> Deadline | None:
        return current_deadline()

    for deadline in (policy.call(current_deadline), asyncio.run(policy.async_call(current))):
        assert deadline is not None
        assert (deadline.name, deadline.remaining_s()) == ("read a balance", 5.0)
    with Deadline.after(1.0, clock=clock).scope() as earlier:
        assert policy.call(current_deadline) is earlier
    assert current_deadline() is None


def test_each_attempt_counts_for_the_breaker_and_the_limit(clock: FakeClock) -> None:
    breaker, limit = breaker_on(clock), rate_limit(clock, 10)
    policy = Policy(retry=retry_on(clock), breaker=breaker, rate_limit=limit)
    assert policy.call(Ledger(failures=2).read) == "account-1 EUR"
    assert breaker.snapshot().calls == 3
    assert limit.limiter.decide("ledger", limit=10, window_s=60.0).remaining == 6


def test_a_breaker_that_opens_ends_the_retries(clock: FakeClock) -> None:
    ledger = Ledger(failures=99)
    breaker = CircuitBreaker("ledger", BreakerConfig(calls_min=2), clock=clock)
    policy = Policy(retry=retry_on(clock), breaker=breaker)
    with pytest.raises(BreakerOpen):
        policy.call(ledger.read)
    assert ledger.calls == 2


def test_a_delay_holds_no_slot(clock: FakeClock) -> None:
    bulkhead = Bulkhead("ledger")
    active: list[int] = []

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        active.append(bulkhead.snapshot().active)

    policy = Policy(retry=retry_on(clock, sleep), bulkhead=bulkhead)
    assert policy.call(Ledger(failures=2).read) == "account-1 EUR"
    assert active == [0, 0]


def test_an_open_breaker_uses_up_nothing_of_the_limit(clock: FakeClock) -> None:
    breaker, limit = breaker_on(clock), rate_limit(clock, 2)
    policy = Policy(breaker=breaker, rate_limit=limit)
    breaker.force_open()
    for _ in range(5):
        with pytest.raises(BreakerOpen):
            policy.call(Ledger().read)
    breaker.reset()
    assert both(policy, Ledger()) == ["account-2 SEK"] * 2


def test_who_is_over_the_limit_takes_no_place_in_the_queue(clock: FakeClock) -> None:
    recorder = Recorder()
    bulkhead = Bulkhead("ledger", BulkheadConfig(size=1), listeners=[recorder])
    policy = Policy(
        name="mail",
        rate_limit=rate_limit(clock, 1),
        bulkhead=bulkhead,
        listeners=[recorder],
    )
    policy.call(Ledger().read)
    with bulkhead.slot():
        with pytest.raises(RateLimited) as refusal:
            policy.call(Ledger().read)
        with pytest.raises(RateLimited):
            asyncio.run(policy.async_call(Ledger().read_async))
    assert (refusal.value.name, refusal.value.retry_after_s) == ("mail", 60.0)
    assert recorder.rejections == [("mail", "rate_limited")] * 2


@pytest.mark.parametrize("refuses", ["rate_limit", "bulkhead"])
def test_a_refusal_further_in_says_nothing_about_the_service(
    clock: FakeClock, refuses: str
) -> None:
    breaker = breaker_on(clock)
    bulkhead = Bulkhead("ledger", BulkheadConfig(size=1, queue_max=0))
    limit = rate_limit(clock, 1)
    policies = {
        "rate_limit": Policy(breaker=breaker, rate_limit=limit),
        "bulkhead": Policy(breaker=breaker, bulkhead=bulkhead),
    }
    limit.limiter.decide("ledger", limit=1, window_s=60.0)
    with bulkhead.slot():
        for _ in range(9):
            with pytest.raises((RateLimited, BulkheadFull)):
                policies[refuses].call(Ledger().read)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.snapshot().calls == 0


# Time-outs


def test_a_call_is_not_begun_after_the_deadline(clock: FakeClock) -> None:
    ledger = Ledger()
    policy = Policy(name="read a balance", timeout_s=BOUND_S, clock=clock)
    with Deadline.after(0.0, name="the request", clock=clock).scope():
        with pytest.raises(DeadlineExceeded, match="the request"):
            policy.call(ledger.read)
        with pytest.raises(DeadlineExceeded, match="the request"):
            asyncio.run(policy.async_call(ledger.read_async))
    assert ledger.calls == 0


def test_a_coroutine_is_cut_off_at_the_deadline_and_the_breaker_learns_of_it() -> None:
    breaker = CircuitBreaker("ledger", BreakerConfig(calls_min=1))
    policy = Policy(name="read a balance", timeout_s=0.01, breaker=breaker)

    async def hang() -> None:
        await asyncio.Event().wait()

    with pytest.raises(DeadlineExceeded, match="read a balance") as raised:
        asyncio.run(policy.async_call(hang))
    assert isinstance(raised.value.__cause__, TimeoutError)
    assert breaker.state is BreakerState.OPEN


def test_a_time_out_of_the_call_itself_is_its_own_error(clock: FakeClock) -> None:
    error = TimeoutError("the database took too long")
    policy = Policy(timeout_s=BOUND_S)
    with pytest.raises(TimeoutError) as raised:
        asyncio.run(policy.async_call(Ledger(failures=1, error=error).read_async))
    assert raised.value is error


def test_an_answer_of_a_thread_that_comes_late_is_returned(clock: FakeClock) -> None:
    policy = Policy(timeout_s=5.0, clock=clock)

    def slow() -> str:
        clock.advance(60)
        return "late"

    assert policy.call(slow) == "late"


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda _clock: Policy(timeout_s=0.0), "timeout_s=0"),
        (lambda clock: rate_limit(clock, 0), "limit=0"),
        (lambda clock: dataclasses.replace(rate_limit(clock, 1), window_s=0.0), "window_s=0"),
    ],
)
def test_a_value_that_will_not_do_is_refused(
    clock: FakeClock, make: Callable[[FakeClock], object], name: str
) -> None:
    with pytest.raises(ValueError, match=name):
        make(clock)
