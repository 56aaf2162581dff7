"""The circuit breaker against a plain model, over random histories."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from resilience import BreakerConfig, BreakerOpen, BreakerState, CircuitBreaker, FakeClock, Permit
from tests.resilience.breaker_ways import WAYS, Way

CONFIG = BreakerConfig(
    window_s=6.0,
    bucket_count=4,
    calls_min=4,
    failure_rate=0.5,
    slow_call_s=2.0,
    slow_call_rate=0.75,
    reset_s=6.0,
    probe_timeout_s=3.0,
)


def bucket(now_s: float) -> int:
    """Return the number of the bucket that is present at `now_s`."""
    return int(now_s * CONFIG.bucket_count / CONFIG.window_s)


@dataclass
class Model:
    """The breaker as one would explain it: a list of results, and a number for each period."""

    state: BreakerState = BreakerState.CLOSED
    period: int = 0
    results: list[tuple[int, bool, bool]] = field(default_factory=list)
    open_until_s: float = 0.0
    changes: int = 0
    decision: int = 0
    probe: tuple[int, float] | None = None

    def enter(self, state: BreakerState, now_s: float, *, open_s: float = CONFIG.reset_s) -> None:
        self.state = state
        if state is not BreakerState.HALF_OPEN:
            self.changes += 1
        self.period += 1
        self.results = []
        self.probe = None
        if state is BreakerState.OPEN:
            self.open_until_s = now_s + open_s

    def decide(self, state: BreakerState, now_s: float) -> None:
        self.enter(state, now_s)
        self.decision = self.changes

    def admits(self, now_s: float) -> bool:
        match self.state:
            case BreakerState.OPEN:
                return now_s >= self.open_until_s
            case BreakerState.HALF_OPEN:
                return self.probe is None or now_s >= self.probe[1] + CONFIG.probe_timeout_s
            case BreakerState.FORCED_OPEN:
                return False
            case _:
                return True

    def in_window(self, now_s: float) -> list[tuple[int, bool, bool]]:
        first = bucket(now_s) - CONFIG.bucket_count + 1
        return [result for result in self.results if result[0] >= first]

    def report(self, number: int, period: int, now_s: float, failed: bool, slow: bool) -> None:
        if self.probe is not None and self.probe[0] == number:
            good = not failed and not slow
            self.enter(BreakerState.CLOSED if good else BreakerState.OPEN, now_s)
        elif self.state is BreakerState.CLOSED and period == self.period:
            self.results.append((bucket(now_s), failed, slow))
            counted = self.in_window(now_s)
            enough = len(counted) >= CONFIG.calls_min
            failures = sum(failed for _, failed, _ in counted) / len(counted)
            slows = sum(slow for _, _, slow in counted) / len(counted)
            if enough and (failures >= CONFIG.failure_rate or slows >= CONFIG.slow_call_rate):
                self.enter(BreakerState.OPEN, now_s)


@dataclass
class Call:
    """A permit, and what the model remembers of it."""

    permit: Permit
    number: int
    period: int
    started_s: float
    reported: bool = False


class BreakerAgainstModel(RuleBasedStateMachine):
    """Runs the same history through the breaker and the model."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.breaker = CircuitBreaker("tested", CONFIG, clock=self.clock)
        self.model = Model()
        self.number = 0

    @rule(target=calls)
    def begin(self) -> Call | None:
        now_s = self.clock.monotonic()
        admitted = self.model.admits(now_s)
        try:
            permit = self.breaker.acquire()
        except BreakerOpen:
            assert not admitted
            return None
        assert admitted
        period = self.begin_in_model()
        return Call(permit, self.number, period, now_s)

    def begin_in_model(self) -> int:
        """Let the model admit a call numbered `self.number`; return the period it counts for."""
        self.number += 1
        now_s = self.clock.monotonic()
        if self.model.state in (BreakerState.OPEN, BreakerState.HALF_OPEN):
            if self.model.state is BreakerState.OPEN:
                self.model.enter(BreakerState.HALF_OPEN, now_s)
            self.model.probe = (self.number, now_s)
            return -1
        return self.model.period

    @rule(call=calls, failed=st.booleans())
    def report(self, call: Call | None, failed: bool) -> None:
        if call is None:
            return
        now_s = self.clock.monotonic()
        if failed:
            call.permit.failure()
        else:
            call.permit.success()
        if not call.reported:
            call.reported = True
            slow = now_s - call.started_s > CONFIG.slow_call_s
            self.model.report(call.number, call.period, now_s, failed, slow)

    @rule(failures=st.lists(st.booleans(), min_size=3, max_size=6))
    def burst(self, failures: list[bool]) -> None:
        for failed in failures:
            self.report(self.begin(), failed)

    @rule(
        way=st.sampled_from(WAYS),
        duration_s=st.sampled_from([0.0, 0.5, 2.0, 2.5, 4.0]),
        failed=st.booleans(),
    )
    def call_through(self, way: Way, duration_s: float, failed: bool) -> None:
        """Make a whole call in one of the ways that give no permit away."""

        def body() -> object:
            self.clock.advance(duration_s)
            if failed:
                raise OSError("down")
            return "answer"

        admitted = self.model.admits(self.clock.monotonic())
        period = self.begin_in_model() if admitted else None
        try:
            way(self.breaker, body)
        except BreakerOpen:
            assert not admitted
        except OSError:
            assert admitted
            assert failed
        else:
            assert admitted
            assert not failed
        if period is not None:
            now_s = self.clock.monotonic()
            slow = duration_s > CONFIG.slow_call_s
            self.model.report(self.number, period, now_s, failed, slow)

    @rule(
        state=st.sampled_from([s for s in BreakerState if s is not BreakerState.HALF_OPEN]),
        open_s=st.sampled_from([0.0, 1.0, 8.0]),
        behind=st.sampled_from([0, 0, 0, 1]),
    )
    def adopt(self, state: BreakerState, open_s: float, behind: int) -> None:
        since = self.breaker.last_change().number - behind
        assert self.breaker.adopt(state, since=since, open_s=open_s) == (not behind)
        if behind:
            return
        if self.model.state is state is BreakerState.CLOSED:
            self.model.changes += 1
        else:
            self.model.enter(state, self.clock.monotonic(), open_s=open_s)

    @rule(call=calls)
    def cancel(self, call: Call | None) -> None:
        if call is None:
            return
        call.permit.cancel()
        if not call.reported:
            call.reported = True
            if self.model.probe is not None and self.model.probe[0] == call.number:
                self.model.probe = None

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 60.0]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def force_open(self) -> None:
        self.breaker.force_open()
        self.model.decide(BreakerState.FORCED_OPEN, self.clock.monotonic())

    @rule()
    def disable(self) -> None:
        self.breaker.disable()
        self.model.decide(BreakerState.DISABLED, self.clock.monotonic())

    @rule()
    def reset(self) -> None:
        self.breaker.reset()
        self.model.decide(BreakerState.CLOSED, self.clock.monotonic())

    @invariant()
    def agree(self) -> None:
        now_s = self.clock.monotonic()
        snapshot = self.breaker.snapshot()
        assert snapshot.state is self.model.state
        assert (snapshot.retry_after_s == 0) == self.model.admits(now_s)
        change = self.breaker.last_change()
        assert (change.number, change.decision_number) == (self.model.changes, self.model.decision)
        if self.model.state is BreakerState.CLOSED:
            counted = self.model.in_window(now_s)
            assert snapshot.calls == len(counted)
            if counted:
                failures = sum(failed for _, failed, _ in counted)
                slows = sum(slow for _, _, slow in counted)
                assert snapshot.failure_rate == failures / len(counted)
                assert snapshot.slow_rate == slows / len(counted)


BreakerAgainstModel.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
TestBreakerAgainstModel = BreakerAgainstModel.TestCase
