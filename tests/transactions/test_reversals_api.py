"""Reversals: money goes back where it came from, never more than came."""

from collections import Counter
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from tests.transactions.tools import Api, drain, execute, nothing_written, problem_of
from tests.users.tools import at_once
from transactions.domain import commands
from transactions.verification import ledger_faults

pytestmark = pytest.mark.django_db


def moved(alice: Api, bob: Api, amount: int = 300, **more: Any) -> tuple[UUID, UUID, str]:
    """Return Alice's and Bob's accounts, and a transfer between them."""
    source, destination = alice.account(balance=1000), bob.account()
    answer = alice.transfer(source, destination, amount, **more)
    assert answer.status_code == 201, answer.content
    return source, destination, answer.json()["id"]


def seen(reader: Api, transaction: str) -> dict[str, Any]:
    answer = reader.get(f"transactions/{transaction}")
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def test_a_reversal_is_a_transaction_of_its_own(alice: Api, bob: Api) -> None:
    source, destination, original = moved(alice, bob, description="Rent", reference="R-5")
    answer = bob.settle(original, "reverse", reason="Paid twice")
    assert answer.status_code == 201, answer.content
    body = answer.json()
    assert answer["Location"] == f"/api/transactions/{body['id']}"
    assert body["id"] != original
    assert (body["type"], body["status"], body["reverses"]) == ("reversal", "completed", original)
    assert (body["source"], body["destination"]) == (str(destination), str(source))
    assert (body["amount"], body["currency"], body["reversed_amount"]) == (300, "EUR", 0)
    assert (body["description"], body["reference"]) == ("Paid twice", "")
    for reader in (alice, bob):
        assert seen(reader, body["id"]) == body
        back = seen(reader, original)
        assert (back["status"], back["reversed_amount"], back["version"]) == ("reversed", 300, 3)
        assert (back["reverses"], back["amount"]) == (None, 300)
    assert (alice.posted(source), bob.posted(destination)) == (1000, 0)
    listed = alice.get("transactions?type=reversal").json()["data"]
    assert [each["id"] for each in listed] == [body["id"]]
    assert list(ledger_faults()) == []


def test_parts_go_back_until_nothing_is_left(alice: Api, bob: Api) -> None:
    source, destination, original = moved(alice, bob)
    for amount, total in ((100, 100), (199, 299)):
        assert bob.settle(original, "reverse", amount=amount).status_code == 201
        part = seen(bob, original)
        assert (part["status"], part["reversed_amount"]) == ("completed", total)
    with nothing_written():
        over = bob.settle(original, "reverse", amount=2)
    document = problem_of(over, status=422, code="reversal_exceeds_original")
    assert [fault["pointer"] for fault in document["errors"]] == ["/amount"]
    last = bob.settle(original, "reverse")
    assert (last.status_code, last.json()["amount"]) == (201, 1), "all that is left"
    assert seen(alice, original)["status"] == "reversed"
    for body in ({}, {"amount": 1}):
        with nothing_written():
            more = bob.post(f"transactions/{original}/reverse", body, key="more")
        problem_of(more, status=422, code="reversal_exceeds_original")
    assert (alice.posted(source), bob.posted(destination)) == (1000, 0)
    assert list(ledger_faults()) == []


def test_of_a_hold_only_what_was_captured_goes_back(alice: Api, bob: Api) -> None:
    source, destination, held = moved(alice, bob, hold=True)
    problem_of(bob.settle(held, "reverse"), status=409, code="not_reversible")
    alice.settle(held, "capture", amount=120)
    over = bob.settle(held, "reverse", amount=121)
    problem_of(over, status=422, code="reversal_exceeds_original")
    assert bob.settle(held, "reverse").json()["amount"] == 120
    back = seen(alice, held)
    assert (back["status"], back["amount"]) == ("reversed", 300)
    assert (back["captured_amount"], back["reversed_amount"]) == (120, 120)
    problem_of(alice.settle(held, "capture"), status=409, code="already_captured")
    assert alice.balances(source) == (1000, 0, 1000)
    assert bob.balances(destination) == (0, 0, 0)


