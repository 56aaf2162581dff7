"""The switches of a lane: pause, resume and reset, also while somebody works on it."""

from collections.abc import Sequence

import pytest

from eventstore import subscriptions
from eventstore.errors import InvalidInput
from eventstore.queries import lane_status
from eventstore.records import Record
from tests.eventstore.product import EFFECTS
from tests.eventstore.test_subscriptions import lane, position
from tests.eventstore.tools import effects, write_log

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("effects_table")]


def test_a_paused_lane_stands_still_and_goes_on_at_once_when_it_is_resumed() -> None:
    write_log("counter-a")
    subscriptions.pause("effects")
    assert subscriptions.run(EFFECTS) == 0
    assert lane_status()[0].state == "paused"
    subscriptions.resume("effects")
    assert subscriptions.run(EFFECTS) == 1


def test_a_lane_that_is_paused_while_it_works_is_free_when_it_is_resumed() -> None:
    write_log("counter-a", "counter-b")

    def handle(_: Sequence[Record]) -> None:
        subscriptions.pause("effects")

    assert subscriptions.run(lane(handle, in_transaction=False)) == 0
    assert position() == 0
    subscriptions.resume("effects")
    assert subscriptions.run(EFFECTS) == 2


def test_a_lane_that_is_reset_handles_events_again() -> None:
    write_log(*["counter-a"] * 3)
    subscriptions.run(EFFECTS)
    subscriptions.reset("effects", to=1)
    assert subscriptions.run(EFFECTS) == 2
    assert [version for _, version in effects()] == [1, 2, 3, 2, 3]


def test_whoever_works_on_a_lane_that_is_reset_loses_it() -> None:
    write_log(*["counter-a"] * 3)

    def handle(_: Sequence[Record]) -> None:
        subscriptions.reset("effects", to=0)

    assert subscriptions.run(lane(handle, in_transaction=False)) == 0
    assert position() == 0
    assert subscriptions.run(EFFECTS) == 3


@pytest.mark.parametrize("to", [-1, 4, 1_000_000])
def test_a_lane_cannot_be_put_where_it_would_skip_what_is_yet_to_come(to: int) -> None:
    write_log(*["counter-a"] * 3)
    subscriptions.run(EFFECTS)
    with pytest.raises(InvalidInput, match="positions 0 to 3"):
        subscriptions.reset("effects", to=to)
    assert position() == 3
    subscriptions.reset("effects", to=3)
