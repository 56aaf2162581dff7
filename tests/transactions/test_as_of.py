"""`?as_of=`: the state at an instant of the past, to the microsecond and to the position."""

from datetime import timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from eventstore.aggregates import take_snapshots
from eventstore.clock import format_time, utc_now
from eventstore.models import Event
from eventstore.records import Record
from eventstore.sequencer import sequence
from eventstore.store import event_store
from tests.transactions.tools import Api, deposit, drain, execute, problem_of, transfer
from tests.users.tools import faults
from transactions.aggregates import AGGREGATES
from transactions.domain import commands
from transactions.models import Account as AccountRow

pytestmark = pytest.mark.django_db

MICROSECOND = timedelta(microseconds=1)


def events_of(stream: str) -> list[Record]:
    """Return the events of a stream, all with a position."""
    sequence()
    return list(event_store().get_events(stream))


def at(instant: Any) -> str:
    return f"as_of={quote(format_time(instant))}"


def shown(answer: Any) -> tuple[int, str, int]:
    """Return version, status and balance of an account."""
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert answer["ETag"] == f'"{body["version"]}"'
    return body["version"], body["status"], body["balance"]["posted"]["amount"]


def history(alice: Api) -> tuple[UUID, list[tuple[int, str, int]]]:
    """Return an account and what it looked like after each of its events."""
    account, other = alice.account(), alice.account()
    deposit(account, 500)
    transfer(account, other, 120)
    execute(commands.FreezeAccount(id=account))
    return account, [(1, "open", 0), (2, "open", 500), (3, "open", 380), (4, "frozen", 380)]


def test_an_account_is_as_it_was_at_the_instant_of_each_event(alice: Api) -> None:
    account, states = history(alice)
    path = f"accounts/{account}"
    for event, state in zip(events_of(f"account-{account}"), states, strict=True):
        assert shown(alice.get(f"{path}?{at(event.occurred_at)}")) == state
        assert shown(alice.get(f"{path}?as_of=position:{event.place}")) == state
    assert shown(alice.get(f"{path}?{at(utc_now())}")) == states[-1]


def test_just_before_an_event_it_had_not_happened(alice: Api) -> None:
    account, states = history(alice)
    path = f"accounts/{account}"
    first, *rest = events_of(f"account-{account}")
    for event, before in zip(rest, states, strict=False):
        assert shown(alice.get(f"{path}?{at(event.occurred_at - MICROSECOND)}")) == before
        position = event.place - 1
        assert shown(alice.get(f"{path}?as_of=position:{position}")) == before
    for query in (at(first.occurred_at - MICROSECOND), f"as_of=position:{first.place - 1}"):
        for lost in (path, f"{path}/entries"):
            problem_of(alice.get(f"{lost}?{query}"), status=404, code="account_not_found")


def test_a_transaction_is_as_it_was(alice: Api) -> None:
    done = deposit(alice.account(), 5)
    path = f"transactions/{done.id}"
    created, completed = events_of(f"transaction-{done.id}")
    early = alice.get(f"{path}?as_of=position:{created.place}")
    assert (early.json()["status"], early.json()["completed_at"]) == ("pending", None)
    assert (early.json()["version"], early["ETag"]) == (1, '"1"')
    late = alice.get(f"{path}?as_of=position:{completed.place}").json()
    assert late == alice.get(path).json() | {"stores": late["stores"]}
    assert alice.get(f"{path}?{at(completed.occurred_at)}").json()["status"] == "completed"
    for query in (at(created.occurred_at - MICROSECOND), f"as_of=position:{created.place - 1}"):
        problem_of(alice.get(f"{path}?{query}"), status=404, code="transaction_not_found")


def test_what_the_stores_knew_of_the_past_does_not_change_by_what_comes_later(alice: Api) -> None:
    source, destination = alice.account(balance=500), alice.account()
    done = transfer(source, destination, 120)
    drain()
    past = f"as_of=position:{events_of(f'transaction-{done.id}')[-1].place}"
    paths = (f"transactions/{done.id}?{past}", f"transactions?account={source}&{past}")
    before = [alice.get(path).json() for path in paths]
    assert set(before[0]["stores"].values()) == {"confirmed"}
    execute(commands.ReverseTransaction(id=uuid7(), reverses=done.id, amount=20))
    for positions in (False, True):
        if positions:
            sequence()
        assert [alice.get(path).json() for path in paths] == before
        assert "pending" in alice.get(f"transactions/{done.id}").json()["stores"].values()


