"""Group commit: what concurrent commands share, and what each keeps to itself."""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from eventstore.coalescing import Coalescer, TooManyWaiting
from eventstore.messages import Command, Context, Envelope, Outcome

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TIMEOUT_S = 10.0


class Numbered(Command):
    """A command that can be told from others."""

    def __init__(self, number: int) -> None:
        self.number = number


def envelope(number: int) -> Envelope:
    return Envelope(command=Numbered(number), context=Context(now=NOW))


def number_of(each: Envelope) -> int:
    assert isinstance(each.command, Numbered)
    return each.command.number


class Gate:
    """Executes batches one at a time, each only once it is let through."""

    def __init__(self, fate: Callable[[int], Outcome] | None = None) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Semaphore(0)
        self.opened = threading.Semaphore(0)
        self.fate = fate or (lambda number: Outcome(value=number))

    def execute_many(self, batch: Sequence[Envelope]) -> list[Outcome]:
        self.batches.append([number_of(each) for each in batch])
        self.entered.release()
        assert self.opened.acquire(timeout=TIMEOUT_S)
        return [self.fate(number_of(each)) for each in batch]

    def let_through(self) -> None:
        assert self.entered.acquire(timeout=TIMEOUT_S)
        self.opened.release()


class Caller(threading.Thread):
    """Somebody who executes one command."""

    def __init__(self, coalescer: Coalescer, number: int) -> None:
        super().__init__(daemon=True)
        self.coalescer, self.number = coalescer, number
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.outcome = self.coalescer.execute(envelope(self.number))
        except BaseException as error:
            self.error = error

    def done(self) -> "Caller":
        self.join(TIMEOUT_S)
        assert not self.is_alive()
        return self


def waiting(coalescer: Coalescer, count: int) -> None:
    """Wait until so many commands wait for their turn."""
    reached = threading.Event()
    for _ in range(int(TIMEOUT_S * 1000)):
        if len(coalescer._waiting) == count:
            return
        reached.wait(0.001)
    raise AssertionError(f"{len(coalescer._waiting)} wait, not {count}")


def led(gate: Gate, coalescer: Coalescer, followers: int) -> list[Caller]:
    """Return a caller that executes now, and others that wait behind it, in order."""
    callers = [Caller(coalescer, 0)]
    assert gate.entered.acquire(timeout=TIMEOUT_S)
    gate.entered.release()
    for number in range(1, followers + 1):
        callers.append(Caller(coalescer, number))
        waiting(coalescer, number)
    return callers


def test_a_lone_command_is_executed_at_once_and_alone() -> None:
    seen: list[int] = []

    def execute_many(batch: Sequence[Envelope]) -> list[Outcome]:
        seen.append(len(batch))
        return [Outcome(value=number_of(each)) for each in batch]

    coalescer = Coalescer(execute_many)
    assert [coalescer.execute(envelope(number)).value for number in range(3)] == [0, 1, 2]
    assert seen == [1, 1, 1]


def test_those_who_come_meanwhile_are_executed_together_and_each_gets_its_own_outcome() -> None:
    gate = Gate()
    coalescer = Coalescer(gate.execute_many)
    callers = led(gate, coalescer, 5)
    gate.let_through()
    gate.let_through()
    assert [caller.done().outcome for caller in callers] == [
        Outcome(value=number) for number in range(6)
    ]
    assert gate.batches == [[0], [1, 2, 3, 4, 5]]


def test_a_batch_has_a_bound_and_the_rest_follows_in_order() -> None:
    gate = Gate()
    coalescer = Coalescer(gate.execute_many, batch_size_max=2)
    callers = led(gate, coalescer, 5)
    for _ in range(4):
        gate.let_through()
    assert [caller.done().outcome for caller in callers] == [
        Outcome(value=number) for number in range(6)
    ]
    assert gate.batches == [[0], [1, 2], [3, 4], [5]]


def test_what_stops_the_batch_stops_all_of_it_and_nobody_behind_it() -> None:
    class Away(Exception):
        pass

    def fate(number: int) -> Outcome:
        if number == 1:
            raise Away
        return Outcome(value=number)

    gate = Gate(fate)
    coalescer = Coalescer(gate.execute_many, batch_size_max=2)
    callers = led(gate, coalescer, 3)
    for _ in range(3):
        gate.let_through()
    first, broken, beside, behind = (caller.done() for caller in callers)
    assert (first.outcome, behind.outcome) == (Outcome(value=0), Outcome(value=3))
    assert isinstance(broken.error, Away)
    assert isinstance(beside.error, Away)
    assert gate.batches == [[0], [1, 2], [3]]


def test_the_one_too_many_is_refused_before_anything_of_it_has_happened() -> None:
    gate = Gate()
    coalescer = Coalescer(gate.execute_many, waiting_max=1)
    callers = led(gate, coalescer, 1)
    with pytest.raises(TooManyWaiting):
        coalescer.execute(envelope(9))
    gate.let_through()
    gate.let_through()
    assert [caller.done().error for caller in callers] == [None, None]
    assert gate.batches == [[0], [1]]


def test_who_has_waited_too_long_leaves_and_is_not_executed() -> None:
    gate = Gate()
    coalescer = Coalescer(gate.execute_many, wait_timeout_s=0.01)
    leader = Caller(coalescer, 0)
    assert gate.entered.acquire(timeout=TIMEOUT_S)
    late = Caller(coalescer, 1).done()
    assert isinstance(late.error, TooManyWaiting)
    gate.opened.release()
    assert leader.done().outcome == Outcome(value=0)
    assert gate.batches == [[0]]


def test_after_a_rest_the_next_one_leads_again() -> None:
    gate = Gate()
    coalescer = Coalescer(gate.execute_many)
    for number in range(3):
        caller = Caller(coalescer, number)
        gate.let_through()
        assert caller.done().outcome == Outcome(value=number)
    assert gate.batches == [[0], [1], [2]]
