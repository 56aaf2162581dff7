"""Lanes in the admin: how they stand, their switches, and what they have parked."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from eventstore.models import Checkpoint, Event, ParkedEvent
from tests.admin import tools
from tests.admin.conftest import Story
from tests.admin.tools import follow_log, rows_of, run_action, staff, superuser, text_of, transfer
from transactions.ledger import account_stream

LANES = "/admin/eventstore/checkpoint/"
PARKED = "/admin/eventstore/parkedevent/"

pytestmark = pytest.mark.django_db


def operator() -> Client:
    """Return a browser of somebody who may steer the lanes."""
    return staff("change_checkpoint", "change_parkedevent")


def lane(name: str) -> Checkpoint:
    return Checkpoint.objects.get(name=name)


def audited(subject: Any) -> list[str]:
    """Return what the admin's log says was done to a row, first things first."""
    entries = LogEntry.objects.filter(
        content_type__model=subject._meta.model_name, object_id=str(subject.pk)
    )
    return [entry.get_change_message() for entry in entries.order_by("id")]


@pytest.fixture
def parked(story: Story) -> list[ParkedEvent]:
    """Three events of one stream that the lane `picky` could not handle."""
    stream = account_stream(story.destination)
    tools.POISON.add(stream)
    for _ in range(3):
        transfer(story.source, story.destination, amount=1)
    follow_log()
    return list(ParkedEvent.objects.order_by("position"))


def test_a_lane_shows_where_it_is_and_how_far_that_is_behind(story: Story) -> None:
    client = superuser()
    assert {row.lane.state for row in rows_of(client.get(LANES)) if row.lane} == {"running"}
    subscriptions_at = lane("picky").position
    Checkpoint.objects.filter(name="picky").update(
        position=subscriptions_at - 2, last_error="ConnectionError: away", owner="host:1:abc"
    )
    late = Event.objects.filter(position=subscriptions_at - 1)
    late.update(occurred_at=late.get().occurred_at - timedelta(days=1))
    row = next(row for row in rows_of(client.get(LANES)) if row.name == "picky")
    assert row.lane.lag_events == 2
    assert 86_400 <= row.lane.lag_s < 86_500
    text = text_of(client.get(LANES))
    for shown in ("failing", "ConnectionError: away", "host:1:abc", "86,4"):
        assert shown in text
    assert "Has a taste of its own." in text_of(client.get(f"{LANES}picky/change/"))


def test_a_lane_is_paused_and_resumed_and_the_log_says_by_whom(story: Story) -> None:
    client = operator()
    assert "Paused: picky." in text_of(run_action(client, LANES, "pause", "picky"))
    assert lane("picky").state == "paused"
    assert lane("entries").state == "running"
    assert "Resumed: picky." in text_of(run_action(client, LANES, "resume", "picky"))
    assert lane("picky").state == "running"
    assert audited(lane("picky")) == ["Paused.", "Resumed."]
    by = set(LogEntry.objects.values_list("user", flat=True))
    assert {str(each) for each in by} == {client.session["_auth_user_id"]}


def test_what_is_no_subscription_has_no_switch(story: Story) -> None:
    text = text_of(run_action(operator(), LANES, "pause", "sequencer", "picky"))
    assert "No subscription, and so without a switch: sequencer." in text
    assert lane("sequencer").state == "running"
    assert lane("picky").state == "paused"
    assert audited(lane("sequencer")) == []


def test_a_reset_asks_for_the_position_first(story: Story) -> None:
    client, before = operator(), lane("picky")
    page = run_action(client, LANES, "reset", "picky")
    assert 'name="position"' in text_of(page)
    assert lane("picky").position == before.position
    run_action(client, LANES, "reset", "picky", apply="yes", position="2")
    assert lane("picky").position == 2
    assert lane("picky").epoch == before.epoch + 1
    assert audited(lane("picky")) == [f"Reset from {before.position} to 2."]


@pytest.mark.parametrize("position", ["", "-1", "1.5", "1000000", "x"])
def test_a_lane_is_not_reset_to_where_no_event_is(story: Story, position: str) -> None:
    client, before = operator(), lane("picky").position
    page = run_action(client, LANES, "reset", "picky", apply="yes", position=position)
    assert page.context["form"].errors
    assert lane("picky").position == before


