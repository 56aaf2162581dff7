"""`manage.py subscriptions`: what operators see and do."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from eventstore import subscriptions
from eventstore.management.commands import subscriptions as command
from eventstore.models import Checkpoint, ParkedEvent
from eventstore.sequencer import sequence
from tests.eventstore.product import EFFECTS, POISON
from tests.eventstore.tools import effects, write, write_log

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("effects_table")]


def run(*arguments: object) -> str:
    """Run the command; return what it wrote on either stream."""
    stdout, stderr = StringIO(), StringIO()
    call_command("subscriptions", *(str(each) for each in arguments), stdout=stdout, stderr=stderr)
    return stdout.getvalue() + stderr.getvalue()


def lanes() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("--json", "list"))
    return found


def position() -> int:
    return Checkpoint.objects.get(name="effects").position


@pytest.fixture
def parked() -> list[int]:
    """The ids of two parked events of `counter-a`."""
    POISON.add("poison")
    write("counter-a")
    write("counter-a", note="poison")
    write("counter-a")
    sequence()
    subscriptions.run(EFFECTS)
    return list(ParkedEvent.objects.order_by("position").values_list("pk", flat=True))


def test_the_list_has_every_lane_with_its_position_and_lag() -> None:
    write_log("counter-a", "counter-b")
    subscriptions.run(EFFECTS)
    effects_lane, idle_lane = lanes()
    assert effects_lane == {
        "name": "effects",
        "position": 2,
        "head": 2,
        "lag_events": 0,
        "lag_s": 0.0,
        "state": "running",
        "parked": 0,
        "last_error": "",
    }
    assert (idle_lane["name"], idle_lane["position"], idle_lane["lag_events"]) == ("idle", 0, 2)
    assert idle_lane["lag_s"] >= 0


def test_the_list_is_what_is_shown_without_an_action_and_as_a_table() -> None:
    write_log("counter-a")
    for arguments in ((), ("list",)):
        text = run(*arguments)
        for word in ("name", "lag_events", "effects", "idle", "running"):
            assert word in text


def test_a_lane_is_paused_and_resumed() -> None:
    write_log("counter-a")
    run("pause", "effects")
    assert [lane["state"] for lane in lanes()] == ["paused", "running"]
    assert subscriptions.run(EFFECTS) == 0
    run("resume", "effects")
    assert lanes()[0]["state"] == "running"
    assert subscriptions.run(EFFECTS) == 1


def test_a_lane_is_reset_to_a_position() -> None:
    write_log(*["counter-a"] * 3)
    subscriptions.run(EFFECTS)
    run("reset", "effects", "--to", 1)
    assert position() == 1
    run("reset", "effects", "--to", 0)
    assert position() == 0


@pytest.mark.parametrize("to", [-1, 4])
def test_a_lane_is_not_reset_to_where_the_log_is_not(to: int) -> None:
    write_log(*["counter-a"] * 3)
    subscriptions.run(EFFECTS)
    with pytest.raises(CommandError, match="positions 0 to 3; 0 begins with the first event"):
        run("reset", "effects", f"--to={to}")
    assert position() == 3


@pytest.mark.parametrize("arguments", [("pause",), ("resume",), ("reset", "--to", "0")])
def test_a_lane_that_does_not_exist_is_answered_with_those_that_do(
    arguments: tuple[str, ...],
) -> None:
    action, *rest = arguments
    with pytest.raises(CommandError, match="no lane efects; there are effects, idle"):
        run(action, "efects", *rest)
    assert not Checkpoint.objects.exists()


def test_parked_events_are_listed(parked: list[int]) -> None:
    assert json.loads(run("--json", "parked")) == [
        {
            "id": parked[0],
            "subscription": "effects",
            "stream": "counter-a",
            "position": 2,
            "error": "Poison: poison",
        },
        {
            "id": parked[1],
            "subscription": "effects",
            "stream": "counter-a",
            "position": 3,
            "error": "An earlier event of this stream is parked.",
        },
    ]
    assert "Poison: poison" in run("parked")
    assert lanes()[0]["parked"] == 2


def test_a_long_list_of_parked_events_says_that_there_are_more(
    parked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "PARKED_SHOWN_MAX", 1)
    text = run("parked")
    assert "An earlier event" not in text
    assert "and 1 more" in text


def test_nothing_parked_is_said_in_a_word() -> None:
    assert run("parked") == "Nothing.\n"
    assert run("--json", "parked") == "[]\n"
    assert run("parked", "--json") == "[]\n"
    assert json.loads(run("list", "--json")) == lanes()


def test_a_parked_event_is_retried_with_those_behind_it(parked: list[int]) -> None:
    POISON.clear()
    assert run("retry", parked[0]) == "2 events handled.\n"
    assert [version for _, version in effects()] == [1, 2, 3]


def test_a_retry_that_fails_again_says_why(parked: list[int]) -> None:
    with pytest.raises(CommandError, match="It failed again: Poison: poison"):
        run("retry", parked[0])


@pytest.mark.parametrize("action", [("retry",), ("skip", "--reason=haste")])
def test_what_stands_behind_a_parked_event_must_wait(
    parked: list[int], action: tuple[str, ...]
) -> None:
    name, *rest = action
    with pytest.raises(CommandError, match=f"Event {parked[0]} of the same stream comes first"):
        run(name, parked[1], *rest)


def test_a_parked_event_is_skipped_with_a_reason(parked: list[int]) -> None:
    run("skip", parked[0], "--reason", "a test of ours")
    skipped = ParkedEvent.objects.get(pk=parked[0])
    assert (skipped.resolution, skipped.reason) == ("skipped", "a test of ours")


def test_nothing_is_skipped_without_a_reason(parked: list[int]) -> None:
    with pytest.raises(CommandError, match="--reason"):
        run("skip", parked[0])
    with pytest.raises(CommandError, match="reason"):
        run("skip", parked[0], "--reason", "  ")
    assert ParkedEvent.objects.filter(resolution="").count() == 2


@pytest.mark.parametrize("action", [("retry",), ("skip", "--reason=haste")])
def test_an_unknown_parked_event_is_named(action: tuple[str, ...]) -> None:
    name, *rest = action
    with pytest.raises(CommandError, match="No event is parked under 4711"):
        run(name, 4711, *rest)


@pytest.mark.parametrize("arguments", [("rest",), ("pause",), ("reset", "effects"), ("retry", "x")])
def test_a_mistake_on_the_command_line_is_told(arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match="Error: "):
        run(*arguments)
