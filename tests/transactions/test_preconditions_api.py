"""Preconditions: what must be true of one's accounts, or the money does not move."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.transactions.tools import Api, nothing_written, problem_of
from tests.users.tools import faults

pytestmark = pytest.mark.django_db

INTEGER_MAX = 2**63 - 1


@pytest.fixture
def account(alice: Api, bob: Api) -> UUID:
    """Alice's account at version 3: 500 posted, 120 held, an overdraft of 50, 430 available."""
    made = alice.account(balance=500, overdraft_limit=50)
    alice.hold(made, bob.account(), 120)
    assert alice.balances(made) == (500, 120, 430)
    assert alice.get(f"accounts/{made}").json()["version"] == 3
    return made


def pay(alice: Api, account: UUID, *preconditions: Any, **more: Any) -> Any:
    return alice.withdraw(account, 10, preconditions=list(preconditions), **more)


@pytest.mark.parametrize(
    ("kind", "met", "missed"),
    [
        ("version", 3, 2),
        ("version", 3, 4),
        ("posted_gte", 500, 501),
        ("posted_lte", 500, 499),
        ("available_gte", 430, 431),
        ("posted_gte", -INTEGER_MAX, INTEGER_MAX),
        ("posted_lte", INTEGER_MAX, -INTEGER_MAX),
        ("posted_lte", 500, 0),
    ],
)
def test_a_comparison_holds_up_to_its_very_edge(
    alice: Api, account: UUID, kind: str, met: int, missed: int
) -> None:
    refused = pay(alice, account, {"account": str(account), kind: missed})
    problem = problem_of(refused, status=422, code="precondition_failed")
    assert refused["Location"] == f"/api/transactions/{problem['transaction_id']}"
    failed = alice.get(f"transactions/{problem['transaction_id']}").json()
    assert (failed["status"], failed["failure"]["code"]) == ("failed", "precondition_failed")
    assert alice.balances(account) == (500, 120, 430)
    assert pay(alice, account, {"account": str(account), kind: met}).status_code == 201
    assert alice.balances(account) == (490, 120, 420)


def test_all_of_several_must_be_met_and_the_one_that_is_not_is_named(
    alice: Api, account: UUID
) -> None:
    other = alice.account()
    both = [{"account": str(account), "version": 3}, {"account": str(other), "posted_lte": 0}]
    late = {"account": str(other), "posted_gte": 1}
    problem = problem_of(pay(alice, account, *both, late), status=422, code="precondition_failed")
    assert problem["detail"].startswith("Precondition 2 is not met: posted_gte 1 ")
    assert pay(alice, account, *both).status_code == 201


def test_a_range_is_two_preconditions(alice: Api, account: UUID) -> None:
    within = [{"account": str(account), kind: 500} for kind in ("posted_gte", "posted_lte")]
    assert pay(alice, account, *within).status_code == 201
    problem_of(pay(alice, account, *within), status=422, code="precondition_failed")


def test_a_deposit_and_a_hold_take_preconditions_too(alice: Api, root: Api, account: UUID) -> None:
    wrong, right = ([{"account": str(account), "version": each}] for each in (2, 3))
    for answer in (
        root.deposit(account, 1, preconditions=wrong),
        alice.withdraw(account, 1, hold=True, preconditions=wrong),
    ):
        problem_of(answer, status=422, code="precondition_failed")
    assert root.deposit(account, 1, preconditions=right).status_code == 201
    right = [{"account": str(account), "version": 4}]
    assert alice.withdraw(account, 1, hold=True, preconditions=right).status_code == 201


def test_a_precondition_tells_nothing_of_the_accounts_of_others(
    alice: Api, bob: Api, root: Api, account: UUID
) -> None:
    theirs = bob.account(balance=5)
    for unknown in (theirs, uuid4()):
        with nothing_written():
            answer = pay(alice, account, {"account": str(unknown), "posted_gte": 5})
        problem_of(answer, status=404, code="account_not_found")
    mine = {"account": str(theirs), "posted_gte": 5}
    assert root.withdraw(account, 1, preconditions=[mine]).status_code == 201


def test_what_was_refused_for_a_precondition_is_replayed_though_it_is_met_now(
    alice: Api, account: UUID
) -> None:
    wanted = {"account": str(account), "version": 4}
    refused = pay(alice, account, wanted, key="k")
    problem_of(refused, status=422, code="precondition_failed")
    alice.withdraw(account, 1)
    again = pay(alice, account, wanted, key="k")
    assert (again.content, again["Idempotent-Replayed"]) == (refused.content, "true")
    assert pay(alice, account, wanted).status_code == 201


ACCOUNT = str(uuid4())


@pytest.mark.parametrize(
    ("preconditions", "fault"),
    [
        ({}, ("/preconditions", "not_a_list")),
        (None, ("/preconditions", "null")),
        (5, ("/preconditions", "not_a_list")),
        ([5], ("/preconditions/0", "not_an_object")),
        ([None], ("/preconditions/0", "null")),
        ([[]], ("/preconditions/0", "not_an_object")),
        ([{}], ("/preconditions/0/account", "required")),
        ([{"account": ACCOUNT}], ("/preconditions/0", "required")),
        ([{"account": "mine", "version": 1}], ("/preconditions/0/account", "invalid")),
        ([{"version": 1}], ("/preconditions/0/account", "required")),
        (
            [{"account": ACCOUNT, "posted_gte": 1, "posted_lte": 5}],
            ("/preconditions/0/posted_lte", "not_allowed"),
        ),
        ([{"account": ACCOUNT, "posted_gt": 1}], ("/preconditions/0/posted_gt", "unknown_field")),
        ([{"account": ACCOUNT, "posted_gte": "1"}], ("/preconditions/0/posted_gte", "invalid")),
        ([{"account": ACCOUNT, "posted_gte": 1.0}], ("/preconditions/0/posted_gte", "invalid")),
        ([{"account": ACCOUNT, "posted_gte": True}], ("/preconditions/0/posted_gte", "invalid")),
        ([{"account": ACCOUNT, "posted_gte": None}], ("/preconditions/0/posted_gte", "null")),
        ([{"account": ACCOUNT, "posted_gte": 2**63}], ("/preconditions/0/posted_gte", "max_value")),
        ([{"account": ACCOUNT, "version": 0}], ("/preconditions/0/version", "min_value")),
        (
            [{"account": ACCOUNT, "version": 1}, {"account": ACCOUNT, "version": "1"}],
            ("/preconditions/1/version", "invalid"),
        ),
        ([{"account": ACCOUNT, "version": 1}] * 21, ("/preconditions", "max_length")),
    ],
)
def test_a_precondition_that_will_not_do_is_named(
    alice: Api, account: UUID, preconditions: Any, fault: tuple[str, str]
) -> None:
    with nothing_written():
        answer = alice.withdraw(account, 10, preconditions=preconditions)
    problem_of(answer, status=422, code="validation_failed")
    assert fault in faults(answer)
