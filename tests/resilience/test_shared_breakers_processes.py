"""Breakers of real processes, and of any number in any order, come to agree."""

import contextlib
import os
import uuid
import warnings
from collections.abc import Callable, Iterator

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from resilience import BreakerOpen, BreakerState, CircuitBreaker, FakeClock
from resilience.redis_store import connect
from resilience.shared_breakers import SharedBreakers
from tests.resilience.breaker_process import BOUND_S, Worker, spawn
from tests.resilience.tools import eventually

DECISIONS = {BreakerState.FORCED_OPEN, BreakerState.DISABLED}


@pytest.fixture
def prefix() -> str:
    return f"breakers-{uuid.uuid4()}"


@pytest.fixture
def start(valkey_url: str, prefix: str) -> Iterator[Callable[[float], Worker]]:
    workers: list[Worker] = []

    def start_one(reset_s: float) -> Worker:
        workers.append(spawn(valkey_url, prefix, reset_s=reset_s))
        return workers[-1]

    yield start_one
    for worker in workers:
        with contextlib.suppress(OSError):
            worker.order("stop")
        worker.kill()


def test_processes_see_a_trip_and_a_closing_within_a_second(
    start: Callable[[float], Worker],
) -> None:
    first, second, third = workers = [start(60.0) for _ in range(3)]
    for worker in workers:
        worker.hears("ready")
    # A busy machine may hold up one round, but not each.
    delays_s = []
    for tripping, others in [
        (first, (second, third)),
        (second, (first, third)),
        (third, (first, second)),
    ]:
        tripping.order("trip")
        tripped_s = tripping.hears("open")
        seen_s = [other.hears("open") for other in others]
        for other in others:
            other.order("call")
            other.hears("refused")
        others[0].order("reset")
        closed_s = others[0].hears("closed")
        closings_s = [worker.hears("closed") for worker in (tripping, others[1])]
        delays_s.append(max(max(seen_s) - tripped_s, max(closings_s) - closed_s))
    assert min(delays_s) < 1.0


def test_a_process_that_is_killed_keeps_nobody_open_and_a_later_one_learns_the_state(
    start: Callable[[float], Worker],
) -> None:
    first, second = start(1.0), start(1.0)
    for worker in (first, second):
        worker.hears("ready")
    first.order("trip")
    first.hears("open")
    second.hears("open")
    first.kill()
    third = start(60.0)
    third.hears("ready")
    third.hears("open")
    # Nobody but the second is left to probe soon; what it finds reaches the third.
    answer = "refused"
    while answer == "refused":
        second.order("call")
        assert second.connection.poll(BOUND_S)
        answer, _ = second.connection.recv()
    assert answer == "half_open"
    second.hears("closed")
    second.hears("passed")
    third.hears("closed")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_shares_again_after_a_start_of_its_own(valkey_url: str, prefix: str) -> None:
    breaker, elsewhere = CircuitBreaker("ledger"), CircuitBreaker("ledger")
    with connect(valkey_url, timeout_s=5) as client, connect(valkey_url, timeout_s=5) as other:
        observer = SharedBreakers(other, [elsewhere], prefix=prefix)
        with SharedBreakers(client, [breaker], prefix=prefix, interval_s=0.01) as sharing:
            eventually(lambda: sharing.connected)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # Forking beside threads.
                child = os.fork()
            if child == 0:
                try:
                    sharing.start()
                    breaker.force_open()
                    eventually(lambda: breaker.state is BreakerState.CLOSED)
                    os._exit(0)
                finally:
                    os._exit(1)
            eventually(lambda: breaker.state is BreakerState.FORCED_OPEN)
            observer.exchange()
            assert elsewhere.state is BreakerState.FORCED_OPEN
            breaker.reset()
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class Agreement(RuleBasedStateMachine):
    """Three processes do anything in any order; when they have spoken, they agree."""

    url = ""
    node = st.integers(0, 2)

    @initialize()
    def begin(self) -> None:
        prefix = f"breakers-{uuid.uuid4()}"
        self.key = f"{{{prefix}}}:ledger"
        self.client = redis.Redis.from_url(self.url)
        self.clock = FakeClock()
        self.breakers = [CircuitBreaker("ledger", clock=self.clock) for _ in range(3)]
        self.shared = [
            SharedBreakers(self.client, [breaker], prefix=prefix) for breaker in self.breakers
        ]

    @rule(node=node, good=st.booleans())
    def call(self, node: int, good: bool) -> None:
        """Make enough calls for a trip, or the one that a probe is."""
        with contextlib.suppress(BreakerOpen):
            for _ in range(10):
                permit = self.breakers[node].acquire()
                if good:
                    permit.success()
                else:
                    permit.failure()

    @rule(
        node=node,
        decide=st.sampled_from(
            [CircuitBreaker.force_open, CircuitBreaker.disable, CircuitBreaker.reset]
        ),
    )
    def decide(self, node: int, decide: Callable[[CircuitBreaker], None]) -> None:
        decide(self.breakers[node])

    @rule(node=node)
    def exchange(self, node: int) -> None:
        self.shared[node].exchange()

    @rule(seconds=st.sampled_from([0.5, 5.0, 31.0]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def lose(self) -> None:
        """Redis forgets."""
        self.client.delete(self.key)

    @rule(order=st.permutations(range(3)))
    def agree(self, order: list[int]) -> None:
        for node in [*order, *order]:
            self.shared[node].exchange()
        states = [breaker.state for breaker in self.breakers]
        told = {BreakerState.OPEN if state is BreakerState.HALF_OPEN else state for state in states}
        assert len(told) == 1, states

    @rule(
        node=node,
        decide=st.sampled_from([CircuitBreaker.force_open, CircuitBreaker.disable]),
        order=st.permutations(range(3)),
    )
    def decide_among_trips(
        self, node: int, decide: Callable[[CircuitBreaker], None], order: list[int]
    ) -> None:
        """A decision that comes after all have spoken stands, whatever calls do beside it."""
        self.agree(order)
        for breaker in range(3):
            self.call(breaker, good=breaker == order[0])
        decide(self.breakers[node])
        decided = self.breakers[node].state
        self.agree(order)
        assert {breaker.state for breaker in self.breakers} == {decided}

    def teardown(self) -> None:
        if hasattr(self, "client"):
            self.client.close()


def test_whatever_happens_in_whatever_order_they_come_to_agree(valkey_url: str) -> None:
    class Here(Agreement):
        url = valkey_url

    run_state_machine_as_test(
        Here, settings=settings(max_examples=60, stateful_step_count=30, deadline=None)
    )
