"""Writers who meet on one stream, with real threads and transactions that commit."""

from functools import partial

import pytest
from django.db import OperationalError, connection, transaction

from eventstore import subscriptions
from eventstore.middleware.durable import lost_a_race
from eventstore.models import Event as EventRow
from eventstore.sequencer import sequence
from eventstore.store import ConcurrencyConflict, event_store
from tests.eventstore.product import EFFECTS, CounterOpened, CounterRaised
from tests.eventstore.tools import (
    assert_log_is_in_order,
    effects,
    in_threads,
    start_process,
    wait_for,
    write,
    write_log,
)

pytestmark = pytest.mark.django_db(transaction=True)


def raise_to(version: int, by: int) -> int:
    return event_store().save_events(
        "counter-a", [CounterRaised(by=by)], expected_version=version - 1
    )


def is_lost_race(result: object) -> bool:
    """Whether a writer was told to try again; MySQL calls some races a deadlock."""
    return isinstance(result, Exception) and lost_a_race(result)


def test_of_two_writers_of_one_version_exactly_one_wins() -> None:
    write("counter-a")
    for version in range(2, 8):
        results = in_threads(*(partial(raise_to, version, by) for by in (1, 2)))
        won = [result for result in results if result == version]
        lost = [result for result in results if is_lost_race(result)]
        assert (len(won), len(lost)) == (1, 1), results
    assert [record.version for record in event_store().get_events("counter-a")] == [*range(1, 8)]


def test_four_writers_of_one_stream_lose_none_of_what_they_were_told_is_written() -> None:
    def keep_raising(writer: int) -> int:
        written = 0
        while written < 10:
            newest = sum(1 for _ in event_store().get_events("counter-a"))
            try:
                raise_to(newest + 1, by=writer)
            except (ConcurrencyConflict, OperationalError) as error:
                if not is_lost_race(error):
                    raise
            else:
                written += 1
        return written

    assert in_threads(*(partial(keep_raising, writer) for writer in range(4))) == [10] * 4
    sequence()
    assert len(assert_log_is_in_order()) == 40


def test_two_appends_over_the_same_streams_are_never_half_done() -> None:
    streams = ["counter-a", "counter-b"]

    def append(order: list[str], by: int) -> None:
        with transaction.atomic():
            for stream in order:
                event_store().save_events(stream, [CounterRaised(by=by)], expected_version=0)

    for number in range(5):
        names = [f"{stream}-{number}" for stream in streams]
        in_threads(partial(append, names, 1), partial(append, names[::-1], 2))
    data = dict(EventRow.objects.values_list("stream", "data"))
    assert len(data) == 10
    for number in range(5):
        assert len({data[f"{stream}-{number}"] for stream in streams}) == 1


def test_what_is_rolled_back_is_seen_by_nobody(effects_table: None) -> None:
    write("counter-a")
    with transaction.atomic():
        write("counter-a")
        write("counter-ghost")
        transaction.set_rollback(True)
    sequence()
    subscriptions.run(EFFECTS)
    assert [(record.stream, record.version) for record in assert_log_is_in_order()] == [
        ("counter-a", 1)
    ]
    assert effects() == [("counter-a", 1)]


def test_a_process_killed_after_its_commit_loses_nothing(effects_table: None) -> None:
    assert wait_for(start_process("append_and_die", "counter-a")) == [-9]
    sequence()
    subscriptions.run(EFFECTS)
    assert effects() == [("counter-a", 1)]


@pytest.mark.skipif(
    connection.vendor == "sqlite", reason="SQLite has one writer at a time, whatever it writes"
)
def test_an_append_does_not_wait_for_the_sequencer() -> None:
    # Some have their positions already: MySQL locks the gap before the first of all.
    write_log("counter-a")
    write("counter-a", 3)

    def append() -> int:
        return event_store().save_events("counter-b", [CounterOpened()], expected_version=0)

    with transaction.atomic():
        sequence()
        assert in_threads(append) == [1]
    sequence()
    assert len(assert_log_is_in_order()) == 5
