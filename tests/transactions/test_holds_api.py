"""Holds: money that is reserved, and then captured, voided, or free again."""

from collections import Counter
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.transactions.tools import (
    Api,
    drain,
    execute,
    let_expire,
    nothing_written,
    problem_of,
)
from tests.users.tools import at_once, faults
from transactions.domain import commands
from transactions.verification import ledger_faults

pytestmark = pytest.mark.django_db

DEFAULT_TIME = timedelta(days=7)
MAX_S = 30 * 24 * 3600


def status_of(reader: Api, transaction: str) -> str:
    answer = reader.get(f"transactions/{transaction}")
    assert answer.status_code == 200, answer.content
    return str(answer.json()["status"])


def pair(alice: Api, bob: Api, *, funds: int = 1000) -> tuple[UUID, UUID]:
    """Return an account of Alice's with money, and one of Bob's without."""
    return alice.account(balance=funds), bob.account()


def test_a_hold_reserves_and_moves_nothing(alice: Api, bob: Api) -> None:
    source, destination = pair(alice, bob)
    answer = alice.transfer(source, destination, 300, hold=True)
    assert answer.status_code == 201, answer.content
    body = answer.json()
    lasts = datetime.fromisoformat(body["expires_at"]) - datetime.fromisoformat(body["created_at"])
    assert (body["status"], body["amount"], body["captured_amount"]) == ("held", 300, 0)
    assert (body["completed_at"], lasts) == (None, DEFAULT_TIME)
    assert answer["Location"] == f"/api/transactions/{body['id']}"
    assert answer["ETag"] == '"2"'
    assert alice.get(f"transactions/{body['id']}").json() == body
    assert alice.balances(source) == (1000, 300, 700)
    assert bob.balances(destination) == (0, 0, 0)
    assert list(ledger_faults()) == []


def test_a_hold_lasts_as_long_as_was_asked_for(alice: Api, bob: Api) -> None:
    source, destination = pair(alice, bob)
    for wanted_s in (1, 3600, MAX_S):
        body = alice.transfer(source, destination, 1, hold=True, expires_in=wanted_s).json()
        begun, ends = (datetime.fromisoformat(body[name]) for name in ("created_at", "expires_at"))
        assert ends - begun == timedelta(seconds=wanted_s)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"hold": "true"}, ("/hold", "invalid")),
        ({"hold": 1}, ("/hold", "invalid")),
        ({"hold": None}, ("/hold", "null")),
        ({"expires_in": 60}, ("/expires_in", "not_allowed")),
        ({"hold": False, "expires_in": 60}, ("/expires_in", "not_allowed")),
        ({"hold": True, "expires_in": 0}, ("/expires_in", "min_value")),
        ({"hold": True, "expires_in": MAX_S + 1}, ("/expires_in", "max_value")),
        ({"hold": True, "expires_in": 60.0}, ("/expires_in", "invalid")),
        ({"hold": True, "expires_in": None}, ("/expires_in", "null")),
        ({"hold": True, "expires_at": "2030-01-01T00:00:00Z"}, ("/expires_at", "unknown_field")),
    ],
)
def test_a_hold_that_will_not_do_is_named(
    alice: Api, bob: Api, changes: dict[str, Any], fault: tuple[str, str]
) -> None:
    source, destination = pair(alice, bob)
    with nothing_written():
        answer = alice.transfer(source, destination, **changes)
    assert faults(answer) == {fault}


def test_a_deposit_cannot_be_held(root: Api) -> None:
    account = root.account()
    with nothing_written():
        assert faults(root.deposit(account, hold=True)) == {("/hold", "not_allowed")}
        assert faults(root.deposit(account, expires_in=60)) == {("/expires_in", "unknown_field")}
    assert root.deposit(account, hold=False).status_code == 201


def test_reserved_money_cannot_be_spent(alice: Api, bob: Api) -> None:
    source, destination = pair(alice, bob, funds=100)
    alice.hold(source, destination, 60)
    for spend in (alice.transfer(source, destination, 41), alice.withdraw(source, 41)):
        problem_of(spend, status=422, code="insufficient_funds")
    over = alice.transfer(source, destination, 41, hold=True)
    problem_of(over, status=422, code="insufficient_funds")
    assert alice.transfer(source, destination, 40).status_code == 201
    assert alice.balances(source) == (60, 60, 0)