def test_the_payer_may_not_take_money_back(alice: Api, bob: Api, root: Api) -> None:
    source, _, original = moved(alice, bob)
    with nothing_written():
        problem_of(alice.settle(original, "reverse"), status=403, code="forbidden")
    assert root.settle(original, "reverse").status_code == 201
    assert alice.posted(source) == 1000


def test_who_paid_to_an_own_account_may_take_it_back(alice: Api) -> None:
    source, destination = alice.account(balance=100), alice.account()
    original = alice.transfer(source, destination).json()["id"]
    assert alice.settle(original, "reverse").status_code == 201
    assert (alice.posted(source), alice.posted(destination)) == (100, 0)


def test_a_deposit_and_a_withdrawal_can_be_reversed(alice: Api, root: Api) -> None:
    account = alice.account()
    deposit = root.deposit(account, 100).json()["id"]
    withdrawal = alice.withdraw(account, 40).json()["id"]
    problem_of(alice.settle(withdrawal, "reverse"), status=403, code="forbidden")
    back = root.settle(withdrawal, "reverse").json()
    assert (back["source"], back["destination"]) == (None, str(account))
    out = alice.settle(deposit, "reverse").json()
    assert (out["source"], out["destination"]) == (str(account), None)
    assert alice.posted(account) == 0
    assert list(ledger_faults()) == []


@pytest.mark.parametrize("kind", ["failed", "voided", "reversal"])
def test_what_moved_nothing_and_what_is_a_reversal_is_not_reversible(
    alice: Api, bob: Api, root: Api, kind: str
) -> None:
    source, destination, original = moved(alice, bob, hold=kind == "voided")
    if kind == "failed":
        original = alice.transfer(source, destination, 5000).json()["transaction_id"]
    elif kind == "voided":
        alice.settle(original, "void")
    else:
        original = bob.settle(original, "reverse").json()["id"]
    with nothing_written():
        answer = root.settle(original, "reverse")
    problem_of(answer, status=409, code="not_reversible")


def test_money_that_was_spent_meanwhile_is_refused_and_recorded(alice: Api, bob: Api) -> None:
    source, destination, original = moved(alice, bob)
    bob.withdraw(destination, 1)
    answer = bob.settle(original, "reverse", key="k", reason="Sorry")
    problem = problem_of(answer, status=422, code="insufficient_funds")
    assert answer["Location"] == f"/api/transactions/{problem['transaction_id']}"
    failed = seen(bob, problem["transaction_id"])
    assert (failed["type"], failed["status"], failed["reverses"]) == (
        "reversal",
        "failed",
        original,
    )
    assert (failed["amount"], failed["failure"]["code"]) == (300, "insufficient_funds")
    assert (failed["reversed_amount"], failed["expires_at"]) == (0, None)
    hidden = alice.get(f"transactions/{problem['transaction_id']}")
    problem_of(hidden, status=404, code="transaction_not_found")
    kept = seen(alice, original)
    assert (kept["status"], kept["reversed_amount"], kept["version"]) == ("completed", 0, 2)
    again = bob.settle(original, "reverse", key="k", reason="Sorry")
    assert (again.content, again["Idempotent-Replayed"]) == (answer.content, "true")
    assert bob.settle(original, "reverse", amount=299).status_code == 201
    assert (alice.posted(source), bob.posted(destination)) == (999, 0)
    assert list(ledger_faults()) == []


def test_money_that_is_held_cannot_go_back(alice: Api, bob: Api) -> None:
    source, destination, original = moved(alice, bob)
    bob.hold(destination, source, 250)
    over = bob.settle(original, "reverse", amount=51)
    problem_of(over, status=422, code="insufficient_funds")
    assert bob.settle(original, "reverse", amount=50).status_code == 201


