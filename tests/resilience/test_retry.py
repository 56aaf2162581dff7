"""When a call is made again, after how long, and when no more."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience import (
    BreakerOpen,
    BulkheadFull,
    Deadline,
    DeadlineExceeded,
    FakeClock,
    RateLimited,
    RetryConfig,
    RetryWithBackoff,
)
from tests.resilience.tools import Recorder


class Service:
    """Fails as often as told, then answers; counts its calls."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def ask(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"

    async def ask_async(self) -> str:
        return self.ask()


def down(times: int) -> Service:
    return Service(*(ConnectionError("down") for _ in range(times)))


def plain_retry(
    clock: FakeClock,
    config: RetryConfig | None = None,
    *,
    random: Callable[[], float] = lambda: 0.5,
    recorder: Recorder | None = None,
) -> RetryWithBackoff:
    return RetryWithBackoff(
        config or RetryConfig(),
        clock=clock,
        sleep=clock.sleep,
        sleep_async=clock.sleep_async,
        random=random,
        listeners=[recorder] if recorder else [],
    )


def retry_with(
    clock: FakeClock,
    config: RetryConfig | None = None,
    *,
    random: Callable[[], float] = lambda: 0.5,
    recorder: Recorder | None = None,
) -> RetryWithBackoff:
    """Return a retry for calls that may be repeated."""
    return plain_retry(clock, config, random=random, recorder=recorder).idempotent


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_the_delays_double_from_a_second_up_to_the_cap_with_jitter(clock: FakeClock) -> None:
    retry = retry_with(clock, random=lambda: 0.5)
    delays = [retry.delay_s(attempt) for attempt in range(7)]
    assert delays == pytest.approx([1.05, 2.05, 4.05, 8.05, 16.05, 30.0, 30.0])


@given(
    attempt=st.integers(min_value=0, max_value=10**9),
    base_s=st.floats(min_value=0, max_value=100),
    cap_s=st.floats(min_value=0.001, max_value=1000),
    jitter_s=st.floats(min_value=0, max_value=10),
    chance=st.floats(min_value=0, max_value=1, exclude_max=True),
)
def test_every_delay_follows_the_formula(
    attempt: int, base_s: float, cap_s: float, jitter_s: float, chance: float
) -> None:
    config = RetryConfig(base_s=base_s, cap_s=cap_s, jitter_s=jitter_s)
    delay_s = RetryWithBackoff(config, random=lambda: chance).delay_s(attempt)
    assert 0 <= delay_s <= cap_s
    if attempt <= 20:
        assert delay_s == min(base_s * 2**attempt + chance * jitter_s, cap_s)


def test_a_negative_attempt_is_refused(clock: FakeClock) -> None:
    with pytest.raises(ValueError, match="number 0"):
        retry_with(clock).delay_s(-1)


def test_a_call_that_works_is_made_once_without_waiting(clock: FakeClock) -> None:
    before_s = clock.monotonic()
    service = down(0)
    assert retry_with(clock).call(service.ask) == "answer"
    assert service.calls == 1
    assert clock.monotonic() == before_s


def test_three_retries_are_made_and_then_the_error_is_raised(clock: FakeClock) -> None:
    recorder = Recorder()
    before_s = clock.monotonic()
    service = down(99)
    with pytest.raises(ConnectionError, match="down"):
        retry_with(clock, recorder=recorder).call(service.ask)
    assert service.calls == 4
    assert clock.monotonic() - before_s == pytest.approx(1.05 + 2.05 + 4.05)
    assert [attempt for _, attempt, _, _ in recorder.retries] == [0, 1, 2]
    assert [reason for _, reason, _ in recorder.given_up] == ["retries_max"]


def test_the_answer_of_a_retry_is_returned(clock: FakeClock) -> None:
    service = down(2)
    assert retry_with(clock).call(service.ask) == "answer"
    assert service.calls == 3


def test_coroutines_are_retried_in_the_same_way(clock: FakeClock) -> None:
    before_s = clock.monotonic()
    service = down(2)
    assert asyncio.run(retry_with(clock).async_call(service.ask_async)) == "answer"
    assert service.calls == 3
    assert clock.monotonic() - before_s == pytest.approx(1.05 + 2.05)
    with pytest.raises(ConnectionError, match="down"):
        asyncio.run(retry_with(clock).async_call(down(99).ask_async))


def test_decorated_functions_are_retried(clock: FakeClock) -> None:
    retry = retry_with(clock)
    service, service_async = down(1), down(1)
    assert retry(service.ask)() == "answer"
    assert asyncio.run(retry(service_async.ask_async)()) == "answer"
    assert (service.calls, service_async.calls) == (2, 2)


def test_an_error_that_will_not_pass_is_raised_at_once(clock: FakeClock) -> None:
    service = Service(ValueError("wrong account"))
    with pytest.raises(ValueError, match="wrong account"):
        retry_with(clock).call(service.ask)
    assert service.calls == 1