def test_the_overdraft_may_be_held_and_not_a_cent_more(alice: Api, bob: Api) -> None:
    source, destination = alice.account(balance=100, overdraft_limit=50), bob.account()
    over = alice.transfer(source, destination, 151, hold=True)
    problem_of(over, status=422, code="insufficient_funds")
    held = alice.hold(source, destination, 150)
    assert alice.balances(source) == (100, 150, 0)
    assert alice.settle(held, "capture").status_code == 200
    assert alice.balances(source) == (-50, 0, 0)
    assert list(ledger_faults()) == []


def test_a_hold_that_was_refused_holds_nothing(alice: Api, bob: Api) -> None:
    source, destination = pair(alice, bob, funds=99)
    problem = problem_of(
        alice.transfer(source, destination, 100, hold=True), status=422, code="insufficient_funds"
    )
    failed = alice.get(f"transactions/{problem['transaction_id']}").json()
    assert (failed["status"], failed["expires_at"]) == ("failed", None)
    assert (failed["captured_amount"], failed["reversed_amount"]) == (0, 0)
    assert alice.balances(source) == (99, 0, 99)
    for action in ("capture", "void"):
        answer = alice.settle(problem["transaction_id"], action)
        problem_of(answer, status=409, code="not_a_hold")


def test_a_capture_takes_all_that_is_held(alice: Api, bob: Api) -> None:
    source, destination = pair(alice, bob)
    held = alice.hold(source, destination, 300)
    answer = alice.settle(held, "capture")
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert (body["status"], body["amount"], body["captured_amount"]) == ("completed", 300, 300)
    assert body["completed_at"] is not None
    assert (answer["ETag"], body["version"]) == ('"4"', 4)
    assert "Location" not in answer
    assert alice.get(f"transactions/{held}").json() == body
    assert alice.balances(source) == (700, 0, 700)
    assert bob.balances(destination) == (300, 0, 300)


def test_a_capture_of_a_part_releases_the_rest(alice: Api, bob: Api) -> None:
    source, destination = pair(alice, bob)
    held = alice.hold(source, destination, 300)
    body = alice.settle(held, "capture", amount=120).json()
    assert (body["status"], body["amount"], body["captured_amount"]) == ("completed", 300, 120)
    assert alice.balances(source) == (880, 0, 880)
    assert bob.balances(destination) == (120, 0, 120)
    again = alice.settle(held, "capture", amount=1)
    problem_of(again, status=409, code="already_captured")
    problem_of(alice.settle(held, "void"), status=409, code="already_captured")
    assert list(ledger_faults()) == []


def test_a_capture_is_an_entry_with_its_running_balance(alice: Api, bob: Api) -> None:
    source, destination = pair(alice, bob)
    held = alice.hold(source, destination, 300)
    drain()
    assert len(alice.get(f"accounts/{source}/entries").json()["data"]) == 1, "only the deposit"
    alice.settle(held, "capture", amount=120)
    drain()
    for reader, account, direction, running in (
        (alice, source, "debit", 880),
        (bob, destination, "credit", 120),
    ):
        [entry] = reader.get(f"accounts/{account}/entries?transaction={held}").json()["data"]
        assert (entry["direction"], entry["amount"]) == (direction, 120)
        assert entry["running_balance"] == running


def test_a_withdrawal_may_be_held_and_captured(alice: Api) -> None:
    account = alice.account(balance=100)
    held = alice.withdraw(account, 60, hold=True).json()["id"]
    assert alice.balances(account) == (100, 60, 40)
    assert alice.settle(held, "capture", amount=50).json()["captured_amount"] == 50
    assert alice.balances(account) == (50, 0, 50)
    assert list(ledger_faults()) == []


def test_a_void_releases_all_that_is_held(alice: Api, bob: Api) -> None:
    source, destination = pair(alice, bob)
    held = alice.hold(source, destination, 300)
    answer = alice.settle(held, "void")
    assert (answer.status_code, answer.json()["status"]) == (200, "voided")
    assert (answer.json()["captured_amount"], answer["ETag"]) == (0, '"3"')
    assert alice.balances(source) == (1000, 0, 1000)
    problem_of(alice.settle(held, "void"), status=409, code="already_voided")
    problem_of(alice.settle(held, "capture"), status=409, code="already_voided")
    problem_of(alice.settle(held, "reverse"), status=403, code="forbidden")
    assert list(ledger_faults()) == []


