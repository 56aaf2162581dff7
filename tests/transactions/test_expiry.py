"""Holds whose time is over: seen as expired at once, and their money freed by beat."""

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from urllib.parse import quote
from uuid import UUID

import pytest

from eventstore.clock import format_time, utc_now
from eventstore.models import Event
from platform_site.celery import SCHEDULE
from tests.transactions.story import decide
from tests.transactions.tools import Api, context, deposit, let_expire, nothing_written, problem_of
from tests.users.tools import at_once
from transactions import queries
from transactions.conditions import Condition
from transactions.expiry import expire_holds
from transactions.models import Account, Notification
from transactions.models import Transaction as TransactionRow
from transactions.tasks import expire_holds as task
from transactions.verification import ledger_faults
from users.models import User

pytestmark = pytest.mark.django_db

MICROSECOND = timedelta(microseconds=1)
RELEASED_WITHIN_S = 10


def overdue(alice: Api, bob: Api, *, number: int = 1) -> tuple[UUID, list[str]]:
    """Return Alice's account, and holds on it whose time is over."""
    source, destination = alice.account(balance=1000), bob.account()
    holds = [alice.hold(source, destination, 100) for _ in range(number)]
    for hold in holds:
        let_expire(hold)
    return source, holds


def listed(reader: Api, query: str) -> set[str]:
    answer = reader.get(f"transactions?{query}")
    assert answer.status_code == 200, answer.content
    found = answer.json()["data"]
    return {each["id"] for each in found}


def test_a_hold_is_seen_as_expired_from_its_very_instant_on(alice: Api, bob: Api) -> None:
    hold = UUID(alice.hold(alice.account(balance=100), bob.account()))
    ends = TransactionRow.objects.get(pk=hold).expires_at
    assert ends is not None

    def seen(now: datetime) -> tuple[str, datetime | None]:
        asked = replace(context(alice.user), now=now)
        found = queries.get_transaction(queries.GetTransaction(id=hold), asked)
        return found.status, found.completed_at

    def found_as(status: str, now: datetime) -> bool:
        wanted = Condition(field="status", operator="exact", value=status)
        query = queries.ListTransactions(limit=10, conditions=[wanted])
        found = queries.list_transactions(query, replace(context(alice.user), now=now))
        return hold in {each.id for each in found}

    before = ends - MICROSECOND
    assert (seen(before), seen(ends)) == (("held", None), ("expired", ends))
    assert [found_as("held", now) for now in (before, ends)] == [True, False]
    assert [found_as("expired", now) for now in (before, ends)] == [False, True]


def test_it_is_seen_as_expired_before_its_money_is_free(alice: Api, bob: Api) -> None:
    source, [hold] = overdue(alice, bob)
    ends = TransactionRow.objects.get(pk=hold).expires_at
    assert ends is not None
    for reader in (alice, bob):
        body = reader.get(f"transactions/{hold}").json()
        assert (body["status"], body["captured_amount"]) == ("expired", 0)
        assert body["completed_at"] == body["expires_at"] == format_time(ends)
        assert reader.get("transactions?status=expired").json()["data"][0]["status"] == "expired"
    assert alice.balances(source) == (1000, 100, 900), "released by beat"


def test_filters_agree_with_what_is_seen(alice: Api, bob: Api) -> None:
    source, [released] = overdue(alice, bob)
    assert expire_holds(now=utc_now()) == 1
    late, lasting = (alice.hold(source, bob.account()) for _ in range(2))
    let_expire(late)
    for more in ("", f"&account={source}"):
        assert listed(alice, f"status=held{more}") == {lasting}
        assert listed(alice, f"status=expired{more}") == {late, released}
        assert listed(alice, f"status=voided{more}") == set()


def test_the_past_is_judged_as_of_then(alice: Api, bob: Api) -> None:
    source, destination = alice.account(balance=1000), bob.account()
    hold = alice.hold(source, destination)
    later = deposit(source, 5)
    ends = later.created_at
    let_expire(hold, at=ends)
    decide()
    expire_holds(now=utc_now())
    held = Event.objects.get(stream=f"transaction-{hold}", type="TransactionHeld")
    after = Event.objects.get(stream=f"transaction-{later.id}", type="TransactionCreated")
    moments = {
        format_time(ends - MICROSECOND): "held",
        format_time(ends): "expired",
        f"position:{held.position}": "held",
        f"position:{after.position}": "expired",
    }
    for instant, status in moments.items():
        query = f"as_of={quote(instant)}"
        body = alice.get(f"transactions/{hold}?{query}").json()
        assert (body["status"], body["version"]) == (status, 2), instant
        other = {"held": "expired", "expired": "held"}[status]
        assert hold in listed(alice, f"status={status}&{query}")
        assert hold not in listed(alice, f"status={other}&{query}")
    assert alice.get(f"transactions/{hold}").json()["version"] == 3


