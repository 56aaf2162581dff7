"""`/api/transactions`: deposits and transfers, what is refused, and what is then to be seen."""

import json
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from uuid_utils.compat import uuid7

from eventstore.models import Event, ParkedEvent
from tests.transactions.tools import Api, balance, drain, execute, nothing_written, problem_of
from transactions.domain import commands
from transactions.models import Account

pytestmark = pytest.mark.django_db

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
PENDING = {"mysql": "confirmed", "mongodb": "pending", "spanner": "pending"}
CONFIRMED = dict.fromkeys(PENDING, "confirmed")


def test_a_transfer_is_shown_as_the_contract_says(alice: Api, bob: Api) -> None:
    source, destination = alice.account(balance=2000), bob.account()
    answer = alice.transfer(
        source,
        destination,
        1250,
        description="Rent of May",
        reference="R-5",
        metadata={"flat": 3},
        consistency="eventual",
    )
    assert answer.status_code == 201, answer.content
    body = dict(answer.json())
    transaction = body.pop("id")
    assert UUID(transaction).version == 7
    assert TIME.fullmatch(body["created_at"])
    assert body.pop("created_at") == body.pop("completed_at")
    assert body == {
        "type": "transfer",
        "status": "completed",
        "source": str(source),
        "destination": str(destination),
        "recipient": None,
        "amount": 1250,
        "currency": "EUR",
        "display": "12.50",
        "description": "Rent of May",
        "reference": "R-5",
        "metadata": {"flat": 3},
        "consistency": "eventual",
        "stores": PENDING,
        "failure": None,
        "captured_amount": 0,
        "expires_at": None,
        "reverses": None,
        "reversed_amount": 0,
        "version": 2,
    }
    assert answer["Location"] == f"/api/transactions/{transaction}"
    assert answer["ETag"] == '"2"'
    read = alice.get(f"transactions/{transaction}")
    assert (read.status_code, read.json(), read["ETag"]) == (200, answer.json(), '"2"')
    assert (alice.posted(source), bob.posted(destination)) == (750, 1250)


def test_a_deposit_comes_from_outside(alice: Api, root: Api) -> None:
    account = alice.account(currency="JPY")
    answer = root.deposit(account, 500, currency="JPY")
    assert answer.status_code == 201
    body = answer.json()
    assert (body["type"], body["source"], body["display"]) == ("deposit", None, "500")
    assert body["destination"] == str(account)
    assert alice.posted(account) == 500
    [outside] = Account.objects.filter(owner=None)
    assert (outside.currency, outside.posted) == ("JPY", -500)


def test_only_an_administrator_deposits(alice: Api) -> None:
    for account in (alice.account(), uuid4()):
        with nothing_written():
            problem_of(alice.deposit(account), status=403, code="missing_scope")


def test_an_administrator_moves_anybody_s_money(alice: Api, bob: Api, root: Api) -> None:
    source, destination = alice.account(balance=100), bob.account()
    assert root.transfer(source, destination).status_code == 201
    assert bob.posted(destination) == 100


def test_nobody_moves_the_money_of_others(alice: Api, bob: Api) -> None:
    theirs, mine = bob.account(balance=100), alice.account()
    with nothing_written():
        problem_of(alice.transfer(theirs, mine), status=404, code="account_not_found")


@pytest.mark.parametrize("side", ["source", "destination"])
def test_an_account_that_does_not_exist_is_not_found(root: Api, side: str) -> None:
    accounts = {"source": root.account(balance=100), "destination": root.account()}
    with nothing_written():
        answer = root.transfer(**{**accounts, side: uuid4()})
    problem_of(answer, status=404, code="account_not_found")


def test_the_outside_world_cannot_be_named(root: Api) -> None:
    account = root.account(balance=100)
    [outside] = Account.objects.filter(owner=None)
    with nothing_written():
        for answer in (
            root.transfer(account, outside.pk),
            root.transfer(outside.pk, account),
            root.deposit(outside.pk),
        ):
            problem_of(answer, status=404, code="account_not_found")


def insufficient(root: Api) -> Any:
    return root.transfer(root.account(balance=99), root.account())


def beyond_the_overdraft(root: Api) -> Any:
    return root.transfer(root.account(overdraft_limit=99), root.account())


def other_currency_of_source(root: Api) -> Any:
    return root.transfer(root.account(currency="USD", balance=100), root.account())


def other_currency_of_destination(root: Api) -> Any:
    return root.transfer(root.account(balance=100), root.account(currency="USD"))


def other_currency_of_deposit(root: Api) -> Any:
    return root.deposit(root.account(currency="USD"))


def frozen_source(root: Api) -> Any:
    account = root.account(balance=100)
    execute(commands.FreezeAccount(id=account))
    return root.transfer(account, root.account())


def closed(root: Api) -> UUID:
    account = root.account()
    execute(commands.CloseAccount(id=account))
    return account


def closed_source(root: Api) -> Any:
    return root.transfer(closed(root), root.account())


def closed_destination(root: Api) -> Any:
    return root.transfer(root.account(balance=100), closed(root))


def closed_destination_of_deposit(root: Api) -> Any:
    return root.deposit(closed(root))