def test_what_is_retryable_can_be_said(clock: FakeClock) -> None:
    config = RetryConfig(is_retryable=lambda error: isinstance(error, LookupError))
    service = Service(LookupError("not yet there"))
    assert retry_with(clock, config).call(service.ask) == "answer"


def test_a_retry_waits_as_long_as_the_error_asks(clock: FakeClock) -> None:
    config = RetryConfig(is_retryable=lambda error: isinstance(error, BulkheadFull))
    before_s = clock.monotonic()
    service = Service(BulkheadFull("ledger", 12.0))
    assert retry_with(clock, config).call(service.ask) == "answer"
    assert clock.monotonic() - before_s == pytest.approx(12.0)


def test_an_error_that_asks_for_more_than_the_cap_is_not_retried(clock: FakeClock) -> None:
    recorder = Recorder()
    config = RetryConfig(is_retryable=lambda error: isinstance(error, BulkheadFull))
    service = Service(BulkheadFull("ledger", 31.0))
    with pytest.raises(BulkheadFull):
        retry_with(clock, config, recorder=recorder).call(service.ask)
    assert service.calls == 1
    assert [reason for _, reason, _ in recorder.given_up] == ["retry_after"]


def test_no_retry_is_begun_that_could_only_begin_after_the_deadline(clock: FakeClock) -> None:
    recorder = Recorder()
    service = down(99)
    before_s = clock.monotonic()
    with (
        Deadline.after(2.0, clock=clock).scope(),
        pytest.raises(ConnectionError, match="down"),
    ):
        retry_with(clock, recorder=recorder).call(service.ask)
    assert service.calls == 2
    assert clock.monotonic() - before_s == pytest.approx(1.05)
    assert [reason for _, reason, _ in recorder.given_up] == ["deadline"]


def test_a_retry_that_would_begin_just_at_the_deadline_is_not_made(clock: FakeClock) -> None:
    service = down(99)
    retry = retry_with(clock, RetryConfig(jitter_s=0.0))
    with Deadline.after(1.0, clock=clock).scope(), pytest.raises(ConnectionError):
        retry.call(service.ask)
    assert service.calls == 1


def test_an_error_may_ask_for_as_much_as_the_cap(clock: FakeClock) -> None:
    config = RetryConfig(is_retryable=lambda error: isinstance(error, BulkheadFull))
    service = Service(BulkheadFull("ledger", 30.0))
    assert retry_with(clock, config).call(service.ask) == "answer"


def test_without_retries_a_call_is_made_once(clock: FakeClock) -> None:
    service = down(1)
    with pytest.raises(ConnectionError):
        retry_with(clock, RetryConfig(retries_max=0)).call(service.ask)
    assert service.calls == 1


def test_listeners_hear_who_retries_what_and_when(clock: FakeClock) -> None:
    recorder = Recorder()
    error = ConnectionError("down")
    retry = RetryWithBackoff(
        RetryConfig(jitter_s=0.0, retries_max=1),
        name="ledger",
        clock=clock,
        sleep=clock.sleep,
        listeners=[recorder],
    )
    with pytest.raises(ConnectionError):
        retry.idempotent.call(Service(error, error).ask)
    assert recorder.retries == [("ledger", 0, 1.0, error)]
    assert recorder.given_up == [("ledger", "retries_max", error)]


def test_in_an_outage_retries_add_a_fifth_of_the_calls(clock: FakeClock) -> None:
    recorder = Recorder()
    config = RetryConfig(base_s=0.0, jitter_s=0.0, budget_refill_per_s=0.0)
    retry = retry_with(clock, config, recorder=recorder)
    service = down(10_000)
    for _ in range(1000):
        with pytest.raises(ConnectionError):
            retry.call(service.ask)
    # The reserve of 10 and a fifth of 1000.
    assert 1000 + 200 <= service.calls <= 1000 + 210
    assert "budget" in {reason for _, reason, _ in recorder.given_up}


def test_calls_that_work_fill_the_budget_only_up_to_its_reserve(clock: FakeClock) -> None:
    config = RetryConfig(base_s=0.0, jitter_s=0.0, budget_refill_per_s=0.0, retries_max=50)
    retry = retry_with(clock, config)
    for _ in range(1000):
        retry.call(down(0).ask)
    service = down(10_000)
    with pytest.raises(ConnectionError):
        retry.call(service.ask)
    assert service.calls == 1 + 10


def test_time_fills_the_budget_for_those_who_call_rarely(clock: FakeClock) -> None:
    config = RetryConfig(base_s=0.0, jitter_s=0.0, budget_refill_per_s=0.5, retries_max=50)
    retry = retry_with(clock, config)
    exhausted = down(10_000)
    with pytest.raises(ConnectionError):
        retry.call(exhausted.ask)
    clock.advance(4)
    service = down(10_000)
    with pytest.raises(ConnectionError):
        retry.call(service.ask)
    assert service.calls == 1 + 2