def test_beat_frees_the_money_of_an_expired_hold(alice: Api, bob: Api) -> None:
    source, [hold] = overdue(alice, bob)
    lasting = alice.hold(source, bob.account(), 70)
    assert task() == 1
    assert alice.balances(source) == (1000, 70, 930)
    body = alice.get(f"transactions/{hold}").json()
    assert (body["status"], body["version"]) == ("expired", 3)
    assert alice.get(f"transactions/{lasting}").json()["status"] == "held"
    [expired] = Event.objects.filter(type="TransactionExpired")
    assert (expired.actor, expired.correlation_id) == (None, hold), "the system itself did it"
    for action in ("capture", "void"):
        problem_of(alice.settle(hold, action), status=409, code="hold_expired")
    with nothing_written():
        assert task() == 0
    assert list(ledger_faults()) == []


def test_beat_looks_often_enough_for_what_is_promised() -> None:
    # One message may be lost.
    assert SCHEDULE["expire_holds"]["schedule"] * 2 <= RELEASED_WITHIN_S
    assert SCHEDULE["expire_holds"]["task"] == task.name


def test_more_than_a_batch_is_freed_in_one_go(alice: Api, bob: Api) -> None:
    source, holds = overdue(alice, bob, number=5)
    at = utc_now() - timedelta(minutes=1)
    for hold in holds[:4]:
        let_expire(hold, at=at)
    assert expire_holds(now=utc_now(), batch_size_max=2) == 5, "though four expired at one instant"
    assert alice.balances(source) == (1000, 0, 1000)


def test_what_is_left_over_is_for_the_next_call(alice: Api, bob: Api) -> None:
    source, _ = overdue(alice, bob, number=5)
    assert expire_holds(now=utc_now(), batch_size_max=2, batches_max=2) == 4
    assert alice.balances(source) == (1000, 100, 900)
    assert expire_holds(now=utc_now(), batch_size_max=2, batches_max=2) == 1


@pytest.mark.parametrize("batch_size_max", [1, 2, 3])
def test_a_hold_that_is_broken_stops_no_other(
    alice: Api, bob: Api, caplog: pytest.LogCaptureFixture, batch_size_max: int
) -> None:
    lost, broken = overdue(alice, bob, number=2)
    source, _ = overdue(alice, bob, number=2)
    Account.objects.filter(pk=lost).delete()
    with caplog.at_level(logging.ERROR):
        assert expire_holds(now=utc_now(), batch_size_max=batch_size_max) == 2
    assert alice.balances(source) == (1000, 0, 1000)
    told = [
        record.getMessage() for record in caplog.records if record.name == "transactions.expiry"
    ]
    assert len(told) == 2
    assert all(any(hold in line for line in told) for hold in broken)


@pytest.mark.django_db(transaction=True)
def test_two_beats_at_once_free_the_money_once(alice: Api, bob: Api) -> None:
    source, holds = overdue(alice, bob, number=6)
    now = utc_now()
    at_once([partial(expire_holds, now=now, batch_size_max=size) for size in (2, 3, 6, 6)])
    assert alice.balances(source) == (1000, 0, 1000)
    assert Event.objects.filter(type="TransactionExpired").count() == len(holds)
    assert Event.objects.filter(type="HoldReleased").count() == len(holds)
    assert list(ledger_faults()) == []


def test_owners_are_told_of_captures_as_of_debits_and_of_expiries_if_they_wish(
    alice: Api, bob: Api
) -> None:
    wanted = {"email": True, "events": ["AccountDebited", "TransactionExpired"]}
    User.objects.filter(pk=alice.user.pk).update(notification_preferences=wanted)
    source, [hold] = overdue(alice, bob)
    expire_holds(now=utc_now())
    captured = alice.hold(source, bob.account(), 300)
    alice.settle(captured, "capture", amount=120)
    decide()
    told = {row.type: row for row in Notification.objects.filter(user=alice.user.pk)}
    assert told.keys() == {"TransactionExpired", "HoldCaptured"}
    assert told["TransactionExpired"].subject == "1.00 EUR held for a transfer are free again"
    assert f"Transaction: {hold}" in told["TransactionExpired"].body.splitlines()
    assert told["HoldCaptured"].subject == "1.20 EUR left your account"
    assert "Balance: 8.80 EUR" in told["HoldCaptured"].body.splitlines()
    assert [row.type for row in Notification.objects.filter(user=bob.user.pk)] == [
        "AccountCredited"
    ], "the other side of the capture"
