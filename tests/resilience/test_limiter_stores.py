"""The stores beside each other: memory, Redis for threads, Redis for coroutines."""

import asyncio
import uuid
from collections.abc import Iterator

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from resilience import Ask, FakeClock, Grant, MemoryStore, RateLimiter, Rest, StoreUnavailable
from resilience._limiter_store import LimiterWindow
from resilience.redis_store import AsyncRedisStore, RedisStore, connect, connect_async
from tests.conftest import free_port
from tests.resilience.limiter_model import MODELS, ClockedRedisStore, Step, steps

WINDOWS: list[LimiterWindow] = ["sliding", "fixed"]


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with connect(valkey_url, timeout_s=30.0) as connected:
        yield connected


@pytest.fixture
def key() -> str:
    return f"user-{uuid.uuid4()}"


@pytest.mark.parametrize("window", WINDOWS)
@settings(max_examples=40)
@given(history=steps(max_size=30), limit=st.integers(min_value=1, max_value=5))
def test_every_answer_on_redis_is_that_of_a_naive_log(
    valkey_url: str, window: LimiterWindow, history: list[Step], limit: int
) -> None:
    clock = FakeClock()
    model = MODELS[window](limit=limit, window_s=100)
    with connect(valkey_url, timeout_s=30.0) as client:
        store = ClockedRedisStore(client, clock, window=window)
        for step in history:
            clock.advance(step.after_s)
            grant = store.take(Ask(step.key, limit, 100))
            expected = model.decide(step.key, clock.monotonic())
            assert (grant.units, grant.remaining) == (expected.allowed, expected.remaining)
            assert grant.frees_in_s == pytest.approx(expected.frees_in_s)
            assert grant.frees_at_s == pytest.approx(clock.time() + expected.frees_in_s)


# What one process may ask for: how long after the last question, units, and how much of the last
# lease it gives back, if at all.
QUESTIONS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0.25, 1, 4, 5, 6, 40, 100, 104, 105, 106]),
        st.sampled_from([0, 1, 1, 2, 7, 40]),
        st.none() | st.integers(0, 40),
        st.sampled_from([60, 60, 60, 25]),
    ),
    max_size=30,
)


@pytest.mark.parametrize("window", WINDOWS)
@settings(max_examples=60)
@given(questions=QUESTIONS)
def test_the_scripts_lease_and_take_back_as_the_store_in_memory_does(
    valkey_url: str,
    window: LimiterWindow,
    questions: list[tuple[float, int, int | None, int]],
) -> None:
    clock = FakeClock()
    memory = MemoryStore(clock=clock, window=window)
    with connect(valkey_url, timeout_s=30.0) as client:
        real = ClockedRedisStore(client, clock, window=window)
        leases: list[tuple[Grant, Grant]] = []
        is_any_returned = False
        for after_s, units, unused, limit in questions:
            clock.advance(after_s)
            rests: tuple[Rest | None, Rest | None] = (None, None)
            if unused is not None and leases:
                ours, theirs = leases.pop()
                assert ours.ticket is not None
                assert theirs.ticket is not None
                spare = min(unused, ours.units - 1)
                rests = (Rest(ours.ticket, spare), Rest(theirs.ticket, spare))
                is_any_returned = True
            ask = Ask("user", limit, 100, units, 5.0)
            expected = memory.take(ask._replace(rest=rests[0]))
            grant = real.take(ask._replace(rest=rests[1]))
            assert grant[:2] == expected[:2]
            assert grant.lease_s == pytest.approx(expected.lease_s)
            assert (grant.ticket is None) == (expected.ticket is None)
            if units:
                assert grant.frees_in_s == pytest.approx(expected.frees_in_s)
            if units and not is_any_returned:
                assert grant.recheck_in_s == pytest.approx(expected.recheck_in_s)
            if grant.ticket is not None:
                leases.append((expected, grant))


