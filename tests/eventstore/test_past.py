"""The version of a stream at an instant, however long it is, and the state that few events make."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventstore import marks
from eventstore.aggregates import take_snapshots
from eventstore.messages import Event
from eventstore.models import Event as EventRow
from eventstore.past import Instant, states_at, versions_at
from eventstore.sequencer import sequence
from eventstore.store import event_store
from tests.eventstore.product import COUNTER, NOON, CounterOpened, CounterRaised
from tests.eventstore.tools import write, write_log

pytestmark = pytest.mark.django_db

LONG = 500


def write_at(stream: str, *microseconds: int) -> None:
    """Append an event to a new stream at each of these instants behind noon."""
    for version, each in enumerate(microseconds):
        event: Event = CounterRaised() if version else CounterOpened(label=stream)
        at = NOON + timedelta(microseconds=each)
        event_store().save_events(stream, [event], expected_version=version, now=lambda at=at: at)  # type: ignore[misc]


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    times=st.lists(
        st.lists(st.integers(0, 30), min_size=1, max_size=12).map(sorted), min_size=1, max_size=3
    ),
    at=st.integers(-1, 31),
)
def test_a_version_is_the_last_one_not_behind_the_instant(times: list[list[int]], at: int) -> None:
    EventRow.objects.all().delete()
    for number, each in enumerate(times):
        write_at(f"counter-{number}", *each)
    newest = {f"counter-{number}": len(each) for number, each in enumerate(times)}
    expected = {
        f"counter-{number}": sum(1 for one in each if one <= at)
        for number, each in enumerate(times)
        if each[0] <= at
    }
    instant = Instant(time=NOON + timedelta(microseconds=at))
    assert versions_at(newest, instant) == expected
    states = states_at(COUNTER, newest, instant)
    assert {stream: state.version for stream, state in states.items()} == expected


def test_a_long_stream_is_searched_in_few_statements(
    django_assert_max_num_queries: object,
) -> None:
    write("counter-a", LONG)
    write("counter-b", LONG)
    sequence()
    newest = {"counter-a": LONG, "counter-b": LONG}
    for position in (1, 2, LONG - 1, LONG, LONG + 1, 2 * LONG - 1, 2 * LONG):
        with django_assert_max_num_queries(6):  # type: ignore[operator]
            found = versions_at(newest, Instant(position=position))
        behind = {"counter-b": position - LONG} if position > LONG else {}
        assert found == {"counter-a": min(position, LONG), **behind}


def test_a_state_of_a_long_stream_is_that_of_its_version_with_and_without_snapshots() -> None:
    write_log(*["counter-a"] * 250)
    for _ in range(2):
        for position in (1, 3, 99, 100, 101, 249, 250):
            [state] = states_at(COUNTER, {"counter-a": 250}, Instant(position=position)).values()
            assert (state.version, state.total) == (position, position - 1)
        take_snapshots([COUNTER], every_events=100)


def test_the_newest_instant_up_to_a_position_is_found_whatever_the_clocks_said() -> None:
    offsets = [0, 9, 3, 4, 20, 5, 6, 7, 8, 30]
    for number, each in enumerate(offsets):
        write_at(f"counter-{number}", each)
        sequence()
    for _ in range(2):
        for position in range(1, 11):
            newest = marks.newest_time(upto=position, head=10)
            assert newest == NOON + timedelta(microseconds=max(offsets[:position]))
        assert marks.mark_log(every_events=4) in {0, 2}
    assert marks.mark_before(3).position == 0
    assert marks.mark_before(7) == marks.Mark(
        position=4, newest_time=NOON + timedelta(microseconds=9)
    )
    assert marks.mark_log(every_events=4) == 0


def test_positions_rise_with_the_versions_of_a_stream() -> None:
    write_log("counter-a", "counter-b", "counter-a", "counter-b", "counter-a")
    positions = [record.place for record in event_store().get_events("counter-a")]
    assert all(one < other for one, other in pairwise(positions))