def listed(alice: Api, path: str, query: str) -> list[str]:
    answer = alice.get(f"{path}?{query}")
    assert answer.status_code == 200, answer.content
    return [each["id"] for each in answer.json()["data"]]


def test_a_list_of_accounts_is_as_it_was(alice: Api, bob: Api) -> None:
    first, states = history(alice)
    bob.account()
    events = events_of(f"account-{first}")
    now = {each["id"]: each for each in alice.get("accounts").json()["data"]}
    [second] = now.keys() - {str(first)}
    opened_second = events_of(f"account-{second}")[0]
    alone = at(opened_second.occurred_at - MICROSECOND)
    assert listed(alice, "accounts", alone) == [str(first)]
    assert listed(alice, "accounts", at(opened_second.occurred_at)) == [second, str(first)]
    early = alice.get(f"accounts?as_of=position:{events[1].place}").json()["data"]
    by_id = {each["id"]: each for each in early}
    assert by_id[str(first)]["balance"]["posted"]["amount"] == states[1][2]
    assert by_id[str(first)]["version"] == 2
    assert by_id[second]["balance"]["posted"]["amount"] == 0


def test_filters_of_the_past_ask_the_past(alice: Api, root: Api) -> None:
    account, _ = history(alice)
    opened, *_, frozen = events_of(f"account-{account}")
    then, before = at(frozen.occurred_at), at(frozen.occurred_at - MICROSECOND)
    assert listed(alice, "accounts", f"status=frozen&{then}") == [str(account)]
    assert listed(alice, "accounts", f"status=frozen&{before}") == []
    assert str(account) in listed(alice, "accounts", f"status=open&{before}")
    assert str(account) not in listed(alice, "accounts", f"status=open&{then}")
    assert listed(alice, "accounts", f"currency=JPY&{then}") == []
    assert listed(alice, "accounts", at(opened.occurred_at)) == [str(account)]


def test_a_list_of_transactions_is_as_it_was(alice: Api) -> None:
    account = alice.account()
    done = [deposit(account, amount, reference=f"R-{amount}") for amount in (1, 2, 3)]
    created, completed = events_of(f"transaction-{done[1].id}")
    upto = [str(done[1].id), str(done[0].id)]
    assert listed(alice, "transactions", at(completed.occurred_at)) == upto
    position = f"as_of=position:{created.place}"
    assert listed(alice, "transactions", position) == upto
    assert listed(alice, "transactions", f"status=pending&{position}") == upto[:1]
    assert listed(alice, "transactions", f"status=completed&{position}") == upto[1:]
    assert listed(alice, "transactions", f"reference=R-1&{position}") == upto[1:]
    assert listed(alice, "transactions", f"amount[gte]=2&{position}") == upto[:1]
    assert listed(alice, "transactions", f"metadata[k]=v&{position}") == []
    assert listed(alice, "transactions", f"account={account}&{position}") == upto


def test_pages_of_the_past_hold_everything_once(alice: Api) -> None:
    account = alice.account()
    done = [str(deposit(account, amount).id) for amount in range(1, 8)]
    last = events_of(f"transaction-{done[4]}")[-1]
    deposit(account, 8)
    query, found = f"limit=2&{at(last.occurred_at)}", []
    cursor: str | None = ""
    while cursor is not None:
        page = alice.get(f"transactions?{query}" + (f"&cursor={cursor}" if cursor else "")).json()
        found += [each["id"] for each in page["data"]]
        cursor = page["next_cursor"]
    assert found == done[4::-1]
    bound = alice.get(f"transactions?{query}").json()["next_cursor"]
    problem_of(alice.get(f"transactions?cursor={bound}"), status=400, code="invalid_cursor")


def test_entries_are_as_they_were(alice: Api) -> None:
    account, _ = history(alice)
    drain()
    path = f"accounts/{account}/entries"
    _, credited, debited, _ = events_of(f"account-{account}")
    both = [str(debited.id), str(credited.id)]
    for query, expected in (
        (at(debited.occurred_at), both),
        (f"as_of=position:{debited.place}", both),
        (at(debited.occurred_at - MICROSECOND), both[1:]),
        (f"as_of=position:{debited.place - 1}", both[1:]),
        (at(credited.occurred_at - MICROSECOND), []),
    ):
        assert listed(alice, path, query) == expected
    assert listed(alice, path, f"direction=debit&{at(credited.occurred_at)}") == []