def test_a_million_requests_of_one_client_take_little_room(client: redis.Redis) -> None:
    clock = FakeClock()
    store = ClockedRedisStore(client, clock)
    admitted = 0
    while grant := store.take(Ask("user", 1_000_000, 900, 50_000, 1.0)):
        clock.advance(0.5)
        admitted += grant.units
        if not grant.units:
            break
    assert admitted == 1_000_000
    assert (client.memory_usage(f"{store.prefix}:900000000:user") or 0) < 50_000


def test_a_lease_that_has_left_the_window_is_not_taken_back_twice(client: redis.Redis) -> None:
    clock = FakeClock()
    for window in WINDOWS:
        for store in (
            MemoryStore(clock=clock, window=window),
            ClockedRedisStore(client, clock, window=window),
        ):
            lease = store.take(Ask("user", 1000, 100, 50, 5.0))
            assert lease.ticket is not None
            clock.advance(106)
            rest = Rest(lease.ticket, 49)
            assert store.take(Ask("user", 1000, 100, 1, 5.0, rest)).remaining == 999
            assert store.take(Ask("user", 1000, 100, 1, 5.0, rest)).remaining == 998


def test_a_lowered_limit_waits_until_enough_leases_have_left(client: redis.Redis) -> None:
    clock = FakeClock()
    for store in (MemoryStore(clock=clock), ClockedRedisStore(client, clock)):
        for _ in range(4):
            assert store.take(Ask("user", 1000, 100, 10, 5.0)).units == 10
            clock.advance(10)
        denied = store.take(Ask("user", 15, 100, 10, 5.0))
        # Of the forty, thirty must leave: the third lease ended 15 s ago.
        assert (denied.units, denied.remaining) == (0, 0)
        assert denied.frees_in_s == pytest.approx(85)
        assert store.take(Ask("user", 1000, 100)).units == 1


def test_a_step_back_of_the_clock_is_seen_beside_leases(client: redis.Redis) -> None:
    clock = FakeClock()
    store = ClockedRedisStore(client, clock)
    store.take(Ask("user", 1000, 100))
    store.take(Ask("user", 1000, 100, 8, 5.0))
    store.step_s = -50
    assert store.take(Ask("user", 1000, 100)).remaining == 990
    # Recorded at the key's own time: all of them leave a window after that, and not before.
    store.step_s = 0
    clock.advance(99.5)
    assert store.take(Ask("user", 1000, 100, 0)).remaining == 990
    clock.advance(0.5)
    assert store.take(Ask("user", 1000, 100, 0)).remaining == 992
    clock.advance(5)
    assert store.take(Ask("user", 1000, 100, 0)).remaining == 1000


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("step_s", [-0.5, -99, 0.5])
def test_a_clock_that_is_set_a_little_wrong_lets_no_more_pass(
    client: redis.Redis, window: LimiterWindow, step_s: float
) -> None:
    clock = FakeClock()
    store = ClockedRedisStore(client, clock, window=window)
    units = store.take(Ask("user", 1000, 100, 50, 5.0)).units
    store.step_s = step_s
    units += sum(store.take(Ask("user", 1000, 100)).units for _ in range(1100))
    assert units == 1000
    store.step_s = 0.0
    clock.advance(1)
    assert store.take(Ask("user", 1000, 100)).units == 0


@pytest.mark.parametrize("window", WINDOWS)
def test_a_clock_that_is_set_far_back_blocks_nobody(
    client: redis.Redis, window: LimiterWindow
) -> None:
    clock = FakeClock()
    store = ClockedRedisStore(client, clock, window=window)
    while store.take(Ask("user", 100, 100, 50, 5.0)).units:
        pass
    store.step_s = -1000
    assert store.take(Ask("user", 100, 100)).remaining == 99


@pytest.mark.parametrize("window", WINDOWS)
def test_keys_of_both_kinds_expire_and_do_not_meet(
    client: redis.Redis, window: LimiterWindow, key: str
) -> None:
    for kind in WINDOWS:
        assert RedisStore(client, window=kind).take(Ask(key, 1, 900)).units == 1
    name = f"limit:{'fixed:' if window == 'fixed' else ''}900000000:{key}"
    assert 800 < client.ttl(name) <= 901
    # A key lives as long as anything in it counts, also when a shorter entry comes after a lease.
    for units in (8, 1):
        RedisStore(client, window=window).take(Ask(key, 100, 900, units, 45.0))
        ends_s = 946 if window == "sliding" else 901
        assert ends_s - 40 < client.ttl(name) <= ends_s