@pytest.mark.parametrize("action", ["pause", "resume", "reset"])
def test_who_may_only_view_lanes_cannot_steer_them(story: Story, action: str) -> None:
    before = Checkpoint.objects.filter(name="picky").values().get()
    client = staff("view_checkpoint")
    run_action(client, LANES, action, "picky", apply="yes", position="0")
    assert Checkpoint.objects.filter(name="picky").values().get() == before


def test_parked_events_are_found_by_lane_stream_and_position(parked: list[ParkedEvent]) -> None:
    client = operator()
    text = text_of(client.get(LANES))
    assert f"{PARKED}?subscription=picky&resolution=open" in text
    for query in (
        {"subscription": "picky", "resolution": "open"},
        {"q": parked[0].stream},
        {},
    ):
        assert rows_of(client.get(PARKED, query)) == parked[::-1]
    assert rows_of(client.get(PARKED, {"q": str(parked[1].position)})) == [parked[1]]
    assert rows_of(client.get(PARKED, {"resolution": "skipped"})) == []
    text = text_of(client.get(f"{PARKED}{parked[0].pk}/change/"))
    assert "is not to my taste" in text
    assert f"/admin/eventstore/event/?q={parked[0].position}" in text


def test_a_retry_that_fails_again_says_why(parked: list[ParkedEvent]) -> None:
    text = text_of(run_action(operator(), PARKED, "retry", parked[0].pk))
    assert "It failed again: ValueError" in text
    assert ParkedEvent.objects.filter(resolution="").count() == 3
    assert audited(parked[0]) == ["Tried again: 0 events handled."]


def test_a_retry_handles_what_stands_behind_it_too(parked: list[ParkedEvent]) -> None:
    tools.POISON.clear()
    keys = [row.pk for row in parked]
    text = text_of(run_action(operator(), PARKED, "retry", *keys))
    assert "Handled 3 events" in text
    assert not ParkedEvent.objects.filter(resolution="").exists()
    assert audited(parked[0]) == ["Tried again: 3 events handled."]


def test_an_event_behind_another_parked_one_is_not_tried(parked: list[ParkedEvent]) -> None:
    tools.POISON.clear()
    text = text_of(run_action(operator(), PARKED, "retry", parked[1].pk))
    assert "comes first" in text
    assert ParkedEvent.objects.filter(resolution="").count() == 3
    assert audited(parked[1]) == []


def test_an_event_is_skipped_with_a_reason_only(parked: list[ParkedEvent]) -> None:
    client = operator()
    assert 'name="reason"' in text_of(run_action(client, PARKED, "skip", parked[0].pk))
    page = run_action(client, PARKED, "skip", parked[0].pk, apply="yes", reason="  ")
    assert page.context["form"].errors
    assert ParkedEvent.objects.filter(resolution="").count() == 3

    run_action(client, PARKED, "skip", parked[0].pk, apply="yes", reason="A test account.")
    row = ParkedEvent.objects.get(pk=parked[0].pk)
    assert (row.resolution, row.reason) == ("skipped", "A test account.")
    assert audited(row) == ["Skipped: A test account."]
    assert "A test account." in text_of(client.get(PARKED, {"resolution": "skipped"}))


def test_an_event_is_not_skipped_twice(parked: list[ParkedEvent]) -> None:
    client = operator()
    for reason in ("First.", "Second."):
        page = run_action(client, PARKED, "skip", parked[0].pk, apply="yes", reason=reason)
    assert "no open parked event" in text_of(page)
    assert ParkedEvent.objects.get(pk=parked[0].pk).reason == "First."
    assert audited(parked[0]) == ["Skipped: First."]


@pytest.mark.parametrize("action", ["retry", "skip"])
def test_who_may_only_view_parked_events_cannot_resolve_them(
    parked: list[ParkedEvent], action: str
) -> None:
    tools.POISON.clear()
    client = staff("view_parkedevent")
    run_action(client, PARKED, action, parked[0].pk, apply="yes", reason="Because.")
    assert ParkedEvent.objects.filter(resolution="").count() == 3
