"""The bulkhead against a plain model, over random histories on a loop whose time stands still."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from resilience import Bulkhead, BulkheadConfig, BulkheadFull, Slot

SIZE = 2
QUEUE_MAX = 3


class StillLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock moves only when told to, and that runs only what is due."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        # It complains about tasks that are lost with it, and refusals that nobody looked at.
        self.set_exception_handler(lambda _loop, _context: None)

    def time(self) -> float:
        return self.now_s

    def run_due(self) -> None:
        """Run until nothing more is due: a few turns are more than any call here needs."""
        for _ in range(5):
            self.run_until_complete(asyncio.sleep(0))


@dataclass(eq=False)
class Caller:
    """One that came, and what the model says of it."""

    task: asyncio.Task[Slot] | None
    slot: Slot | None = None
    ends_s: float = 0.0
    # Its loop is closed: it can never run again.
    is_dead: bool = False


@dataclass
class Model:
    """The bulkhead as one would explain it: who is inside, and who waits in which order."""

    inside: list[Caller] = field(default_factory=list)
    queue: list[Caller] = field(default_factory=list)

    def come(self, caller: Caller, timeout_s: float) -> bool:
        """Let a caller in, or have it wait; False: it is refused."""
        if not self.queue and len(self.inside) < SIZE:
            self.inside.append(caller)
        elif timeout_s > 0 and len(self.queue) < QUEUE_MAX:
            self.queue.append(caller)
        else:
            return False
        return True

    def leave(self, caller: Caller) -> None:
        """Let a caller go, wherever it is, and let the next ones in."""
        for place in (self.inside, self.queue):
            if caller in place:
                place.remove(caller)
        while self.queue and len(self.inside) < SIZE:
            first = self.queue.pop(0)
            if not first.is_dead:
                self.inside.append(first)


class BulkheadAgainstModel(RuleBasedStateMachine):
    """Runs the same history through the bulkhead and the model."""

    callers = Bundle("callers")

    def __init__(self) -> None:
        super().__init__()
        self.bulkhead = Bulkhead("tested", BulkheadConfig(size=SIZE, queue_max=QUEUE_MAX))
        self.model = Model()
        self.loop = StillLoop()
        # A second loop, which may be closed while somebody waits in it.
        self.mortal = StillLoop()
        # Tasks of closed loops, kept so that none is collected at a moment that nobody chose.
        self.lost: list[asyncio.Task[Slot]] = []

    @rule(target=callers, timeout_s=st.sampled_from([0.0, 1.0, 2.0, 3.0]), mortal=st.booleans())
    def come(self, timeout_s: float, mortal: bool) -> Caller:
        loop = self.mortal if mortal else self.loop
        task = loop.create_task(self.bulkhead.acquire_async(timeout_s=timeout_s))
        caller = Caller(task, ends_s=loop.now_s + timeout_s)
        admitted = self.model.come(caller, timeout_s)
        loop.run_due()
        if not admitted:
            with pytest.raises(BulkheadFull):
                task.result()
        return caller

    @rule(target=callers)
    def come_in_a_thread_that_will_not_wait(self) -> Caller:
        caller = Caller(None)
        if self.model.come(caller, 0.0):
            caller.slot = self.bulkhead.acquire(timeout_s=0)
        else:
            with pytest.raises(BulkheadFull):
                self.bulkhead.acquire(timeout_s=0)
        return caller

    @rule(target=callers)
    def try_to_come(self) -> Caller:
        caller = Caller(None)
        caller.slot = self.bulkhead.try_acquire()
        assert (caller.slot is not None) == self.model.come(caller, 0.0)
        return caller

    @rule(caller=callers)
    def leave(self, caller: Caller) -> None:
        slot = self.slot_of(caller)
        if slot is not None:
            slot.release()
            self.model.leave(caller)
            self.run_due()

    @rule(caller=callers)
    def cancel(self, caller: Caller) -> None:
        if caller.task is not None and not caller.task.done() and not caller.is_dead:
            caller.task.cancel()
            self.model.leave(caller)
            self.run_due()
            assert caller.task.cancelled()

    @rule(leaving=callers, cancelled=callers)
    def leave_and_cancel_before_anybody_runs(self, leaving: Caller, cancelled: Caller) -> None:
        slot = self.slot_of(leaving)
        if slot is None or cancelled.task is None or cancelled.task.done() or cancelled.is_dead:
            return
        slot.release()
        cancelled.task.cancel()
        self.model.leave(leaving)
        self.model.leave(cancelled)
        self.run_due()
        assert cancelled.task.cancelled()

    @rule(leaving=callers)
    def leave_as_the_time_of_others_is_up(self, leaving: Caller) -> None:
        slot = self.slot_of(leaving)
        if slot is None:
            return
        self.loop.now_s += 1.0
        self.mortal.now_s += 1.0
        slot.release()
        self.model.leave(leaving)
        self.end_waits()

    @rule()
    def pass_time(self) -> None:
        self.loop.now_s += 1.0
        self.mortal.now_s += 1.0
        self.end_waits()

    @rule()
    def close_a_loop(self) -> None:
        """Those who wait in it keep their place until it is their turn, and are passed over."""
        for caller in self.model.queue:
            if caller.task is not None and caller.task.get_loop() is self.mortal:
                caller.is_dead = True
                self.lost.append(caller.task)
        now_s = self.mortal.now_s
        self.mortal.close()
        self.mortal = StillLoop()
        self.mortal.now_s = now_s

    @invariant()
    def agree(self) -> None:
        snapshot = self.bulkhead.snapshot()
        assert snapshot.active == len(self.model.inside)
        assert snapshot.queued == len(self.model.queue)
        for caller in self.model.inside:
            assert self.slot_of(caller) is not None
        for caller in self.model.queue:
            assert caller.task is not None
            assert not caller.task.done()

    def teardown(self) -> None:
        for caller in [*self.model.queue, *self.model.inside]:
            self.cancel(caller)
            self.leave(caller)
        for task in self.lost:
            task.get_coro().close()
        snapshot = self.bulkhead.snapshot()
        assert (snapshot.active, snapshot.queued) == (0, 0)
        assert all(self.bulkhead.try_acquire() for _ in range(SIZE))
        self.loop.close()
        self.mortal.close()

    def slot_of(self, caller: Caller) -> Slot | None:
        """Return the slot of a caller that was let in, whether or not it has left since."""
        if caller.task is None:
            return caller.slot
        if caller.task.done() and not caller.task.cancelled() and not caller.task.exception():
            return caller.task.result()
        return None

    def end_waits(self) -> None:
        """Those whose time is up leave the queue: the model's and the bulkhead's."""
        for caller in list(self.model.queue):
            if caller.ends_s <= self.loop.now_s and not caller.is_dead:
                self.model.leave(caller)
        self.run_due()

    def run_due(self) -> None:
        self.loop.run_due()
        self.mortal.run_due()


BulkheadAgainstModel.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
TestBulkheadAgainstModel = BulkheadAgainstModel.TestCase
