"""Lanes: what they hand over, when their checkpoint moves, and who moves it."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import count

import pytest
from django.db import OperationalError

from eventstore import leases, subscriptions
from eventstore.models import Checkpoint, ParkedEvent
from eventstore.queries import lane_status
from eventstore.records import Record
from eventstore.sequencer import sequence
from eventstore.stores import StoreUnavailable
from eventstore.subscriptions import Subscription
from tests.eventstore.product import EFFECTS, have_effects
from tests.eventstore.tools import effects, expire_lease, write, write_log

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("effects_table")]


def lane(
    handle: Callable[[Sequence[Record]], None],
    *,
    in_transaction: bool = True,
    batch_size_max: int = 500,
) -> Subscription:
    return Subscription(
        name="effects",
        handle=handle,
        in_transaction=in_transaction,
        batch_size_max=batch_size_max,
    )


def position(name: str = "effects") -> int:
    return Checkpoint.objects.get(name=name).position


def test_a_lane_hands_over_every_event_once_and_in_order() -> None:
    write_log("counter-a", "counter-b", "counter-a")
    assert subscriptions.run(EFFECTS) == 3
    assert subscriptions.run(EFFECTS) == 0
    write_log("counter-b")
    assert subscriptions.run(EFFECTS) == 1
    assert effects() == [("counter-a", 1), ("counter-b", 1), ("counter-a", 2), ("counter-b", 2)]
    assert position() == 4


def test_an_event_without_a_position_is_not_handed_over() -> None:
    write_log("counter-a")
    write("counter-b")
    assert subscriptions.run(EFFECTS) == 1
    assert effects() == [("counter-a", 1)]


def test_a_batch_is_never_larger_than_its_bound() -> None:
    write_log(*["counter-a"] * 8)
    sizes: list[int] = []
    subscriptions.run(lane(lambda records: sizes.append(len(records)), batch_size_max=3))
    assert sizes == [3, 3, 2]


def test_a_lane_that_has_caught_up_writes_nothing() -> None:
    assert subscriptions.run(EFFECTS) == 0
    assert not Checkpoint.objects.filter(name="effects").exists()
    write_log("counter-a")
    subscriptions.run(EFFECTS)
    before = Checkpoint.objects.values().get(name="effects")
    assert subscriptions.run(EFFECTS) == 0
    assert Checkpoint.objects.values().get(name="effects") == before


def test_a_lane_stops_in_time_and_goes_on_with_the_next_call() -> None:
    write_log(*["counter-a"] * 6)
    ticks = count()
    slow = lane(have_effects, batch_size_max=1)
    assert subscriptions.run(slow, drain_s=3, clock=lambda: next(ticks)) == 3
    assert position() == 3
    assert subscriptions.run(slow) == 3


def test_a_lane_stops_in_time_also_between_the_events_of_a_batch_with_poison() -> None:
    write_log(*["counter-a", "counter-b"] * 3)

    def handle(records: Sequence[Record]) -> None:
        if len(records) > 1:
            raise ValueError("one of them is poison")

    ticks = count()
    assert subscriptions.run(lane(handle), drain_s=2, clock=lambda: next(ticks)) == 2
    assert position() == 2
    assert Checkpoint.objects.get(name="effects").lease_expires_at is None


def test_effect_and_checkpoint_commit_together_or_not_at_all() -> None:
    write_log("counter-a", "counter-b")

    def handle(records: Sequence[Record]) -> None:
        have_effects(records)
        raise StoreUnavailable("away")

    assert subscriptions.run(lane(handle)) == 0
    assert (effects(), position()) == ([], 0)
    assert subscriptions.run(EFFECTS) == 2
    assert effects() == [("counter-a", 1), ("counter-b", 1)]


def test_a_handler_outside_the_transaction_sees_a_batch_again_that_was_cut_short() -> None:
    write_log("counter-a", "counter-b")
    seen: list[list[int]] = []

    def handle(records: Sequence[Record]) -> None:
        seen.append([record.place for record in records])
        if len(seen) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        subscriptions.run(lane(handle, in_transaction=False))
    assert position() == 0
    # Whoever was interrupted has given the lease back.
    assert subscriptions.run(lane(handle, in_transaction=False)) == 2
    assert seen == [[1, 2], [1, 2]]


@pytest.mark.parametrize("in_transaction", [True, False])
@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailable("away"),
        OperationalError(2006, "server has gone away"),
        ConnectionResetError("reset"),
        TimeoutError("too slow"),
    ],
)
def test_a_store_that_is_away_parks_nothing_and_the_lane_resumes(
    error: Exception, in_transaction: bool
) -> None:
    write_log("counter-a", "counter-b")

    def away(_: Sequence[Record]) -> None:
        raise error

    assert subscriptions.run(lane(away, in_transaction=in_transaction)) == 0
    assert not ParkedEvent.objects.exists()
    status = lane_status()[0]
    assert (status.state, status.position, status.lag_events) == ("failing", 0, 2)
    assert status.last_error == f"{type(error).__name__}: {error}"
    assert subscriptions.run(EFFECTS) == 2
    assert (lane_status()[0].state, lane_status()[0].last_error) == ("running", "")


def test_a_store_that_goes_away_within_a_batch_with_poison_parks_nothing_more() -> None:
    write_log("counter-a", "counter-b", "counter-c")

    def handle(records: Sequence[Record]) -> None:
        if records[0].stream == "counter-a":
            raise ValueError("poison")
        raise StoreUnavailable("away")

    assert subscriptions.run(lane(handle)) == 1
    assert [row.stream for row in ParkedEvent.objects.all()] == ["counter-a"]
    assert position() == 1


def test_a_lane_is_failing_until_it_has_moved() -> None:
    write_log("counter-a")
    states: list[str] = []

    def away(_: Sequence[Record]) -> None:
        states.append(lane_status()[0].state)
        raise StoreUnavailable("away")

    for _ in range(3):
        subscriptions.run(lane(away, in_transaction=False))
    assert states == ["running", "failing", "failing"]


def test_a_store_that_is_away_for_long_stops_no_append_and_the_lane_catches_up_in_batches() -> None:
    sizes: list[int] = []

    def away(_: Sequence[Record]) -> None:
        raise StoreUnavailable("away")

    for _ in range(4):
        write("counter-a", 30)
        sequence()
        assert subscriptions.run(lane(away, in_transaction=False)) == 0
    subscriptions.run(lane(lambda records: sizes.append(len(records)), batch_size_max=50))
    assert sizes == [50, 50, 20]


def test_a_broken_lane_delays_no_other() -> None:
    write_log("counter-a", "counter-b")

    def away(_: Sequence[Record]) -> None:
        raise StoreUnavailable("away")

    broken = Subscription(name="broken", handle=away, in_transaction=False)
    assert subscriptions.run(broken) == 0
    assert subscriptions.run(EFFECTS) == 2


def test_two_workers_do_not_work_on_one_lane() -> None:
    write_log("counter-a")
    assert leases.acquire("effects", owner="worker-1") is not None
    assert subscriptions.run(EFFECTS) == 0
    assert effects() == []


def test_a_worker_that_was_paused_past_its_lease_has_no_further_effect() -> None:
    write_log(*["counter-a"] * 6)
    ticks = count()

    def taken_over_behind_the_first_batch() -> float:
        tick = next(ticks)
        if tick == 1:
            expire_lease("effects")
            assert subscriptions.run(lane(have_effects)) == 4
        return 0.0

    handled: list[int] = []

    def handle(records: Sequence[Record]) -> None:
        handled.append(len(records))
        have_effects(records)

    zombie = lane(handle, batch_size_max=2)
    # It comes to its end without an error, and without having moved what is another's now.
    assert subscriptions.run(zombie, clock=taken_over_behind_the_first_batch) == 2
    assert handled == [2]
    assert effects() == [("counter-a", version) for version in range(1, 7)]
    assert position() == 6


def test_a_worker_that_was_overtaken_while_it_handled_does_not_move_the_checkpoint() -> None:
    write_log(*["counter-a"] * 3)

    def handle(_: Sequence[Record]) -> None:
        expire_lease("effects")
        assert leases.acquire("effects", owner="another") is not None

    assert subscriptions.run(lane(handle, in_transaction=False)) == 0
    checkpoint = Checkpoint.objects.get(name="effects")
    assert (checkpoint.position, checkpoint.owner) == (0, "another")
    assert not ParkedEvent.objects.exists()


def test_the_lag_of_a_lane_is_told_in_events_and_seconds() -> None:
    records = write_log("counter-a", "counter-b", "counter-c")
    subscriptions.run(lane(have_effects, batch_size_max=1), drain_s=0)
    now = records[1].occurred_at + timedelta(seconds=90)
    status = lane_status(now=now)[0]
    assert (status.name, status.position, status.head, status.lag_events) == ("effects", 1, 3, 2)
    assert status.lag_s == 90
