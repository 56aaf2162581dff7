"""The pool against a plain model, over random histories."""

import gc
from dataclasses import dataclass, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from platform_site.database.config import PoolExhausted
from platform_site.database.lease import Lease
from resilience import FakeClock
from tests.database import tools
from tests.database.tools import Connection, Server, ServerAway

CONFIG = replace(tools.CONFIG, size_max=4, size_min=2)


@dataclass
class Known:
    """What the model knows of a connection that is not lent."""

    connection: Connection
    opened_s: float
    used_s: float


class PoolAgainstModel(RuleBasedStateMachine):
    """Lends and takes back, while connections die, the server comes and goes, and time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.server = Server()
        self.pool = self.server.pool(self.clock, CONFIG)
        self.lent: list[tuple[Lease[Connection], Known]] = []
        # The one used last stands last.
        self.unused: list[Known] = []
        self.doubted_s = float("-inf")
        self.most_at_once = 0

    @property
    def now_s(self) -> float:
        return self.clock.monotonic()

    @rule()
    def borrow(self) -> None:
        refused = len(self.lent) == CONFIG.size_max
        known = self.unused.pop() if self.unused and not refused else None
        expected = known.connection if known and self.may_be_lent(known) else None
        if not refused:
            self.most_at_once = max(self.most_at_once, min(len(self.lent) + 1, CONFIG.size_min))
        try:
            lease = self.pool.borrow(timeout_s=0)
        except PoolExhausted:
            assert refused
            return
        except ServerAway:
            assert expected is None
            assert not self.server.is_up
            self.doubted_s = self.now_s
            return
        assert not refused
        if expected is None:
            assert lease.connection is self.server.opened[-1]
            known = Known(lease.connection, self.now_s, self.now_s)
        assert known
        assert lease.connection is known.connection
        self.lent.append((lease, known))

    def may_be_lent(self, known: Known) -> bool:
        if self.now_s - known.opened_s >= CONFIG.lifetime_s:
            return False
        fresh = self.now_s - known.used_s < CONFIG.check_after_s and known.used_s > self.doubted_s
        if fresh or known.connection.alive:
            return True
        self.doubted_s = self.now_s
        return False

    @precondition(lambda self: self.lent)
    @rule(which=st.integers(min_value=0), reusable=st.booleans())
    def give_back(self, which: int, reusable: bool) -> None:
        lease, known = self.lent.pop(which % len(self.lent))
        self.pool.give_back(lease, reusable=reusable)
        if reusable and not known.connection.alive:
            self.doubted_s = self.now_s
        is_young = self.now_s - known.opened_s < CONFIG.lifetime_s
        if reusable and known.connection.alive and is_young:
            known.used_s = self.now_s
            self.unused.append(known)

    @precondition(lambda self: self.lent)
    @rule(which=st.integers(min_value=0))
    def forget(self, which: int) -> None:
        self.lent.pop(which % len(self.lent))
        gc.collect(0)

    @rule()
    def maintain(self) -> None:
        self.pool.maintain()
        young = [each for each in self.unused if self.now_s - each.opened_s < CONFIG.lifetime_s]
        surplus = len(young) + len(self.lent) - CONFIG.size_min
        while surplus > 0 and young and self.now_s - young[0].used_s >= CONFIG.idle_s:
            del young[0]
            surplus -= 1
        self.unused = young
        missing = self.most_at_once - len(self.lent) - len(young)
        if missing > 0 and not self.server.is_up:
            self.doubted_s = self.now_s
        elif missing > 0:
            opened = self.server.opened[-missing:]
            self.unused += [Known(each, self.now_s, self.now_s) for each in opened]

    @rule(which=st.integers(min_value=0))
    def die(self, which: int) -> None:
        if self.server.opened:
            self.server.opened[which % len(self.server.opened)].alive = False

    @rule()
    def restart(self) -> None:
        self.server.restart()

    @rule(is_up=st.booleans())
    def come_or_go(self, is_up: bool) -> None:
        self.server.is_up = is_up

    @rule(seconds=st.sampled_from([0.1, 0.4, 0.5, 10.0, 299.0, 300.0, 1_000.0, 1_800.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def what_is_lent_was_lent_once_and_is_open(self) -> None:
        connections = [lease.connection for lease, _ in self.lent]
        assert len(set(connections)) == len(connections) <= CONFIG.size_max
        assert not any(connection.closed for connection in connections)

    @invariant()
    def nothing_is_open_that_the_pool_does_not_know(self) -> None:
        snapshot = self.pool.snapshot()
        assert len(self.server.connected) == snapshot.size <= CONFIG.size_max
        assert snapshot.size - snapshot.in_use == len(self.unused)
        assert snapshot.waiting == 0


TestPoolAgainstModel = PoolAgainstModel.TestCase
TestPoolAgainstModel.settings = settings(max_examples=150, stateful_step_count=40)