def other_ledger(root: Api) -> Any:
    return root.transfer(root.account(balance=100), root.account(ledger="other"))


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (insufficient, "insufficient_funds"),
        (beyond_the_overdraft, "insufficient_funds"),
        (other_currency_of_source, "currency_mismatch"),
        (other_currency_of_destination, "currency_mismatch"),
        (other_currency_of_deposit, "currency_mismatch"),
        (frozen_source, "account_frozen"),
        (closed_source, "account_closed"),
        (closed_destination, "account_closed"),
        (closed_destination_of_deposit, "account_closed"),
        (other_ledger, "ledger_mismatch"),
    ],
)
def test_a_refusal_is_recorded_and_moves_nothing(
    root: Api, call: Callable[[Api], Any], code: str
) -> None:
    answer = call(root)
    before = dict(Account.objects.values_list("pk", "posted"))
    document = problem_of(answer, status=422, code=code)
    transaction = document["transaction_id"]
    assert answer["Location"] == f"/api/transactions/{transaction}"
    assert (document["instance"], document["retryable"]) == ("/api/transactions", False)
    assert document["request_id"] == answer["X-Request-Id"]
    read = root.get(f"transactions/{transaction}").json()
    assert (read["status"], read["failure"]) == (
        "failed",
        {"code": code, "detail": document["detail"]},
    )
    assert (read["version"], read["amount"]) == (2, 100)
    assert read["completed_at"] is not None
    events = Event.objects.filter(correlation_id=transaction).order_by("version")
    assert [event.type for event in events] == ["TransactionCreated", "TransactionFailed"]
    assert json.loads(events[1].data)["code"] == code
    assert events[1].causation_id == str(events[0].id)
    assert dict(Account.objects.values_list("pk", "posted")) == before


def test_a_refused_deposit_does_not_open_the_outside_world(root: Api) -> None:
    account = root.account(currency="ISK")
    with nothing_written(Event=2, Transaction=1, IdempotencyRecord=1):
        problem_of(root.deposit(account), status=422, code="currency_mismatch")
    assert not Account.objects.filter(owner=None).exists()


def test_a_frozen_account_receives(alice: Api, root: Api) -> None:
    account = alice.account()
    execute(commands.FreezeAccount(id=account))
    assert root.deposit(account).status_code == 201
    assert alice.posted(account) == 100


def test_an_overdraft_may_be_used_to_its_end(root: Api) -> None:
    account = root.account(overdraft_limit=100)
    assert root.transfer(account, root.account()).status_code == 201
    read = root.get(f"accounts/{account}").json()["balance"]
    assert (read["posted"]["amount"], read["posted"]["display"]) == (-100, "-1.00")
    assert read["available"]["amount"] == 0


def test_the_largest_amount_moves(root: Api) -> None:
    account, other = root.account(), root.account()
    assert root.deposit(account, 10**15).json()["display"] == "10000000000000.00"
    assert root.transfer(account, other, 10**15).status_code == 201
    assert balance(other) == 10**15


def test_every_store_confirms_in_its_own_time(root: Api) -> None:
    done = root.deposit(root.account()).json()
    path = f"transactions/{done['id']}"
    assert root.get(path).json()["stores"] == PENDING
    drain()
    assert root.get(path).json()["stores"] == CONFIRMED
    assert root.get("transactions").json()["data"][0]["stores"] == CONFIRMED


def test_a_store_that_cannot_take_a_transaction_has_failed(root: Api) -> None:
    done, other = root.deposit(root.account()).json(), root.deposit(root.account()).json()
    drain()
    event = Event.objects.filter(stream=f"transaction-{done['id']}").latest("version")
    ParkedEvent.objects.create(
        subscription="spanner",
        stream=event.stream,
        position=event.position or 0,
        error="x",
        parked_at=event.occurred_at,
    )
    stores = {**CONFIRMED, "spanner": "failed"}
    assert root.get(f"transactions/{done['id']}").json()["stores"] == stores
    listed = {each["id"]: each["stores"] for each in root.get("transactions").json()["data"]}
    assert listed == {done["id"]: stores, other["id"]: CONFIRMED}


def test_what_one_did_not_take_part_in_does_not_exist(alice: Api, bob: Api) -> None:
    theirs = bob.transfer(bob.account(balance=100), bob.account()).json()["id"]
    for transaction in (theirs, str(uuid7()), theirs.replace("-", ""), "x"):
        for path in (f"transactions/{transaction}", f"transactions/{transaction}/events"):
            problem_of(alice.get(path), status=404, code="transaction_not_found")


def test_who_receives_sees_what_arrived_and_not_what_failed(alice: Api, bob: Api) -> None:
    source, destination = alice.account(balance=100), bob.account()
    arrived = alice.transfer(source, destination).json()["id"]
    failed = alice.transfer(source, destination).json()["transaction_id"]
    assert bob.get(f"transactions/{arrived}").json() == alice.get(f"transactions/{arrived}").json()
    for path in (f"transactions/{failed}", f"transactions/{failed}/events"):
        assert alice.get(path).status_code == 200
        problem_of(bob.get(path), status=404, code="transaction_not_found")
    assert [each["id"] for each in bob.get("transactions").json()["data"]] == [arrived]
    mine = alice.get("transactions?type=transfer").json()["data"]
    assert [each["id"] for each in mine] == [failed, arrived]


def test_a_request_id_is_kept_in_every_event(alice: Api) -> None:
    source = alice.account(balance=100)
    answer = alice.transfer(source, alice.account(), headers={"X-Request-Id": "my-request"})
    rows = Event.objects.filter(correlation_id=answer.json()["id"])
    assert set(rows.values_list("request_id", "actor")) == {("my-request", str(alice.user.pk))}
