"""Every way to call through a circuit breaker, each held to the same facts."""

import asyncio
from typing import Any

import pytest

from resilience import (
    BreakerConfig,
    BreakerOpen,
    BreakerState,
    CircuitBreaker,
    FakeClock,
    RateLimited,
)
from tests.resilience.breaker_ways import (
    JUDGING,
    WAYS,
    Way,
    by_async_call,
    by_call,
    by_decorated_coroutine,
    by_decorated_function,
)

CLOSED = BreakerState.CLOSED
OPEN = BreakerState.OPEN
HALF_OPEN = BreakerState.HALF_OPEN
CONFIG = BreakerConfig(slow_call_s=2.0)
NOBODY: dict[str, object] = {}
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
every_judging_way = pytest.mark.parametrize("way", JUDGING, ids=lambda way: way.__name__)


def returns() -> object:
    return "answer"


def fails() -> object:
    raise OSError("down")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def breaker(clock: FakeClock) -> CircuitBreaker:
    return CircuitBreaker("ledger", CONFIG, clock=clock)


def open_up(breaker: CircuitBreaker) -> None:
    for permit in [breaker.acquire() for _ in range(10)]:
        permit.failure()
    assert breaker.state is OPEN


def figures(breaker: CircuitBreaker) -> tuple[int, float, float]:
    snapshot = breaker.snapshot()
    return snapshot.calls, snapshot.failure_rate, snapshot.slow_rate


@every_way
def test_results_pass_and_good_calls_are_counted(breaker: CircuitBreaker, way: Way) -> None:
    assert way(breaker, returns) == "answer"
    assert figures(breaker) == (1, 0.0, 0.0)


@every_way
def test_exceptions_pass_and_are_counted(breaker: CircuitBreaker, way: Way) -> None:
    with pytest.raises(OSError, match="down"):
        way(breaker, fails)
    way(breaker, returns)
    assert figures(breaker) == (2, 0.5, 0.0)


@every_way
def test_calls_are_timed(breaker: CircuitBreaker, clock: FakeClock, way: Way) -> None:
    way(breaker, lambda: clock.advance(2.0))
    assert figures(breaker) == (1, 0.0, 0.0)
    way(breaker, lambda: clock.advance(2.25))
    assert figures(breaker) == (2, 0.0, 0.5)


@every_way
def test_a_failed_call_can_be_slow_as_well(
    breaker: CircuitBreaker, clock: FakeClock, way: Way
) -> None:
    def fails_late() -> object:
        clock.advance(2.25)
        raise OSError("down")

    with pytest.raises(OSError, match="down"):
        way(breaker, fails_late)
    assert figures(breaker) == (1, 1.0, 1.0)


@every_way
def test_a_call_is_counted_in_the_bucket_in_which_it_ends(
    breaker: CircuitBreaker, clock: FakeClock, way: Way
) -> None:
    way(breaker, lambda: clock.advance(1.5))
    clock.advance(9)
    assert figures(breaker) == (1, 0.0, 0.0)
    clock.advance(1)
    assert figures(breaker) == (0, 0.0, 0.0)


@every_way
@pytest.mark.parametrize("failures", [5, 9])
def test_the_good_call_that_reaches_the_minimum_opens_it(
    breaker: CircuitBreaker, way: Way, failures: int
) -> None:
    for _ in range(9 - failures):
        way(breaker, returns)
    for _ in range(failures):
        with pytest.raises(OSError, match="down"):
            way(breaker, fails)
    assert breaker.state is CLOSED
    way(breaker, returns)
    assert breaker.state is OPEN


@every_way
@pytest.mark.parametrize("is_looked_at", [False, True])
def test_a_good_call_opens_it_when_older_good_ones_have_left_the_window(
    clock: FakeClock, way: Way, is_looked_at: bool
) -> None:
    breaker = CircuitBreaker("ledger", BreakerConfig(calls_min=5), clock=clock)
    for _ in range(10):
        way(breaker, returns)
    clock.advance(9)
    for _ in range(5):
        with pytest.raises(OSError, match="down"):
            way(breaker, fails)
    way(breaker, returns)
    assert breaker.state is CLOSED
    clock.advance(1)
    if is_looked_at:
        assert breaker.snapshot().calls == 6
    way(breaker, returns)
    assert breaker.state is OPEN


@every_judging_way
def test_a_result_can_be_a_failure(clock: FakeClock, way: Way) -> None:
    breaker = CircuitBreaker(
        "ledger", BreakerConfig(is_failure_result=lambda result: result == 503), clock=clock
    )
    assert way(breaker, lambda: 503) == 503
    way(breaker, lambda: 200)
    assert figures(breaker) == (2, 0.5, 0.0)


@every_way
def test_an_exception_need_not_be_a_failure(clock: FakeClock, way: Way) -> None:
    config = BreakerConfig(is_failure=lambda error: not isinstance(error, LookupError))
    breaker = CircuitBreaker("ledger", config, clock=clock)
    with pytest.raises(KeyError):
        way(breaker, lambda: NOBODY["no such account"])
    assert figures(breaker) == (1, 0.0, 0.0)