def test_without_a_budget_only_the_number_of_retries_counts(clock: FakeClock) -> None:
    config = RetryConfig(base_s=0.0, jitter_s=0.0, budget_ratio=None)
    retry = retry_with(clock, config)
    service = down(10_000)
    for _ in range(100):
        with pytest.raises(ConnectionError):
            retry.call(service.ask)
    assert service.calls == 400


# Calls that may be repeated, and calls that may not


def test_a_call_that_may_have_taken_effect_is_not_repeated_unless_it_may_be(
    clock: FakeClock,
) -> None:
    recorder = Recorder()
    retry = plain_retry(clock, recorder=recorder)
    payment, read = down(1), down(1)
    with pytest.raises(ConnectionError) as raised:
        retry.call(payment.ask)
    assert payment.calls == 1
    assert [reason for _, reason, _ in recorder.given_up] == ["not_idempotent"]
    (note,) = raised.value.__notes__
    assert "`@retry.idempotent`" in note
    assert retry.idempotent.call(read.ask) == "answer"
    assert read.calls == 2


def test_an_error_that_is_raised_again_and_again_is_explained_once(clock: FakeClock) -> None:
    error = ConnectionError("down")
    retry = plain_retry(clock)
    for _ in range(3):
        with pytest.raises(ConnectionError):
            retry.call(Service(error).ask)
    assert len(error.__notes__) == 1


def test_decorators_differ_by_what_may_be_repeated(clock: FakeClock) -> None:
    retry = plain_retry(clock)
    payment, read = down(1), down(1)
    pay, ask = retry(payment.ask_async), retry.idempotent(read.ask_async)
    with pytest.raises(ConnectionError):
        asyncio.run(pay())
    assert asyncio.run(ask()) == "answer"
    assert (payment.calls, read.calls) == (1, 2)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError("nobody listens"),
        BreakerOpen("ledger", 1.0),
        BulkheadFull("ledger", 1.0),
        RateLimited("ledger", 1.0),
    ],
)
def test_a_call_that_was_not_begun_is_repeated_whatever_it_does(
    clock: FakeClock, error: Exception
) -> None:
    config = RetryConfig(is_retryable=lambda _error: True)
    payment = Service(error)
    assert plain_retry(clock, config).call(payment.ask) == "answer"
    assert payment.calls == 2


@pytest.mark.parametrize("error", [DeadlineExceeded("ledger"), ConnectionResetError("cut")])
def test_a_call_that_may_have_been_begun_is_not(clock: FakeClock, error: Exception) -> None:
    config = RetryConfig(is_retryable=lambda _error: True)
    payment = Service(error)
    with pytest.raises(type(error)):
        plain_retry(clock, config).call(payment.ask)
    assert payment.calls == 1


def test_what_proves_that_nothing_happened_can_be_said(clock: FakeClock) -> None:
    class RolledBack(Exception):
        pass

    def rolled_back(error: Exception) -> bool:
        return isinstance(error, RolledBack)

    config = RetryConfig(is_retryable=rolled_back, had_no_effect=rolled_back)
    payment = Service(RolledBack())
    assert plain_retry(clock, config).call(payment.ask) == "answer"


def test_both_kinds_of_calls_share_one_budget(clock: FakeClock) -> None:
    config = RetryConfig(
        base_s=0.0, jitter_s=0.0, budget_refill_per_s=0.0, budget_reserve=1, budget_ratio=0.5
    )
    retry = plain_retry(clock, config)
    with pytest.raises(ConnectionError):
        retry.idempotent.call(down(9).ask)
    # Half a token from each of two calls, one of each kind.
    retry.call(down(0).ask)
    read = down(1)
    assert retry.idempotent.call(read.ask) == "answer"
    refused = Service(ConnectionRefusedError("nobody listens"))
    with pytest.raises(ConnectionRefusedError):
        retry.call(refused.ask)


def test_threads_at_once_are_counted_exactly(clock: FakeClock) -> None:
    config = RetryConfig(
        base_s=0.0,
        jitter_s=0.0,
        budget_refill_per_s=0.0,
        budget_ratio=0.001,
        budget_reserve=10,
        retries_max=10_000,
    )
    retry = retry_with(clock, config)
    exhausted = down(10_000)
    with pytest.raises(ConnectionError):
        retry.call(exhausted.ask)
    assert exhausted.calls == 1 + 10
    with ThreadPoolExecutor(4) as pool:
        works = [pool.submit(call_often, retry, 1_000) for _ in range(4)]
        for each in works:
            each.result()
    # With the call that failed, and the one that follows: 4,002 thousandths of a token.
    service = down(10_000)
    with pytest.raises(ConnectionError):
        retry.call(service.ask)
    assert service.calls == 1 + 4


def call_often(retry: RetryWithBackoff, times: int) -> None:
    service = down(0)
    for _ in range(times):
        retry.call(service.ask)
