"""What the circuit breaker does with calls, one fact at a time."""

import asyncio
from collections.abc import Iterator

import pytest

from resilience import (
    BreakerConfig,
    BreakerOpen,
    BreakerState,
    BulkheadFull,
    CircuitBreaker,
    FakeClock,
    Listener,
)
from tests.resilience.tools import Recorder

CLOSED = BreakerState.CLOSED
OPEN = BreakerState.OPEN
HALF_OPEN = BreakerState.HALF_OPEN


def returns(value: object = "answer") -> object:
    return value


def raises(error: BaseException) -> object:
    raise error


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def breaker(clock: FakeClock) -> CircuitBreaker:
    return CircuitBreaker("ledger", clock=clock)


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(OSError, match="down"):
            breaker.call(raises, OSError("down"))


def trip(breaker: CircuitBreaker) -> None:
    fail(breaker, breaker.config.calls_min)
    assert breaker.state is OPEN


def test_a_call_returns_what_the_function_returns(breaker: CircuitBreaker) -> None:
    assert breaker.call(returns, "answer") == "answer"
    assert breaker.snapshot().calls == 1


def test_fewer_calls_than_the_minimum_never_open_it(breaker: CircuitBreaker) -> None:
    fail(breaker, 9)
    assert breaker.state is CLOSED


def test_half_of_the_calls_failing_opens_it(breaker: CircuitBreaker) -> None:
    for _ in range(5):
        breaker.call(returns)
    fail(breaker, 5)
    assert breaker.state is OPEN
    snapshot = breaker.snapshot()
    assert (snapshot.calls, snapshot.failure_rate) == (10, 0.5)


def test_the_success_that_reaches_the_minimum_opens_it_when_the_others_failed(
    breaker: CircuitBreaker,
) -> None:
    fail(breaker, 9)
    breaker.call(returns)
    assert breaker.state is OPEN


def test_failures_older_than_the_window_are_forgotten(
    breaker: CircuitBreaker, clock: FakeClock
) -> None:
    fail(breaker, 9)
    clock.advance(10)
    assert breaker.snapshot().calls == 0
    fail(breaker, 9)
    assert breaker.state is CLOSED


def test_an_open_breaker_calls_nothing_and_says_when_to_come_back(
    breaker: CircuitBreaker, clock: FakeClock
) -> None:
    trip(breaker)
    clock.advance(12)
    called: list[int] = []
    with pytest.raises(BreakerOpen) as refusal:
        breaker.call(called.append, 1)
    assert called == []
    assert refusal.value.name == "ledger"
    assert refusal.value.retry_after_s == pytest.approx(18)
    assert breaker.snapshot().retry_after_s == pytest.approx(18)


def test_a_successful_probe_closes_it_with_an_empty_window(
    breaker: CircuitBreaker, clock: FakeClock
) -> None:
    trip(breaker)
    clock.advance(30)
    breaker.call(returns)
    assert breaker.state is CLOSED
    assert breaker.snapshot().calls == 0


def test_a_failed_probe_opens_it_for_the_whole_reset_time_again(
    breaker: CircuitBreaker, clock: FakeClock
) -> None:
    trip(breaker)
    clock.advance(30)
    fail(breaker, 1)
    assert breaker.state is OPEN
    assert breaker.snapshot().retry_after_s == pytest.approx(30)


def test_a_slow_probe_opens_it_again(breaker: CircuitBreaker, clock: FakeClock) -> None:
    trip(breaker)
    clock.advance(30)
    breaker.acquire().success(duration_s=30.5)
    assert breaker.state is OPEN


def test_a_second_call_beside_the_probe_is_refused_for_a_moment(
    breaker: CircuitBreaker, clock: FakeClock
) -> None:
    trip(breaker)
    clock.advance(30)
    breaker.acquire()
    with pytest.raises(BreakerOpen) as refusal:
        breaker.acquire()
    assert 0 < refusal.value.retry_after_s <= 1


def test_a_lost_probe_frees_its_place_and_its_late_report_counts_no_more(
    breaker: CircuitBreaker, clock: FakeClock
) -> None:
    trip(breaker)
    clock.advance(30)
    lost = breaker.acquire()
    clock.advance(30)
    second = breaker.acquire()
    lost.success()
    assert breaker.state is HALF_OPEN
    lost.failure()
    second.success()
    assert breaker.state is CLOSED


def test_a_cancelled_probe_frees_its_place_at_once(
    breaker: CircuitBreaker, clock: FakeClock
) -> None:
    trip(breaker)
    clock.advance(30)
    breaker.acquire().cancel()
    assert breaker.state is HALF_OPEN
    breaker.call(returns)
    assert breaker.state is CLOSED