# For coroutines


def test_coroutines_and_threads_count_together(valkey_url: str, key: str) -> None:
    async def decide() -> list[bool]:
        async with connect_async(valkey_url, timeout_s=30.0) as client:
            await client.script_flush()
            limiter = RateLimiter(RedisStore(blocking), async_store=AsyncRedisStore(client))
            decisions = [await limiter.decide_async(key, limit=5, window_s=900) for _ in range(2)]
            decisions += [limiter.decide(key, limit=5, window_s=900) for _ in range(2)]
            decisions += [await limiter.decide_async(key, limit=5, window_s=900) for _ in range(2)]
            assert [each.remaining for each in decisions] == [4, 3, 2, 1, 0, 0]
            assert limiter.peek(key, limit=5, window_s=900) is not None
            return [each.allowed for each in decisions]

    with connect(valkey_url, timeout_s=30.0) as blocking:
        assert asyncio.run(decide()) == [True] * 5 + [False]


def test_coroutines_at_once_are_admitted_exactly_to_the_limit(valkey_url: str, key: str) -> None:
    async def race(limit: int) -> int:
        async with connect_async(valkey_url, timeout_s=30.0) as client:
            store = AsyncRedisStore(client)
            limiters = [RateLimiter(MemoryStore(), async_store=store) for _ in range(4)]

            async def work(number: int) -> int:
                decide = limiters[number % 4].decide_async
                return sum(
                    [
                        (await decide(f"{key}-{limit}", limit=limit, window_s=900)).allowed
                        for _ in range(limit // 10)
                    ]
                )

            return sum(await asyncio.gather(*(work(number) for number in range(16))))

    assert asyncio.run(race(100)) == 100
    assert 1800 <= asyncio.run(race(2000)) <= 2000


def test_without_an_asynchronous_store_the_other_is_asked_in_a_thread() -> None:
    limiter = RateLimiter(MemoryStore())

    async def decide() -> list[bool]:
        decisions = [await limiter.decide_async("user", limit=2, window_s=900) for _ in range(3)]
        assert await limiter.give_back_async() == 0
        return [each.allowed for each in decisions]

    assert asyncio.run(decide()) == [True, True, False]


def test_coroutines_without_a_server_get_this_processs_share() -> None:
    async def decide() -> list[tuple[bool, str]]:
        async with connect_async(f"redis://127.0.0.1:{free_port()}/0") as client:
            store = AsyncRedisStore(client)
            with pytest.raises(StoreUnavailable):
                await store.take(Ask("user", 3, 900))
            limiter = RateLimiter(MemoryStore(), async_store=store)
            decisions = [
                await limiter.decide_async("user", limit=3, window_s=900) for _ in range(5)
            ]
            return [(each.allowed, each.source) for each in decisions]

    assert asyncio.run(decide()) == [(True, "fallback")] * 3 + [(False, "fallback")] * 2


def test_a_cancelled_question_leaves_the_lease_to_the_next(key: str) -> None:
    class Slow:
        def __init__(self) -> None:
            self.inner = MemoryStore()
            self.asks: list[Ask] = []

        async def take(self, ask: Ask, /) -> Grant:
            self.asks.append(ask)
            await asyncio.sleep(0 if len(self.asks) > 1 else 3600)
            return self.inner.take(ask)

    async def decide() -> list[Ask]:
        store = Slow()
        limiter = RateLimiter(MemoryStore(), async_store=store)
        first = asyncio.create_task(limiter.decide_async(key, limit=1000, window_s=900))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await limiter.decide_async(key, limit=1000, window_s=900)
        return store.asks

    # Both asked for a lease: the second did not wait for the first for ever.
    assert [ask.lease_s for ask in asyncio.run(decide())] == [1.0, 1.0]


def test_a_time_out_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="timeout_s=0"):
        connect_async("redis://127.0.0.1:6379/0", timeout_s=0)