@every_way
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RateLimited("inner")])
def test_a_call_that_was_given_up_or_refused_further_in_is_not_counted(
    breaker: CircuitBreaker, clock: FakeClock, way: Way, error: BaseException
) -> None:
    def gives_up() -> object:
        raise error

    with pytest.raises(type(error)):
        way(breaker, gives_up)
    assert figures(breaker) == (0, 0.0, 0.0)
    open_up(breaker)
    clock.advance(30)
    with pytest.raises(type(error)):
        way(breaker, gives_up)
    assert breaker.state is HALF_OPEN
    way(breaker, returns)  # The place of the probe is free.
    assert breaker.state is CLOSED


@every_way
def test_an_open_breaker_calls_nothing_and_a_probe_decides(
    breaker: CircuitBreaker, clock: FakeClock, way: Way
) -> None:
    open_up(breaker)
    called: list[int] = []
    with pytest.raises(BreakerOpen):
        way(breaker, lambda: called.append(1))
    assert called == []
    clock.advance(30)
    with pytest.raises(OSError, match="down"):
        way(breaker, fails)
    assert breaker.state is OPEN
    clock.advance(30)
    way(breaker, returns)
    assert breaker.state is CLOSED


@every_way
def test_a_call_that_outlives_its_period_counts_nowhere(
    breaker: CircuitBreaker, clock: FakeClock, way: Way
) -> None:
    def fails_after_the_breaker_closed_again() -> object:
        open_up(breaker)
        clock.advance(30)
        breaker.acquire().success()
        raise OSError("down")

    with pytest.raises(OSError, match="down"):
        way(breaker, fails_after_the_breaker_closed_again)
    way(breaker, breaker.reset)
    way(breaker, lambda: open_up(breaker))
    assert breaker.snapshot().calls == 10


@every_way
def test_a_disabled_breaker_lets_everything_through(breaker: CircuitBreaker, way: Way) -> None:
    breaker.disable()
    for _ in range(20):
        with pytest.raises(OSError, match="down"):
            way(breaker, fails)
    assert figures(breaker) == (0, 0.0, 0.0)


@every_judging_way
def test_a_probe_that_cannot_be_judged_frees_its_place(clock: FakeClock, way: Way) -> None:
    def unsure(outcome: object) -> bool:
        raise TypeError(f"what is {outcome!r}?")

    config = BreakerConfig(is_failure=unsure, is_failure_result=unsure)
    breaker = CircuitBreaker("ledger", config, clock=clock)
    open_up(breaker)
    clock.advance(30)
    with pytest.raises(TypeError, match="what is 'answer'"):
        way(breaker, returns)
    with pytest.raises(TypeError, match="what is OSError"):
        way(breaker, fails)
    assert breaker.snapshot().retry_after_s == 0
    breaker.reset()
    with pytest.raises(TypeError, match="what is 'answer'"):
        way(breaker, returns)
    assert figures(breaker) == (0, 0.0, 0.0)


@pytest.mark.parametrize(
    "way",
    [by_call, by_async_call, by_decorated_function, by_decorated_coroutine],
    ids=lambda way: way.__name__,
)
@pytest.mark.parametrize("duration_s", [0.0, 0.5])
def test_a_good_call_of_a_closed_breaker_takes_no_lock(
    breaker: CircuitBreaker, clock: FakeClock, way: Way, duration_s: float
) -> None:
    class Untouchable:
        def __enter__(self) -> None:
            raise AssertionError("the lock was taken")

        def __exit__(self, *_error: object) -> None: ...

    lock = breaker._lock
    breaker._lock = Untouchable()  # type: ignore[assignment]
    way(breaker, lambda: clock.advance(duration_s))
    breaker._lock = lock
    assert figures(breaker) == (1, 0.0, 0.0)
    with pytest.raises(OSError, match="down"):
        way(breaker, fails)
    for _ in range(9):
        way(breaker, returns)  # The minimum is reached, and all is well in this bucket.
    breaker._lock = Untouchable()  # type: ignore[assignment]
    way(breaker, returns)
    breaker._lock = lock
    assert figures(breaker)[0] == 12


def test_a_coroutine_is_only_decorated_as_one(breaker: CircuitBreaker) -> None:
    @breaker
    async def answer() -> int:
        """Say it."""
        await asyncio.sleep(0)
        return 7

    assert asyncio.iscoroutinefunction(answer)
    assert (answer.__name__, answer.__doc__) == ("answer", "Say it.")
    assert asyncio.run(answer()) == 7


def test_a_coroutine_that_is_collected_frees_the_place_of_the_probe_even_inside_the_breaker(
    breaker: CircuitBreaker, clock: FakeClock
) -> None:
    open_up(breaker)
    clock.advance(30)

    class Forever:
        def __await__(self) -> Any:
            yield

    async def wait() -> None:
        await Forever()

    probe = breaker.async_call(wait)
    probe.send(None)
    with pytest.raises(BreakerOpen):
        breaker.acquire()
    with breaker._lock:  # Memory may be freed while it is held.
        del probe
    breaker.call(returns)
    assert breaker.state is CLOSED
