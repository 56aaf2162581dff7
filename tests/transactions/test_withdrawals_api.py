"""Withdrawals through `/api/transactions`: money leaves for the world outside."""

from typing import Any
from uuid import uuid4

import pytest

from tests.transactions.tools import Api, balance, drain, execute, nothing_written, problem_of
from tests.users.tools import faults
from transactions.domain import commands
from transactions.ledger import external_account_id
from transactions.models import Account
from transactions.verification import ledger_faults

pytestmark = pytest.mark.django_db


def test_a_withdrawal_goes_outside(alice: Api) -> None:
    account = alice.account(balance=1000)
    answer = alice.withdraw(account, 250, description="Cash")
    assert answer.status_code == 201, answer.content
    body = answer.json()
    assert (body["type"], body["status"], body["display"]) == ("withdrawal", "completed", "2.50")
    assert (body["source"], body["destination"]) == (str(account), None)
    assert alice.get(f"transactions/{body['id']}").json() == body
    assert alice.balances(account) == (750, 0, 750)
    assert balance(external_account_id(ledger="main", currency="EUR")) == -750
    drain()
    [entry, _] = alice.get(f"accounts/{account}/entries").json()["data"]
    assert (entry["transaction"], entry["direction"]) == (body["id"], "debit")
    assert (entry["amount"], entry["running_balance"]) == (250, 750)
    assert list(ledger_faults()) == []


def test_nobody_withdraws_the_money_of_others(alice: Api, bob: Api, root: Api) -> None:
    account = bob.account(balance=100)
    for unknown in (account, uuid4()):
        with nothing_written():
            problem_of(alice.withdraw(unknown), status=404, code="account_not_found")
    assert root.withdraw(account).status_code == 201


def test_the_overdraft_may_be_withdrawn_and_not_a_cent_more(alice: Api) -> None:
    account = alice.account(balance=100, overdraft_limit=50)
    problem_of(alice.withdraw(account, 151), status=422, code="insufficient_funds")
    assert alice.withdraw(account, 150).status_code == 201
    assert alice.balances(account) == (-50, 0, 0)
    problem_of(alice.withdraw(account, 1), status=422, code="insufficient_funds")


@pytest.mark.parametrize(
    ("change", "code"),
    [(commands.FreezeAccount, "account_frozen"), (commands.CloseAccount, "account_closed")],
)
def test_from_a_frozen_or_closed_account_nothing_leaves(alice: Api, change: Any, code: str) -> None:
    account = alice.account()
    execute(change(id=account))
    problem = problem_of(alice.withdraw(account), status=422, code=code)
    failed = alice.get(f"transactions/{problem['transaction_id']}").json()
    assert (failed["type"], failed["status"], failed["failure"]["code"]) == (
        "withdrawal",
        "failed",
        code,
    )
    assert not Account.objects.filter(owner=None).exists(), "the outside world took no part"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"destination": str(uuid4())}, ("/destination", "unknown_field")),
        ({"source": ...}, ("/source", "required")),
        ({"source": None}, ("/source", "null")),
        ({"consistency": "all"}, ("/consistency", "invalid_choice")),
        ({"type": "payment", "recipient": "A shop"}, ("/type", "invalid_choice")),
    ],
)
def test_a_body_that_will_not_do_is_named(
    alice: Api, changes: dict[str, Any], fault: tuple[str, str]
) -> None:
    body = {"type": "withdrawal", "source": str(alice.account(balance=100)), **changes}
    with nothing_written():
        answer = alice.move(**{name: value for name, value in body.items() if value is not ...})
    problem_of(answer, status=422, code="validation_failed")
    assert fault in faults(answer)