def test_half_of_the_calls_being_slow_opens_it(breaker: CircuitBreaker, clock: FakeClock) -> None:
    for duration_s in [30.0] * 5 + [30.1] * 5:
        permit = breaker.acquire()
        permit.success(duration_s)
    assert breaker.state is OPEN
    snapshot = breaker.snapshot()
    assert (snapshot.failure_rate, snapshot.slow_rate) == (0.0, 0.5)


def test_a_call_is_timed_by_the_clock(clock: FakeClock) -> None:
    breaker = CircuitBreaker("ledger", BreakerConfig(slow_call_s=2.0), clock=clock)
    breaker.call(clock.advance, 2.0)
    assert breaker.snapshot().slow_rate == 0.0
    breaker.call(clock.advance, 2.5)
    assert breaker.snapshot().slow_rate == 0.5


def test_a_call_that_began_before_the_trip_does_not_count_after_it(
    breaker: CircuitBreaker, clock: FakeClock
) -> None:
    late = [breaker.acquire() for _ in range(10)]
    probe_of_nobody = breaker.acquire()
    trip(breaker)
    probe_of_nobody.success()
    assert breaker.state is OPEN
    clock.advance(30)
    breaker.call(returns)
    for permit in late:
        permit.failure()
    assert breaker.state is CLOSED
    assert breaker.snapshot().calls == 0


def test_only_the_first_report_on_a_permit_counts(breaker: CircuitBreaker) -> None:
    permit = breaker.acquire()
    permit.success()
    permit.failure()
    permit.cancel()
    assert (breaker.snapshot().calls, breaker.snapshot().failure_rate) == (1, 0.0)


def test_a_cancelled_permit_counts_nothing(breaker: CircuitBreaker) -> None:
    permit = breaker.acquire()
    permit.cancel()
    permit.failure()
    assert breaker.snapshot().calls == 0


def test_an_exception_that_is_no_failure_counts_as_a_success(clock: FakeClock) -> None:
    config = BreakerConfig(is_failure=lambda error: not isinstance(error, LookupError))
    breaker = CircuitBreaker("ledger", config, clock=clock)
    with pytest.raises(LookupError):
        breaker.call(raises, LookupError("no such account"))
    assert (breaker.snapshot().calls, breaker.snapshot().failure_rate) == (1, 0.0)


def test_a_result_can_be_a_failure(clock: FakeClock) -> None:
    breaker = CircuitBreaker(
        "ledger", BreakerConfig(is_failure_result=lambda result: result == 503), clock=clock
    )
    assert breaker.call(returns, 503) == 503
    assert breaker.snapshot().failure_rate == 1.0
    breaker.call(returns, 200)
    assert breaker.snapshot().failure_rate == 0.5


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), asyncio.CancelledError(), BreakerOpen("inner"), BulkheadFull("inner")],
    ids=lambda error: type(error).__name__,
)
def test_what_says_nothing_about_the_service_is_not_counted(
    breaker: CircuitBreaker, error: BaseException
) -> None:
    with pytest.raises(type(error)):
        breaker.call(raises, error)
    assert breaker.snapshot().calls == 0


def test_forced_open_refuses_until_reset(breaker: CircuitBreaker, clock: FakeClock) -> None:
    breaker.force_open()
    clock.advance(3600)
    with pytest.raises(BreakerOpen):
        breaker.acquire()
    breaker.reset()
    breaker.call(returns)
    assert breaker.state is CLOSED


def test_disabled_lets_everything_through_and_counts_nothing(breaker: CircuitBreaker) -> None:
    breaker.disable()
    fail(breaker, 100)
    assert breaker.state is BreakerState.DISABLED
    assert breaker.snapshot().calls == 0


def test_a_call_under_way_at_a_reset_does_not_count(breaker: CircuitBreaker) -> None:
    permit = breaker.acquire()
    breaker.reset()
    permit.failure()
    assert breaker.snapshot().calls == 0


def test_the_guard_counts_its_block_and_lets_it_report_more(breaker: CircuitBreaker) -> None:
    with breaker.guard():
        pass
    with pytest.raises(OSError, match="down"), breaker.guard():
        raise OSError("down")
    with breaker.guard() as permit:
        permit.failure()
    snapshot = breaker.snapshot()
    assert snapshot.calls == 3
    assert snapshot.failure_rate == pytest.approx(2 / 3)


def test_coroutines_are_guarded_in_the_same_ways(breaker: CircuitBreaker) -> None:
    @breaker
    async def answer(value: int) -> int:
        return value

    async def down() -> None:
        raise OSError("down")

    async def main() -> None:
        assert await answer(7) == 7
        with pytest.raises(OSError, match="down"):
            await breaker.async_call(down)
        async with breaker.guard():
            pass
        with pytest.raises(OSError, match="down"):
            async with breaker.guard():
                raise OSError("down")

    asyncio.run(main())
    assert (breaker.snapshot().calls, breaker.snapshot().failure_rate) == (4, 0.5)


