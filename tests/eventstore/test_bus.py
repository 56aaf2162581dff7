"""Commands on their way to their handlers, alone and in batches; and queries on theirs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from django.dispatch import Signal

from eventstore import bus
from eventstore.bus import (
    BATCH_SIZE_MAX,
    CommandBus,
    CommandFailed,
    Execute,
    Middleware,
    NoHandler,
)
from eventstore.errors import PlatformError
from eventstore.messages import Command, Context, Envelope, Outcome
from eventstore.store import ConcurrencyConflict
from tests.eventstore.product import NOON

CONTEXT = Context(now=NOON)


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Command):
    """Add a number; 13 is refused, 666 is a bug."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unheard(Command):
    """A command that nobody serves."""


class Unlucky(PlatformError):
    """The number is 13."""

    code = "unlucky"


class Numbers:
    """What is written, and the units of work that were begun for it."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.begun: list[list[int]] = []

    def begin(self, batch: Sequence[Envelope]) -> "Unit":
        self.begun.append([number(envelope) for envelope in batch])
        return Unit(self.written)


class Unit:
    """A unit of work in memory."""

    def __init__(self, written: list[int]) -> None:
        self._written = written
        self.staged: list[int] = []

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        before = len(self.staged)
        try:
            yield
        except Exception:
            del self.staged[before:]
            raise

    def flush(self) -> None:
        self._written.extend(self.staged)


def number(envelope: Envelope) -> int:
    assert isinstance(envelope.command, Add)
    return envelope.command.number


def add(command: Add, unit: Unit, context: Context) -> int:
    unit.staged.append(command.number)
    if command.number == 13:
        raise Unlucky("Take another one.")
    if command.number == 666:
        raise RuntimeError("a bug")
    return sum(unit.staged)


@pytest.fixture
def numbers() -> Numbers:
    return Numbers()


def bus_of(numbers: Numbers, *middleware: Middleware) -> CommandBus:
    return CommandBus(handlers={Add: add}, begin=numbers.begin, middleware=middleware)


def batch(*numbers: int) -> list[Envelope]:
    return [Envelope(command=Add(number=number), context=CONTEXT) for number in numbers]


@pytest.fixture
def told() -> Iterator[list[tuple[str, int, object]]]:
    """What the lifecycle signals have said: (signal, number, what became of it)."""
    heard: list[tuple[str, int, object]] = []

    def executing(envelope: Envelope, **_: Any) -> None:
        heard.append(("executing", number(envelope), None))

    def executed(envelope: Envelope, outcome: Outcome, **_: Any) -> None:
        heard.append(("executed", number(envelope), outcome.value))

    def failed(envelope: Envelope, error: Exception, **_: Any) -> None:
        heard.append(("failed", number(envelope), type(error)))

    listeners: dict[Signal, Callable[..., None]] = {
        bus.command_executing: executing,
        bus.command_executed: executed,
        bus.command_failed: failed,
    }
    for signal, listener in listeners.items():
        signal.connect(listener, sender=Add)
    yield heard
    for signal, listener in listeners.items():
        signal.disconnect(listener, sender=Add)


def test_a_command_is_a_batch_of_one(numbers: Numbers) -> None:
    outcome = bus_of(numbers).execute(batch(7)[0])
    assert outcome.value == 7
    assert (numbers.written, numbers.begun) == ([7], [[7]])


def test_a_refused_command_raises_its_error(numbers: Numbers) -> None:
    with pytest.raises(Unlucky, match="Take another one"):
        bus_of(numbers).execute(batch(13)[0])
    assert numbers.written == []


def test_a_batch_is_decided_in_order_in_one_unit_and_each_sees_those_before_it(
    numbers: Numbers,
) -> None:
    outcomes = bus_of(numbers).execute_many(batch(1, 2, 3))
    assert [outcome.value for outcome in outcomes] == [1, 3, 6]
    assert numbers.begun == [[1, 2, 3]]


def test_a_refusal_touches_nobody_else_in_the_batch(numbers: Numbers) -> None:
    outcomes = bus_of(numbers).execute_many(batch(1, 13, 3))
    assert [outcome.value for outcome in outcomes] == [1, None, 4]
    assert isinstance(outcomes[1].error, Unlucky)
    assert (numbers.written, numbers.begun) == ([1, 3], [[1, 13, 3]])


def test_an_unexpected_exception_lets_each_command_be_executed_alone(numbers: Numbers) -> None:
    outcomes = bus_of(numbers).execute_many(batch(1, 666, 13, 3))
    assert [outcome.value for outcome in outcomes] == [1, None, None, 3]
    assert isinstance(outcomes[1].error, CommandFailed)
    assert isinstance(outcomes[1].error.__cause__, RuntimeError)
    assert "a bug" not in outcomes[1].error.detail
    assert isinstance(outcomes[2].error, Unlucky)
    assert numbers.written == [1, 3]
    assert numbers.begun == [[1, 666, 13, 3], [1], [666], [13], [3]]


def test_an_unexpected_exception_of_a_single_command_is_raised(numbers: Numbers) -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        bus_of(numbers).execute_many(batch(666))
    assert numbers.begun == [[666]]


@pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("gone")])
def test_a_batch_is_not_tried_one_by_one_when_the_database_is_away(
    numbers: Numbers, error: Exception, told: list[tuple[str, int, object]]
) -> None:
    calls = 0

    def away(_: Execute) -> Execute:
        def execute(_: Sequence[Envelope]) -> list[Outcome]:
            nonlocal calls
            calls += 1
            raise error

        return execute

    with pytest.raises(type(error)):
        bus_of(numbers, away).execute_many(batch(1, 2, 3))
    assert calls == 1
    assert told[3:] == [("failed", each, type(error)) for each in (1, 2, 3)]


def test_a_race_that_a_member_loses_alone_keeps_its_name(numbers: Numbers) -> None:
    def race(proceed: Execute) -> Execute:
        def execute(batch: Sequence[Envelope]) -> list[Outcome]:
            if any(number(envelope) == 2 for envelope in batch):
                raise ConcurrencyConflict("another was faster")
            return proceed(batch)

        return execute

    outcomes = bus_of(numbers, race).execute_many(batch(1, 2, 3))
    assert [type(outcome.error) for outcome in outcomes] == [
        type(None),
        ConcurrencyConflict,
        type(None),
    ]


def test_a_command_without_a_handler_fails_before_anything_has_run(
    numbers: Numbers, told: list[tuple[str, int, object]]
) -> None:
    ran: list[int] = []

    def note(proceed: Execute) -> Execute:
        def execute(batch: Sequence[Envelope]) -> list[Outcome]:
            ran.append(len(batch))
            return proceed(batch)

        return execute

    unheard = Envelope(command=Unheard(), context=CONTEXT)
    with pytest.raises(NoHandler, match="no handler for Unheard"):
        bus_of(numbers, note).execute_many([*batch(1, 2), unheard])
    assert (numbers.begun, numbers.written, ran, told) == ([], [], [], [])


def test_a_batch_holds_a_thousand_commands_and_not_one_more(numbers: Numbers) -> None:
    assert BATCH_SIZE_MAX == 1000
    assert len(bus_of(numbers).execute_many(batch(*[1] * 1000))) == 1000
    with pytest.raises(ValueError, match="at most 1000"):
        bus_of(numbers).execute_many(batch(*[1] * 1001))
    assert len(numbers.written) == 1000


def test_middleware_is_passed_from_the_outside_in_and_back(numbers: Numbers) -> None:
    passed: list[str] = []

    def named(name: str) -> Middleware:
        def middleware(proceed: Execute) -> Execute:
            def execute(batch: Sequence[Envelope]) -> list[Outcome]:
                passed.append(f"before {name}")
                outcomes = proceed(batch)
                passed.append(f"after {name}")
                return outcomes

            return execute

        return middleware

    bus_of(numbers, named("outer"), named("inner")).execute(batch(1)[0])
    assert passed == ["before outer", "before inner", "after inner", "after outer"]


def test_signals_tell_what_becomes_of_each_command(
    numbers: Numbers, told: list[tuple[str, int, object]]
) -> None:
    bus_of(numbers).execute_many(batch(1, 13))
    assert told == [
        ("executing", 1, None),
        ("executing", 13, None),
        ("executed", 1, 1),
        ("failed", 13, Unlucky),
    ]


def test_signals_tell_each_fate_once_when_a_batch_is_executed_one_by_one(
    numbers: Numbers, told: list[tuple[str, int, object]]
) -> None:
    bus_of(numbers).execute_many(batch(1, 666))
    assert told == [
        ("executing", 1, None),
        ("executing", 666, None),
        ("executed", 1, 1),
        ("failed", 666, CommandFailed),
    ]


def test_a_bug_of_a_single_command_is_told_too(
    numbers: Numbers, told: list[tuple[str, int, object]]
) -> None:
    with pytest.raises(RuntimeError):
        bus_of(numbers).execute(batch(666)[0])
    assert told == [("executing", 666, None), ("failed", 666, RuntimeError)]


def test_an_observer_that_fails_fails_no_command(numbers: Numbers) -> None:
    def broken(**_: Any) -> None:
        raise RuntimeError("an observer's own trouble")

    for signal in (bus.command_executing, bus.command_executed):
        signal.connect(broken, sender=Add)
    try:
        assert bus_of(numbers).execute(batch(5)[0]).value == 5
    finally:
        for signal in (bus.command_executing, bus.command_executed):
            assert signal.disconnect(broken, sender=Add)