@pytest.mark.parametrize(
    ("party", "change", "code"),
    [
        ("receiver", commands.FreezeAccount, "account_frozen"),
        ("payer", commands.CloseAccount, "account_closed"),
    ],
)
def test_a_party_that_may_not_move_money_refuses_it(
    alice: Api, bob: Api, party: str, change: Any, code: str
) -> None:
    source, destination, original = moved(alice, bob)
    alice.withdraw(source, 700)
    execute(change(id={"receiver": destination, "payer": source}[party]))
    problem = problem_of(bob.settle(original, "reverse"), status=422, code=code)
    assert seen(bob, problem["transaction_id"])["status"] == "failed"
    assert bob.posted(destination) == 300


def test_a_frozen_payer_gets_the_money_back(alice: Api, bob: Api) -> None:
    source, _, original = moved(alice, bob)
    execute(commands.FreezeAccount(id=source))
    assert bob.settle(original, "reverse").status_code == 201
    assert alice.posted(source) == 1000


@pytest.mark.parametrize("body", [{}, {"amount": 100}, {"reason": "Paid twice"}])
def test_one_key_is_one_refund(alice: Api, bob: Api, body: dict[str, Any]) -> None:
    source, _, original = moved(alice, bob)
    first = bob.settle(original, "reverse", key="k", **body)
    for _ in range(2):
        with nothing_written():
            again = bob.settle(original, "reverse", key="k", **body)
        assert (again.status_code, again.content) == (201, first.content)
        assert again["Idempotent-Replayed"] == "true"
        assert again["Location"] == first["Location"]
    assert alice.posted(source) == 700 + body.get("amount", 300)
    other = bob.settle(original, "reverse", key="k", amount=7)
    problem_of(other, status=422, code="idempotency_key_reused")


@pytest.mark.parametrize("amount", [0, -5, 10**15 + 1])
def test_an_amount_out_of_range_has_a_code_of_its_own(alice: Api, bob: Api, amount: int) -> None:
    _, _, original = moved(alice, bob)
    with nothing_written():
        answer = bob.settle(original, "reverse", amount=amount)
    problem_of(answer, status=422, code="amount_out_of_range")


def test_the_story_of_the_original_tells_of_its_reversals(alice: Api, bob: Api) -> None:
    _, _, original = moved(alice, bob)
    reversal = bob.settle(original, "reverse", amount=100, reason="A part").json()["id"]
    drain()
    told = alice.get(f"transactions/{original}/events").json()["data"]
    assert told[-1]["type"] == "TransactionReversed"
    assert told[-1]["data"] == {
        "transaction": original,
        "reversal": reversal,
        "amount": 100,
        "reversed_amount": 100,
    }
    its_own = alice.get(f"transactions/{reversal}/events").json()["data"]
    assert [event["type"] for event in its_own] == [
        "TransactionCreated",
        "AccountDebited",
        "AccountCredited",
        "TransactionCompleted",
    ]
    assert told[-1]["metadata"]["causation_id"] == its_own[0]["id"]
    created, debited, credited, _ = (event["data"] for event in its_own)
    assert (created["description"], created["reverses"]) == ("A part", original)
    assert ("posted" in debited, "posted" in credited) == (False, True)


@pytest.mark.django_db(transaction=True)
def test_reversals_at_once_never_exceed_the_original(alice: Api, bob: Api) -> None:
    source, destination, original = moved(alice, bob)
    # That there is more on the account must not be what stops them.
    alice.transfer(source, destination, 700)
    answers = at_once([partial(bob.settle, original, "reverse", amount=70) for _ in range(8)])
    codes = Counter(answer.json().get("code", "done") for answer in answers)
    assert codes == {"done": 4, "reversal_exceeds_original": 4}
    assert seen(bob, original)["reversed_amount"] == 280
    assert bob.posted(destination) == 720
    assert list(ledger_faults()) == []


@pytest.mark.django_db(transaction=True)
def test_one_key_at_once_is_one_refund(alice: Api, bob: Api) -> None:
    source, _, original = moved(alice, bob)
    calls = [partial(bob.settle, original, "reverse", key="k", amount=70) for _ in range(6)]
    answers = at_once(calls)
    done = [answer for answer in answers if answer.status_code == 201]
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.content for answer in done}) == 1
    assert alice.posted(source) == 770