def test_a_cancelled_coroutine_frees_the_place_of_the_probe(
    breaker: CircuitBreaker, clock: FakeClock
) -> None:
    trip(breaker)
    clock.advance(30)

    async def main() -> None:
        probe = asyncio.create_task(breaker.async_call(asyncio.Event().wait))
        await asyncio.sleep(0)
        with pytest.raises(BreakerOpen):
            breaker.acquire()
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe

    asyncio.run(main())
    breaker.call(returns)
    assert breaker.state is CLOSED


def test_a_decorated_function_keeps_its_name_and_is_guarded(breaker: CircuitBreaker) -> None:
    @breaker
    def read_balance(account: str) -> str:
        return account

    assert read_balance("a") == "a"
    assert read_balance.__name__ == "read_balance"
    breaker.force_open()
    with pytest.raises(BreakerOpen):
        read_balance("a")


def test_a_generator_function_is_not_decorated_in_vain(breaker: CircuitBreaker) -> None:
    def rows() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match="generator"):
        breaker(rows)


def test_listeners_hear_of_every_transition_and_refusal(clock: FakeClock) -> None:
    recorder = Recorder()
    breaker = CircuitBreaker("ledger", clock=clock, listeners=[recorder])
    trip(breaker)
    with pytest.raises(BreakerOpen):
        breaker.acquire()
    clock.advance(30)
    breaker.call(returns)
    breaker.reset()
    assert recorder.transitions == [
        ("ledger", CLOSED, OPEN),
        ("ledger", OPEN, HALF_OPEN),
        ("ledger", HALF_OPEN, CLOSED),
    ]
    assert recorder.rejections == [("ledger", "breaker_open")]


def test_a_listener_that_fails_is_logged_and_the_call_goes_on(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Listener):
        def on_transition(self, name: str, old: BreakerState, new: BreakerState) -> None:
            raise RuntimeError(f"no such metric: {name} {old} {new}")

    recorder = Recorder()
    breaker = CircuitBreaker("ledger", clock=clock, listeners=[Broken(), recorder])
    trip(breaker)
    assert "no such metric" in caplog.text
    assert len(recorder.transitions) == 1


def test_a_listener_may_ask_the_breaker_about_itself(clock: FakeClock) -> None:
    seen: list[tuple[str, BreakerState, BreakerState, BreakerState]] = []

    class Asking(Listener):
        def on_transition(self, name: str, old: BreakerState, new: BreakerState) -> None:
            seen.append((name, old, new, guarded.snapshot().state))

    guarded = CircuitBreaker("ledger", clock=clock, listeners=[Asking()])
    trip(guarded)
    assert seen == [("ledger", CLOSED, OPEN, OPEN)]


def test_the_last_change_tells_what_came_when_and_who_decided(
    breaker: CircuitBreaker, clock: FakeClock
) -> None:
    clock.advance(1)
    change = breaker.last_change()
    assert (change.number, change.state, change.age_s) == (0, CLOSED, 1)
    assert (change.decision_number, change.decision_age_s) == (0, 1)
    breaker.reset()
    clock.advance(2)
    trip(breaker)
    clock.advance(30)
    breaker.acquire()
    change = breaker.last_change()
    assert breaker.state is HALF_OPEN
    assert (change.number, change.state, change.age_s, change.open_s) == (2, OPEN, 30, 30)
    assert (change.decision_number, change.decision_age_s) == (1, 32)


def test_a_state_is_adopted_only_from_who_knows_the_last_change(
    breaker: CircuitBreaker, clock: FakeClock
) -> None:
    breaker.reset()
    assert not breaker.adopt(OPEN, since=0, open_s=5)
    assert not breaker.adopt(OPEN, since=2, open_s=5)
    assert breaker.state is CLOSED
    assert breaker.adopt(OPEN, since=1, open_s=5)
    snapshot = breaker.snapshot()
    assert (snapshot.state, snapshot.calls, snapshot.retry_after_s) == (OPEN, 0, 5)
    assert (breaker.last_change().number, breaker.last_change().decision_number) == (2, 1)


def test_neither_a_probe_nor_a_negative_time_is_adopted(breaker: CircuitBreaker) -> None:
    with pytest.raises(ValueError, match="no state to adopt"):
        breaker.adopt(HALF_OPEN, since=0)
    with pytest.raises(ValueError, match="open_s=-1"):
        breaker.adopt(OPEN, since=0, open_s=-1)
    assert breaker.last_change().number == 0
