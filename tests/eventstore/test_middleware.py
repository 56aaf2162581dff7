"""What a batch passes around its handlers: validation, the transaction, the audit line."""

import logging
from collections.abc import Sequence

import pytest
from django.db import OperationalError, connection

from eventstore.bus import CommandBus, Execute
from eventstore.errors import InvalidInput
from eventstore.messages import Context, Envelope, Outcome
from eventstore.middleware.audit import audit
from eventstore.middleware.durable import durable, lost_a_race
from eventstore.middleware.validation import validation
from eventstore.models import Event as EventRow
from eventstore.store import ConcurrencyConflict, event_store
from tests.eventstore.product import (
    BUG,
    FULL,
    NOON,
    CounterIsFull,
    RaiseCounter,
    begin,
    raise_counter,
)
from tests.eventstore.tools import in_threads

COMMANDS = CommandBus(
    handlers={RaiseCounter: raise_counter}, begin=begin, middleware=(audit, validation, durable)
)


def envelope(counter: str = "counter-a", by: int = 1) -> Envelope:
    return Envelope(
        command=RaiseCounter(counter=counter, by=by),
        context=Context(now=NOON, request_id="r-1"),
    )


@pytest.mark.django_db
def test_a_command_that_cannot_be_right_is_refused_and_the_others_stay_a_batch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outcomes = COMMANDS.execute_many([envelope(by=1), envelope(by=0), envelope(by=2)])
    assert [outcome.value for outcome in outcomes] == [1, None, 3]
    assert isinstance(outcomes[1].error, InvalidInput)
    assert "executing each alone" not in caplog.text


def test_a_batch_of_nothing_but_wrong_commands_opens_no_transaction() -> None:
    # Without a mark for the database, any query fails this test.
    outcomes = COMMANDS.execute_many([envelope(by=0)] * 3)
    assert [type(outcome.error) for outcome in outcomes] == [InvalidInput] * 3


@pytest.mark.django_db(transaction=True)
def test_a_batch_commits_as_one() -> None:
    outcomes = COMMANDS.execute_many(
        [envelope("counter-a", 5), envelope("counter-b", FULL + 1), envelope("counter-a", 2)]
    )
    assert [outcome.value for outcome in outcomes] == [5, None, 7]
    assert isinstance(outcomes[1].error, CounterIsFull)
    assert set(EventRow.objects.values_list("stream", flat=True)) == {"counter-a"}


@pytest.mark.django_db(transaction=True)
def test_nothing_stands_of_a_transaction_that_failed() -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        COMMANDS.execute(envelope(by=BUG))
    outcomes = COMMANDS.execute_many([envelope("counter-b", BUG), envelope("counter-c", 1)])
    assert outcomes[0].error is not None
    assert outcomes[1].value == 1
    assert set(EventRow.objects.values_list("stream", flat=True)) == {"counter-c"}


@pytest.mark.django_db(transaction=True)
def test_a_race_that_was_lost_is_decided_anew_on_what_the_winner_left() -> None:
    COMMANDS.execute(envelope(by=1))
    attempts: list[int] = []

    def overtaken_once(proceed: Execute) -> Execute:
        def execute(batch: Sequence[Envelope]) -> list[Outcome]:
            attempts.append(len(batch))
            outcomes = proceed(batch)
            if len(attempts) == 1:
                raise ConcurrencyConflict("another was faster")
            return outcomes

        return execute

    bus = CommandBus(
        handlers={RaiseCounter: raise_counter}, begin=begin, middleware=(durable, overtaken_once)
    )
    assert bus.execute(envelope(by=2)).value == 3
    assert attempts == [1, 1]
    assert len(list(event_store().get_events("counter-a"))) == 3


@pytest.mark.django_db(transaction=True)
def test_concurrent_commands_on_one_counter_all_count() -> None:
    results = in_threads(*[lambda: COMMANDS.execute(envelope()).value] * 6)
    assert sorted(result for result in results if isinstance(result, int)) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (ConcurrencyConflict("x"), True),
        (OperationalError(1213, "Deadlock found"), True),
        (OperationalError(1205, "Lock wait timeout exceeded"), True),
        (OperationalError("database is locked"), True),
        (OperationalError(2006, "server has gone away"), False),
        (OperationalError("no such table"), False),
        (OperationalError(), False),
        (RuntimeError("database is locked"), False),
    ],
)
def test_only_what_another_has_won_is_a_lost_race(error: Exception, *, lost: bool) -> None:
    assert bool(lost_a_race(error)) is lost


@pytest.mark.django_db(transaction=True)
def test_what_is_no_lost_race_is_not_tried_again() -> None:
    attempts = 0

    def gone(_: Execute) -> Execute:
        def execute(_: Sequence[Envelope]) -> list[Outcome]:
            nonlocal attempts
            attempts += 1
            raise OperationalError(2006, "server has gone away")

        return execute

    bus = CommandBus(
        handlers={RaiseCounter: raise_counter}, begin=begin, middleware=(durable, gone)
    )
    with pytest.raises(OperationalError):
        bus.execute(envelope())
    assert attempts == 1


@pytest.mark.django_db(transaction=True)
def test_a_race_that_is_lost_again_and_again_is_told_to_the_client() -> None:
    attempts = 0

    def always_late(_: Execute) -> Execute:
        def execute(_: Sequence[Envelope]) -> list[Outcome]:
            nonlocal attempts
            attempts += 1
            assert connection.in_atomic_block
            raise ConcurrencyConflict("another was faster")

        return execute

    bus = CommandBus(
        handlers={RaiseCounter: raise_counter}, begin=begin, middleware=(durable, always_late)
    )
    with pytest.raises(ConcurrencyConflict):
        bus.execute(envelope())
    assert attempts == 7


@pytest.mark.django_db
def test_the_audit_tells_of_each_command_and_nothing_of_its_contents(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="eventstore.audit")
    COMMANDS.execute_many([envelope("counter-secret"), envelope("counter-secret", FULL)])
    with pytest.raises(RuntimeError):
        COMMANDS.execute(envelope(by=BUG))
    lines = [record for record in caplog.records if record.name == "eventstore.audit"]
    assert [line.getMessage() for line in lines] == [
        "RaiseCounter executed",
        "RaiseCounter counter_is_full",
        "RaiseCounter RuntimeError",
    ]
    assert [line.levelname for line in lines] == ["DEBUG", "INFO", "INFO"]
    assert {line.__dict__["request_id"] for line in lines} == {"r-1"}
    assert "secret" not in " ".join(line.getMessage() for line in lines)