def test_what_was_never_held_is_not_a_hold(alice: Api, bob: Api) -> None:
    source, destination = pair(alice, bob)
    moved = alice.transfer(source, destination).json()["id"]
    for action in ("capture", "void"):
        problem_of(alice.settle(moved, action), status=409, code="not_a_hold")


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        (301, "capture_exceeds_hold"),
        (10**15, "capture_exceeds_hold"),
        (0, "amount_out_of_range"),
        (-1, "amount_out_of_range"),
        (10**15 + 1, "amount_out_of_range"),
    ],
)
def test_an_amount_that_cannot_be_captured_leaves_the_hold(
    alice: Api, bob: Api, amount: int, code: str
) -> None:
    source, destination = pair(alice, bob)
    held = alice.hold(source, destination, 300)
    with nothing_written():
        answer = alice.settle(held, "capture", amount=amount)
    document = problem_of(answer, status=422, code=code)
    assert [fault["pointer"] for fault in document["errors"]] == ["/amount"]
    assert status_of(alice, held) == "held"


@pytest.mark.parametrize(
    ("action", "body", "fault"),
    [
        ("capture", {"amount": "5"}, ("/amount", "invalid")),
        ("capture", {"amount": 5.0}, ("/amount", "invalid")),
        ("capture", {"amount": None}, ("/amount", "null")),
        ("capture", {"reason": "x"}, ("/reason", "unknown_field")),
        ("capture", [], ("", "not_an_object")),
        ("void", {"amount": 5}, ("/amount", "unknown_field")),
        ("reverse", {"amount": True}, ("/amount", "invalid")),
        ("reverse", {"reason": "x" * 501}, ("/reason", "max_length")),
        ("reverse", {"metadata": {}}, ("/metadata", "unknown_field")),
    ],
)
def test_a_body_that_will_not_do_is_named(
    alice: Api, bob: Api, action: str, body: Any, fault: tuple[str, str]
) -> None:
    held = alice.hold(*pair(alice, bob))
    with nothing_written():
        answer = alice.post(f"transactions/{held}/{action}", body, key="k")
    assert faults(answer) == {fault}


@pytest.mark.parametrize("action", ["capture", "void", "reverse"])
def test_settling_wants_a_key(alice: Api, bob: Api, action: str) -> None:
    held = alice.hold(*pair(alice, bob))
    with nothing_written():
        answer = alice.settle(held, action, key=None)
    problem_of(answer, status=400, code="idempotency_key_required")


@pytest.mark.parametrize(("action", "status"), [("capture", 200), ("void", 200)])
def test_the_same_key_settles_once_and_answers_the_same(
    alice: Api, bob: Api, action: str, status: int
) -> None:
    held = alice.hold(*pair(alice, bob))
    first = alice.settle(held, action, key="k")
    assert first.status_code == status, first.content
    with nothing_written():
        again = alice.post(f"transactions/{held}/{action}", {}, key="k")
    assert (again.status_code, again.content) == (status, first.content)
    assert (again["Idempotent-Replayed"], again["ETag"]) == ("true", first["ETag"])


def test_only_the_owner_of_the_money_settles_a_hold(alice: Api, bob: Api, root: Api) -> None:
    source, destination = pair(alice, bob)
    stranger = Api(root.user, "")
    held = alice.hold(source, destination)
    for action in ("capture", "void"):
        with nothing_written():
            problem_of(bob.settle(held, action), status=403, code="forbidden")
            problem_of(stranger.settle(held, action), status=401, code="not_authenticated")
    assert root.settle(held, "capture").status_code == 200
    assert root.settle(alice.hold(source, destination), "void").status_code == 200


@pytest.mark.parametrize("action", ["capture", "void", "reverse"])
def test_what_one_may_not_see_is_not_found(alice: Api, bob: Api, root: Api, action: str) -> None:
    theirs = root.hold(root.account(balance=100), alice.account())
    for unknown in (theirs, str(uuid4()), "nothing"):
        with nothing_written():
            answer = bob.settle(unknown, action)
        problem_of(answer, status=404, code="transaction_not_found")


def test_a_frozen_source_keeps_its_hold_and_may_only_void_it(alice: Api, bob: Api) -> None:
    source, destination = pair(alice, bob)
    held = alice.hold(source, destination)
    execute(commands.FreezeAccount(id=source))
    refused = alice.transfer(source, destination, hold=True)
    problem_of(refused, status=422, code="account_frozen")
    with nothing_written():
        problem_of(alice.settle(held, "capture"), status=422, code="account_frozen")
    assert status_of(alice, held) == "held"
    assert alice.settle(held, "void").status_code == 200


