"""`/api/events`, and the story of a transaction."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from eventstore.models import Event
from eventstore.sequencer import sequence
from tests.transactions.tools import Api, deposit, drain, problem_of
from tests.users.tools import faults

pytestmark = pytest.mark.django_db

MEMBERS = [
    "id",
    "position",
    "stream",
    "version",
    "type",
    "schema_version",
    "data",
    "metadata",
    "occurred_at",
    "hash",
]


def events(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.content
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def positions(answer: Any) -> list[int]:
    return [event["position"] for event in events(answer)]


def test_the_log_is_listed_by_position_without_a_gap(root: Api) -> None:
    account = root.account(balance=100)
    root.transfer(account, root.account())
    drain()
    found = events(root.get("events"))
    assert [event["position"] for event in found] == list(range(1, len(found) + 1))
    assert [event["type"] for event in found] == [
        "AccountOpened",
        "TransactionCreated",
        "AccountOpened",
        "AccountDebited",
        "AccountCredited",
        "TransactionCompleted",
        "AccountOpened",
        "TransactionCreated",
        "AccountDebited",
        "AccountCredited",
        "TransactionCompleted",
    ]


def test_an_event_is_shown_as_the_contract_says(root: Api) -> None:
    account = root.account(balance=100)
    done = root.transfer(account, root.account(), 40).json()
    sequence()
    event = events(root.get(f"events?stream=account-{account}&type=AccountDebited"))[0]
    assert list(event) == MEMBERS
    assert UUID(event["id"]).version == 7
    assert len(bytes.fromhex(event["hash"])) == 32
    assert (event["version"], event["schema_version"]) == (3, 1)
    assert event["data"] == {
        "account": str(account),
        "transaction": done["id"],
        "amount": 40,
        "currency": "EUR",
        "posted": 60,
    }
    assert event["metadata"]["actor"] == str(root.user.pk)
    assert event["metadata"]["correlation_id"] == done["id"]
    assert event["occurred_at"] == done["created_at"]
    one = root.get(f"events/{event['id']}")
    assert (one.status_code, one.json(), one["ETag"]) == (200, event, '"3"')


def test_what_has_no_position_yet_is_not_listed(root: Api) -> None:
    account = root.account()
    assert events(root.get("events")) == []
    sequence()
    [event] = events(root.get("events"))
    deposit(account, 1)
    assert events(root.get("events")) == [event]


def test_an_event_that_does_not_exist_is_not_found(root: Api) -> None:
    for event in (str(uuid7()), "x", "tree", "1"):
        problem_of(root.get(f"events/{event}"), status=404, code="event_not_found")


def test_events_are_filtered(root: Api, alice: Api) -> None:
    account = root.account(balance=1000)
    done = root.transfer(account, alice.account()).json()["id"]
    sequence()
    whole = events(root.get("events"))

    def expected(**wanted: Any) -> list[int]:
        return [
            event["position"]
            for event in whole
            if all({**event, **event["metadata"]}[name] == wanted[name] for name in wanted)
        ]

    for query, wanted in (
        (f"stream=account-{account}", {"stream": f"account-{account}"}),
        (f"stream=transaction-{done}", {"stream": f"transaction-{done}"}),
        ("type=AccountOpened", {"type": "AccountOpened"}),
        (f"actor={root.user.pk}", {"actor": str(root.user.pk)}),
        (f"correlation_id={done}", {"correlation_id": done}),
        (f"transaction={done}", {"correlation_id": done}),
        (f"transaction={done.upper()}", {"correlation_id": done}),
        (
            f"transaction={done}&type=AccountDebited",
            {"correlation_id": done, "type": "AccountDebited"},
        ),
    ):
        found = positions(root.get(f"events?{query}"))
        assert found == expected(**wanted) != []
    assert positions(root.get("events?type=NoSuchEvent")) == []
    assert positions(root.get("events?stream=")) == []


def test_a_list_begins_behind_a_position(root: Api) -> None:
    root.account(balance=100)
    sequence()
    last = len(events(root.get("events")))
    assert positions(root.get("events?after=2")) == list(range(3, last + 1))
    assert positions(root.get(f"events?after={last}")) == []
    assert positions(root.get("events?after=0")) == list(range(1, last + 1))
    assert positions(root.get("events?after=2&type=AccountOpened")) == [3]


def test_pages_follow_each_other_while_the_log_grows(root: Api) -> None:
    account = root.account(balance=100)
    sequence()
    query, found = "limit=2&after=1", []
    cursor: str | None = ""
    while cursor is not None:
        answer = root.get(f"events?{query}" + (f"&cursor={cursor}" if cursor else ""))
        found += positions(answer)
        cursor = answer.json()["next_cursor"]
        if len(found) == 2:
            deposit(account, 1)
            sequence()
    assert found == list(range(2, 11))
    bound = root.get("events?limit=2&after=1").json()["next_cursor"]
    for other in ("after=2", "", "after=1&type=AccountOpened"):
        answer = root.get(f"events?{other}&cursor={bound}")
        problem_of(answer, status=400, code="invalid_cursor")


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("after=x", ("after", "invalid_filter")),
        ("after=1.5", ("after", "invalid_filter")),
        ("after=", ("after", "invalid_filter")),
        ("transaction=x", ("transaction", "invalid_filter")),
        ("limit=201", ("limit", "invalid_limit")),
        ("limit=0", ("limit", "invalid_limit")),
        ("stream=" + "x" * 256, ("stream", "invalid_filter")),
        ("position=1", ("position", "unknown_parameter")),
        ("as_of=position:1", ("as_of", "unknown_parameter")),
        (f"transaction={UUID(int=1)}&correlation_id=x", ("transaction", "not_allowed")),
    ],
)
def test_a_bad_filter_is_refused(root: Api, query: str, fault: tuple[str, str]) -> None:
    assert faults(root.get(f"events?{query}")) == {fault}


def test_a_story_has_every_event_of_a_transaction_and_what_caused_it(alice: Api) -> None:
    account = alice.account(balance=100)
    done = alice.transfer(account, alice.account(), 40).json()["id"]
    assert events(alice.get(f"transactions/{done}/events")) == []
    sequence()
    created, *rest = events(alice.get(f"transactions/{done}/events"))
    assert list(created) == MEMBERS
    assert (created["type"], created["stream"]) == ("TransactionCreated", f"transaction-{done}")
    assert created["metadata"]["causation_id"] is None
    assert [event["type"] for event in rest] == [
        "AccountDebited",
        "AccountCredited",
        "TransactionCompleted",
    ]
    assert {event["metadata"]["causation_id"] for event in rest} == {created["id"]}
    # Both accounts are the reader's own.
    assert [event["data"].get("posted") for event in rest] == [60, 40, None]


def test_a_story_comes_in_pages(alice: Api) -> None:
    done = alice.transfer(alice.account(balance=100), alice.account()).json()["id"]
    sequence()
    path = f"transactions/{done}/events"
    whole = events(alice.get(path))
    first = alice.get(f"{path}?limit=3").json()
    second = alice.get(f"{path}?limit=3&cursor={first['next_cursor']}").json()
    assert (first["data"] + second["data"], second["has_more"]) == (whole, False)
    assert faults(alice.get(f"{path}?type=x")) == {("type", "unknown_parameter")}


def test_a_read_says_how_far_it_lags(root: Api) -> None:
    account = root.account(balance=100)
    done = str(deposit(account, 1).id)
    Event.objects.update(occurred_at=root.user.created_at - timedelta(seconds=90))
    paths = ["events", f"transactions/{done}/events", f"accounts/{account}/entries"]
    for path in paths:
        assert 90 <= float(root.get(path)["X-Read-Lag-Seconds"]) < 150
    sequence()
    assert "X-Read-Lag-Seconds" not in root.get(paths[0])
    assert "X-Read-Lag-Seconds" not in root.get(paths[1])
    assert float(root.get(paths[2])["X-Read-Lag-Seconds"]) >= 90
    drain()
    assert all("X-Read-Lag-Seconds" not in root.get(path) for path in paths)
    deposit(account, 1)
    assert all("X-Read-Lag-Seconds" not in root.get(path) for path in paths)