PATHS = ["accounts", "accounts/{account}", "accounts/{account}/entries", "transactions"]


@pytest.mark.parametrize("path", [*PATHS, "transactions/{transaction}"])
def test_the_future_is_not_known(alice: Api, path: str) -> None:
    account = alice.account()
    path = path.format(account=account, transaction=deposit(account, 1).id)
    drain()
    head = Event.objects.count()
    assert alice.get(f"{path}?as_of=position:{head}").status_code == 200
    for query in (
        at(utc_now() + timedelta(minutes=1)),
        "as_of=9999-12-31T23:59:59Z",
        f"as_of=position:{head + 1}",
        "as_of=position:999999999999999999",
    ):
        answer = alice.get(f"{path}?{query}")
        problem_of(answer, status=422, code="as_of_in_future")
        assert faults(answer) == {("as_of", "as_of_in_future")}


@pytest.mark.parametrize(
    "text", ["", "now", "yesterday", "2026-01-01", "position:", "position:-1", "position:x", "5"]
)
def test_what_is_no_instant_is_refused(alice: Api, text: str) -> None:
    for path in ("accounts", "transactions"):
        answer = alice.get(f"{path}?as_of={text}")
        assert faults(answer) == {("as_of", "invalid_time")}


def test_before_the_first_event_lists_are_empty(alice: Api) -> None:
    alice.account(balance=5)
    drain()
    for query in ("as_of=position:0", "as_of=1970-01-01T00:00:00Z", "as_of=0001-01-01T00:00:00Z"):
        for path in ("accounts", "transactions"):
            assert listed(alice, path, query) == []


def test_the_past_of_others_is_as_hidden_as_their_present(alice: Api, bob: Api) -> None:
    theirs = bob.account()
    done = deposit(theirs, 1)
    now = at(utc_now())
    answer = alice.get(f"accounts/{theirs}?{now}")
    problem_of(answer, status=404, code="account_not_found")
    answer = alice.get(f"transactions/{done.id}?{now}")
    problem_of(answer, status=404, code="transaction_not_found")
    assert listed(alice, "accounts", now) == listed(alice, "transactions", now) == []


def test_a_snapshot_does_not_change_the_past(alice: Api) -> None:
    account = alice.account()
    for amount in range(1, 8):
        deposit(account, amount)
    events = events_of(f"account-{account}")
    path = f"accounts/{account}"
    states = [shown(alice.get(f"{path}?{at(event.occurred_at)}")) for event in events]
    assert take_snapshots(AGGREGATES, every_events=3) >= 1
    assert states == [shown(alice.get(f"{path}?{at(event.occurred_at)}")) for event in events]
    assert states == [(n + 1, "open", sum(range(n + 1))) for n in range(8)]


def test_entries_of_the_past_do_not_wait_for_their_lane(alice: Api) -> None:
    account, _ = history(alice)
    _, credited, debited, _ = events_of(f"account-{account}")
    query = f"as_of=position:{debited.place}"
    path = f"accounts/{account}/entries"
    before = alice.get(f"{path}?{query}").json()
    assert [each["id"] for each in before["data"]] == [str(debited.id), str(credited.id)]
    assert listed(alice, path, f"direction=debit&{query}") == [str(debited.id)]
    drain()
    assert alice.get(f"{path}?{query}").json() == before


def test_entries_of_a_final_past_are_refused_until_they_have_positions(alice: Api) -> None:
    account = alice.account(balance=5)
    [*_, last] = event_store().get_events(f"account-{account}")
    Event.objects.update(occurred_at=last.occurred_at - timedelta(seconds=3))
    AccountRow.objects.update(
        created_at=last.occurred_at - timedelta(seconds=3),
        updated_at=last.occurred_at - timedelta(seconds=3),
    )
    path = f"accounts/{account}/entries?{at(last.occurred_at)}"
    answer = alice.get(path)
    problem_of(answer, status=503, code="store_unavailable")
    assert answer["Retry-After"]
    sequence()
    assert alice.get(path).status_code == 200