def test_a_destination_that_was_closed_meanwhile_gets_nothing(alice: Api, bob: Api) -> None:
    source, destination = pair(alice, bob)
    held = alice.hold(source, destination)
    execute(commands.CloseAccount(id=destination))
    with nothing_written():
        problem_of(alice.settle(held, "capture"), status=422, code="account_closed")
    assert alice.settle(held, "void").status_code == 200


def test_an_account_with_a_hold_cannot_be_closed(alice: Api, bob: Api) -> None:
    source, destination = alice.account(overdraft_limit=100), bob.account()
    held = alice.hold(source, destination)
    problem_of(alice.post(f"accounts/{source}/close"), status=409, code="account_not_empty")
    alice.settle(held, "void")
    assert alice.post(f"accounts/{source}/close").status_code == 200


def test_every_change_of_a_hold_raises_the_version_of_its_account(alice: Api, bob: Api) -> None:
    source, destination = pair(alice, bob)
    path = f"accounts/{source}"
    before = alice.get(path)["ETag"]
    assert before == '"2"'
    held = alice.hold(source, destination, 300)
    assert alice.get(path)["ETag"] == '"3"'
    stale = alice.patch(path, {"name": "New"}, **{"If-Match": before})
    problem_of(stale, status=412, code="stale_version")
    alice.settle(held, "capture", amount=100)
    assert alice.get(path)["ETag"] == '"5"', "captured, and the rest released"
    assert bob.get(f"accounts/{destination}")["ETag"] == '"2"'


@pytest.mark.parametrize("action", ["capture", "void"])
def test_an_expired_hold_cannot_be_settled(alice: Api, bob: Api, action: str) -> None:
    source, destination = pair(alice, bob)
    held = alice.hold(source, destination)
    let_expire(held)
    with nothing_written():
        problem_of(alice.settle(held, action), status=409, code="hold_expired")
    assert bob.balances(destination) == (0, 0, 0)


def test_each_party_reads_the_story_of_a_hold(alice: Api, bob: Api, root: Api) -> None:
    source, destination = pair(alice, bob)
    held = alice.hold(source, destination, 300, description="Deposit", metadata={"room": 12})
    alice.settle(held, "capture", amount=120)
    drain()
    types = [
        "TransactionCreated",
        "FundsHeld",
        "TransactionHeld",
        "HoldCaptured",
        "AccountCredited",
        "HoldReleased",
        "TransactionCaptured",
        "TransactionCompleted",
    ]
    stories = {
        reader: alice_or_bob.get(f"transactions/{held}/events").json()["data"]
        for reader, alice_or_bob in (("payer", alice), ("payee", bob), ("auditor", root))
    }
    for story in stories.values():
        assert [event["type"] for event in story] == types
    said = {
        reader: {event["type"]: event["data"] for event in story}
        for reader, story in stories.items()
    }
    for reader in ("payer", "payee"):
        created = said[reader]["TransactionCreated"]
        assert (created["description"], created["metadata"]) == ("Deposit", {"room": 12})
        assert created["reference"] == ""
        assert "personal" not in created
        assert all(event["hash"] is None for event in stories[reader])
    assert "personal" in said["auditor"]["TransactionCreated"], "as its hash covers it"
    mine = said["payer"]
    assert (mine["FundsHeld"]["held"], mine["HoldReleased"]["held"]) == (300, 0)
    assert (mine["HoldCaptured"]["posted"], mine["HoldCaptured"]["held"]) == (880, 180)
    assert "posted" not in mine["AccountCredited"]
    theirs = said["payee"]
    assert theirs["AccountCredited"]["posted"] == 120
    for name in ("FundsHeld", "HoldCaptured", "HoldReleased"):
        assert not {"posted", "held"} & theirs[name].keys(), name


@pytest.mark.django_db(transaction=True)
def test_of_a_capture_and_a_void_at_once_exactly_one_is_done(alice: Api, bob: Api) -> None:
    source, destination = pair(alice, bob)
    for _ in range(3):
        posted = alice.posted(source)
        held = alice.hold(source, destination, 100)
        answers = at_once([partial(alice.settle, held, each) for each in ("capture", "void") * 3])
        statuses = Counter(answer.status_code for answer in answers)
        assert statuses == {200: 1, 409: 5}
        [done] = [answer.json()["status"] for answer in answers if answer.status_code == 200]
        moved = 100 if done == "completed" else 0
        assert alice.balances(source) == (posted - moved, 0, posted - moved)
        assert status_of(alice, held) == done
    assert list(ledger_faults()) == []
