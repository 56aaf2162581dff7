"""Poison: it parks its stream in its lane, and an operator retries it or gives it up."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.db import connection

from eventstore import subscriptions
from eventstore.models import Event as EventRow
from eventstore.models import ParkedEvent
from eventstore.parked import ParkedEventNotFound
from eventstore.queries import lane_status, parked_in
from eventstore.records import Record
from eventstore.sequencer import sequence
from eventstore.subscriptions import Subscription, retry_parked, skip_parked
from tests.eventstore.product import EFFECTS, POISON, have_effects
from tests.eventstore.tools import effects, in_threads, write

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("effects_table")]


@pytest.fixture
def poisoned() -> None:
    """`counter-a` has poison at its version 2, and `counter-b` none."""
    POISON.add("poison")
    write("counter-a")
    write("counter-b")
    write("counter-a", note="poison")
    write("counter-b")
    write("counter-a")
    sequence()


def parked() -> list[tuple[str, int, str]]:
    rows = ParkedEvent.objects.filter(resolution="").order_by("position")
    return [(row.stream, row.position, row.error) for row in rows]


def parked_id(position: int) -> int:
    return ParkedEvent.objects.get(position=position).pk


BEHIND = "An earlier event of this stream is parked."


@pytest.mark.usefixtures("poisoned")
def test_poison_parks_its_stream_from_there_on_and_the_others_flow() -> None:
    assert subscriptions.run(EFFECTS) == 5
    assert effects() == [("counter-a", 1), ("counter-b", 1), ("counter-b", 2)]
    assert parked() == [("counter-a", 3, "Poison: poison"), ("counter-a", 5, BEHIND)]
    assert set(parked_in(["effects"], ["counter-a", "counter-b"])) == {("effects", "counter-a")}
    assert lane_status()[0].parked == 2


@pytest.mark.usefixtures("poisoned")
def test_later_events_of_a_parked_stream_stand_behind_it_and_the_others_stay_a_batch() -> None:
    subscriptions.run(EFFECTS)
    sizes: list[int] = []

    def handle(records: Sequence[Record]) -> None:
        sizes.append(len(records))
        have_effects(records)

    for stream in ("counter-a", "counter-b", "counter-a", "counter-c"):
        write(stream)
    sequence()
    lane = Subscription(name="effects", handle=handle, in_transaction=True)
    assert subscriptions.run(lane) == 4
    assert sizes == [2]
    assert effects()[3:] == [("counter-b", 3), ("counter-c", 1)]
    assert [(stream, error) for stream, _, error in parked()[1:]] == [("counter-a", BEHIND)] * 3


@pytest.mark.usefixtures("poisoned")
def test_poison_of_one_lane_flows_in_another() -> None:
    subscriptions.run(EFFECTS)
    seen: list[int] = []
    other = Subscription(
        name="other",
        handle=lambda records: seen.extend(record.place for record in records),
        in_transaction=False,
    )
    assert subscriptions.run(other) == 5
    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.usefixtures("poisoned")
def test_poison_outside_a_transaction_is_parked_too() -> None:
    lane = Subscription(name="effects", handle=have_effects, in_transaction=False)
    assert subscriptions.run(lane) == 5
    assert [position for _, position, _ in parked()] == [3, 5]


@pytest.mark.usefixtures("poisoned")
def test_a_parked_stream_is_retried_in_order_up_to_its_end() -> None:
    subscriptions.run(EFFECTS)
    POISON.clear()
    assert retry_parked(EFFECTS, parked_id(3)) == 2
    assert [each for each in effects() if each[0] == "counter-a"] == [
        ("counter-a", 1),
        ("counter-a", 2),
        ("counter-a", 3),
    ]
    assert parked() == []
    resolved = ParkedEvent.objects.get(position=3)
    assert resolved.resolution == ParkedEvent.Resolution.RETRIED
    assert resolved.resolved_at is not None
    write("counter-a")
    sequence()
    assert subscriptions.run(EFFECTS) == 1
    assert effects()[-1] == ("counter-a", 4)


@pytest.mark.usefixtures("poisoned")
def test_a_retry_that_fails_again_says_why_and_has_no_effect() -> None:
    subscriptions.run(EFFECTS)
    before = effects()
    POISON.add("poison")
    ParkedEvent.objects.filter(position=3).update(error="of yesterday")
    assert retry_parked(EFFECTS, parked_id(3)) == 0
    assert effects() == before
    assert parked() == [("counter-a", 3, "Poison: poison"), ("counter-a", 5, BEHIND)]


def test_a_retry_stops_at_the_first_event_that_fails() -> None:
    POISON.update({"first", "second"})
    for note in ("", "first", "", "second", ""):
        write("counter-a", note=note)
    sequence()
    subscriptions.run(EFFECTS)
    POISON.remove("first")
    assert retry_parked(EFFECTS, parked_id(2)) == 2
    assert [version for _, version in effects()] == [1, 2, 3]
    assert [(position, error) for _, position, error in parked()] == [
        (4, "Poison: second"),
        (5, BEHIND),
    ]


@pytest.mark.usefixtures("poisoned")
def test_an_event_behind_a_parked_one_is_neither_retried_nor_skipped_before_it() -> None:
    subscriptions.run(EFFECTS)
    POISON.clear()
    with pytest.raises(ParkedEventNotFound, match=f"Event {parked_id(3)} of the same stream"):
        retry_parked(EFFECTS, parked_id(5))
    with pytest.raises(ParkedEventNotFound, match="comes first"):
        skip_parked("effects", parked_id(5), reason="impatience")
    assert len(parked()) == 2


@pytest.mark.usefixtures("poisoned")
def test_an_event_is_skipped_for_a_reason_and_what_stands_behind_it_is_then_retried() -> None:
    subscriptions.run(EFFECTS)
    skip_parked("effects", parked_id(3), reason="a test of ours")
    skipped = ParkedEvent.objects.get(position=3)
    assert (skipped.resolution, skipped.reason) == ("skipped", "a test of ours")
    assert skipped.resolved_at is not None
    assert retry_parked(EFFECTS, parked_id(5)) == 1
    assert [version for stream, version in effects() if stream == "counter-a"] == [1, 3]
    assert parked() == []


@pytest.mark.usefixtures("poisoned")
def test_what_is_dealt_with_cannot_be_dealt_with_again() -> None:
    subscriptions.run(EFFECTS)
    skip_parked("effects", parked_id(3), reason="enough")
    with pytest.raises(ParkedEventNotFound, match="no open parked event"):
        skip_parked("effects", parked_id(3), reason="enough")
    with pytest.raises(ParkedEventNotFound):
        retry_parked(EFFECTS, parked_id(3))
    with pytest.raises(ParkedEventNotFound):
        retry_parked(EFFECTS, 987_654)
    with pytest.raises(ParkedEventNotFound):
        skip_parked("another lane", parked_id(5), reason="enough")


@pytest.mark.usefixtures("poisoned")
def test_what_was_skipped_and_fails_again_behind_a_reset_is_parked_again() -> None:
    subscriptions.run(EFFECTS)
    skip_parked("effects", parked_id(3), reason="enough")
    assert retry_parked(EFFECTS, parked_id(5)) == 1
    subscriptions.reset("effects", to=0)
    subscriptions.run(EFFECTS)
    assert parked() == [("counter-a", 3, "Poison: poison"), ("counter-a", 5, BEHIND)]
    again = ParkedEvent.objects.get(position=3)
    assert (again.reason, again.resolved_at) == ("", None)
    POISON.clear()
    assert retry_parked(EFFECTS, parked_id(3)) == 2


@pytest.mark.usefixtures("poisoned")
def test_what_is_parked_stays_so_behind_a_reset_with_what_comes_before_it() -> None:
    subscriptions.run(EFFECTS)
    subscriptions.reset("effects", to=0)
    subscriptions.run(EFFECTS)
    assert [(stream, position) for stream, position, _ in parked()] == [
        ("counter-a", 1),
        ("counter-a", 3),
        ("counter-a", 5),
    ]
    # It keeps what was wrong with it.
    assert parked()[1][2] == "Poison: poison"


@pytest.mark.usefixtures("poisoned")
def test_a_parked_event_that_is_gone_from_the_log_is_not_retried() -> None:
    subscriptions.run(EFFECTS)
    EventRow.objects.filter(position=3).delete()
    POISON.clear()
    assert retry_parked(EFFECTS, parked_id(3)) == 0
    assert parked()[0][2].startswith("LogBroken: The event at position 3")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("poisoned")
def test_of_two_operators_who_retry_an_event_at_once_one_has_the_effect() -> None:
    subscriptions.run(EFFECTS)
    POISON.clear()
    first = parked_id(3)
    results = in_threads(*[lambda: retry_parked(EFFECTS, first)] * 2)
    numbers = [each if isinstance(each, int) else 0 for each in results]
    assert sum(numbers) == 2, results
    assert all(isinstance(each, int | ParkedEventNotFound) for each in results), results
    assert [version for stream, version in effects() if stream == "counter-a"] == [1, 2, 3]


@pytest.mark.usefixtures("poisoned")
def test_a_retry_that_another_has_begun_before_has_no_effect() -> None:
    subscriptions.run(EFFECTS)
    POISON.clear()
    before = effects()

    def come_first(
        execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        if sql.startswith("SAVEPOINT"):
            ParkedEvent.objects.filter(position=3).update(resolution="skipped")
        return execute(sql, params, many, context)

    first = parked_id(3)
    with connection.execute_wrapper(come_first):
        assert retry_parked(EFFECTS, first) == 0
    assert effects() == before
    assert [position for _, position, _ in parked()] == [5]


def test_an_error_of_any_length_is_parked() -> None:
    write("counter-a")
    sequence()

    def handle(_: Sequence[Record]) -> None:
        raise ValueError("x" * 100_000)

    subscriptions.run(Subscription(name="effects", handle=handle, in_transaction=True))
    assert len(parked()[0][2]) == 2000
