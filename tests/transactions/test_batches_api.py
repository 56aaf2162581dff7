"""`POST /api/transactions/batch`: many movements in one call, in order."""

import json
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest

from eventstore.models import IdempotencyRecord
from tests.transactions.tools import (
    Api,
    balance,
    counts,
    nothing_written,
    person,
    problem_of,
    with_key,
)
from tests.users.tools import at_once, faults
from transactions.api.batches import BatchView
from transactions.models import Transaction

pytestmark = pytest.mark.django_db

PATH = "transactions/batch"
UNKNOWN = "01a20574-e53c-759f-a21b-a4b06677040e"


def transfer(source: UUID, destination: UUID, amount: Any = 100, **more: Any) -> dict[str, Any]:
    """Return an item."""
    ends = {"source": str(source), "destination": str(destination)}
    return {"type": "transfer", "amount": amount, "currency": "EUR", **ends, **more}


def deposit(destination: UUID, amount: Any = 100, **more: Any) -> dict[str, Any]:
    """Return an item."""
    to = {"destination": str(destination)}
    return {"type": "deposit", "amount": amount, "currency": "EUR", **to, **more}


def send(api: Api, items: Any, *, atomic: Any = False, key: str = "batch") -> Any:
    """POST a batch."""
    return api.post(PATH, {"atomic": atomic, "transactions": items}, key=key)


def results(answer: Any) -> list[dict[str, Any]]:
    """Return what became of each item, in order."""
    assert answer.status_code == 207, answer.content
    assert answer["Content-Type"] == "application/json"
    found: list[dict[str, Any]] = answer.json()["data"]
    assert [each["index"] for each in found] == list(range(len(found)))
    for each in found:
        kind = "transaction" if each["status"] == 201 else "error"
        assert set(each) == {"index", "status", kind}
        assert kind == "transaction" or each["error"]["status"] == each["status"]
    return found


def fates(answer: Any) -> list[Any]:
    """Return for each item 201, or the code for which it was refused."""
    return [
        each["status"] if each["status"] == 201 else each["error"]["code"]
        for each in results(answer)
    ]


def refused(answer: Any, *, index: int, code: str) -> dict[str, Any]:
    """Return the problem document of an atomic batch that was refused."""
    document = problem_of(answer, status=422, code=code)
    assert document["index"] == index
    assert document["errors"][0]["pointer"] == f"/transactions/{index}"
    assert document["errors"][0]["code"] == code
    assert document["instance"] == f"/api/{PATH}"
    assert "cause" not in document
    return document


def test_an_atomic_batch_is_done_as_a_whole(alice: Api, bob: Api) -> None:
    mine, theirs = alice.account(balance=100), bob.account()
    answer = send(alice, [transfer(mine, theirs, 60), transfer(mine, theirs, 40)], atomic=True)
    assert (answer.status_code, answer["Content-Type"]) == (201, "application/json")
    first, second = answer.json()["data"]
    assert (first["status"], first["amount"], second["amount"]) == ("completed", 60, 40)
    for each in (first, second):
        shown = alice.get(f"transactions/{each['id']}").json()
        assert {**shown, "stores": None} == {**each, "stores": None}
    assert (balance(mine), balance(theirs)) == (0, 100)


@pytest.mark.parametrize("atomic", [True, False])
def test_an_item_sees_the_effect_of_those_before_it(alice: Api, bob: Api, atomic: bool) -> None:
    first, second, third = alice.account(balance=100), alice.account(), bob.account()
    items = [transfer(first, second, 100), transfer(second, third, 100)]
    answer = send(alice, items, atomic=atomic)
    assert answer.status_code == (201 if atomic else 207)
    assert (balance(first), balance(second), balance(third)) == (0, 0, 100)


def test_an_item_does_not_see_the_effect_of_those_behind_it(alice: Api, bob: Api) -> None:
    first, second, third = alice.account(balance=100), alice.account(), bob.account()
    items = [transfer(second, third, 100), transfer(first, second, 100)]
    refused(send(alice, items, atomic=True), index=0, code="insufficient_funds")
    assert fates(send(alice, items)) == ["insufficient_funds", 201]


@pytest.mark.parametrize("index", [0, 2, 4])
@pytest.mark.parametrize(
    ("item", "code"),
    [
        ({"amount": 10**9}, "insufficient_funds"),
        ({"amount": 0}, "amount_out_of_range"),
        ({"amount": "5"}, "validation_failed"),
        ({"currency": "USD"}, "currency_mismatch"),
        ({"currency": "XXQ"}, "unknown_currency"),
        ({"destination": UNKNOWN}, "account_not_found"),
        ({"source": UNKNOWN}, "account_not_found"),
        ({"surprise": 1}, "validation_failed"),
        ({"idempotency_key": "k"}, "validation_failed"),
        ({"preconditions": [{"account": UNKNOWN, "version": 1}]}, "account_not_found"),
    ],
)
def test_one_item_that_fails_leaves_nothing_of_an_atomic_batch(
    alice: Api, bob: Api, index: int, item: dict[str, Any], code: str
) -> None:
    mine, theirs = alice.account(balance=100), bob.account()
    items = [transfer(mine, theirs, 1) for _ in range(5)]
    items[index].update(item)
    before = counts()
    answer = send(alice, items, atomic=True)
    refused(answer, index=index, code=code)
    assert counts() == before
    assert (balance(mine), balance(theirs)) == (100, 0)
    assert "Location" not in answer
    # Nothing was stored under the key either, so it serves for the batch that is right.
    items[index] = transfer(mine, theirs, 1)
    assert send(alice, items, atomic=True).status_code == 201


def test_a_malformed_item_of_an_atomic_batch_is_shown_to_the_member(alice: Api) -> None:
    mine, other = alice.account(balance=100), alice.account()
    items = [transfer(mine, other), transfer(mine, other, 1.5, surprise=1)]
    document = refused(send(alice, items, atomic=True), index=1, code="validation_failed")
    assert {each["pointer"] for each in document["errors"]} == {
        "/transactions/1",
        "/transactions/1/amount",
        "/transactions/1/surprise",
    }
    items = [transfer(mine, mine)]
    document = refused(send(alice, items, atomic=True), index=0, code="same_account")
    assert document["errors"][1]["pointer"] == "/transactions/0/destination"


def test_the_first_failure_is_told_whatever_its_kind(alice: Api) -> None:
    mine, other = alice.account(balance=100), alice.account()
    items = [transfer(mine, other, 10**9), transfer(mine, other, "malformed")]
    refused(send(alice, items, atomic=True), index=0, code="insufficient_funds")
    refused(send(alice, items[::-1], atomic=True), index=0, code="validation_failed")


def test_a_deposit_without_the_scope_stops_an_atomic_batch(alice: Api) -> None:
    mine = alice.account(balance=100)
    with nothing_written():
        refused(send(alice, [deposit(mine)], atomic=True), index=0, code="missing_scope")


def test_items_that_stand_for_themselves_succeed_and_fail_alone(alice: Api, bob: Api) -> None:
    mine, theirs = alice.account(balance=100), bob.account()
    items: list[Any] = [
        transfer(mine, theirs, 60),
        transfer(mine, theirs, 60),
        transfer(mine, UUID(UNKNOWN), 5),
        transfer(mine, theirs, 1.5),
        deposit(mine),
        "nonsense",
        None,
        {},
        transfer(mine, mine, 5),
        transfer(mine, theirs, 10**15 + 1),
        transfer(mine, theirs, 40),
    ]
    answer = send(alice, items)
    assert fates(answer) == [
        201,
        "insufficient_funds",
        "account_not_found",
        "validation_failed",
        "missing_scope",
        "validation_failed",
        "validation_failed",
        "validation_failed",
        "same_account",
        "amount_out_of_range",
        201,
    ]
    found = results(answer)
    assert [each["status"] for each in found] == [
        201,
        422,
        404,
        422,
        403,
        422,
        422,
        422,
        422,
        422,
        201,
    ]
    assert (balance(mine), balance(theirs)) == (0, 100)
    recorded = found[1]["error"]["transaction_id"]
    assert alice.get(f"transactions/{recorded}").json()["failure"]["code"] == "insufficient_funds"
    for index, error in ((2, found[2]["error"]), (3, found[3]["error"]), (8, found[8]["error"])):
        assert error["instance"] == f"/api/{PATH}"
        assert error["request_id"] == answer["X-Request-Id"]
        assert "transaction_id" not in error
        pointers = [each["pointer"] for each in error.get("errors", ())]
        assert all(each.startswith(f"/transactions/{index}/") for each in pointers)
    assert found[3]["error"]["errors"][0]["pointer"] == "/transactions/3/amount"
    assert found[5]["error"]["errors"][0]["pointer"] == "/transactions/5"


def test_a_malformed_item_records_nothing(alice: Api) -> None:
    mine, other = alice.account(balance=100), alice.account()
    with nothing_written(IdempotencyRecord=1):
        assert fates(send(alice, [transfer(mine, other, 0), 5])) == [
            "amount_out_of_range",
            "validation_failed",
        ]


@pytest.mark.parametrize("atomic", [True, False])
def test_deposits_withdrawals_holds_and_preconditions_are_items_too(
    root: Api, alice: Api, atomic: bool
) -> None:
    mine, other = alice.account(), alice.account()
    version = root.get(f"accounts/{mine}").json()["version"]
    withdrawal = {"type": "withdrawal", "source": str(mine), "amount": 30, "currency": "EUR"}
    items = [
        deposit(mine, 100, preconditions=[{"account": str(mine), "version": version}]),
        withdrawal,
        transfer(mine, other, 20, hold=True, expires_in=60),
        transfer(
            mine,
            other,
            50,
            preconditions=[
                {"account": str(mine), "available_gte": 50},
                {"account": str(mine), "posted_lte": 70},
            ],
        ),
    ]
    answer = send(root, items, atomic=atomic)
    data = answer.json()["data"]
    moved = data if atomic else [each["transaction"] for each in results(answer)]
    assert [each["status"] for each in moved] == ["completed", "completed", "held", "completed"]
    assert [each["type"] for each in moved] == ["deposit", "withdrawal", "transfer", "transfer"]
    assert moved[2]["expires_at"] is not None
    assert root.get(f"accounts/{mine}").json()["balance"]["available"]["amount"] == 0
    captured = root.post(f"transactions/{moved[2]['id']}/capture", key="c")
    assert captured.status_code == 200
    items = [
        deposit(mine, 1),
        deposit(mine, 1, preconditions=[{"account": str(mine), "version": 1}]),
    ]
    if atomic:
        refused(send(root, items, atomic=True, key="b"), index=1, code="precondition_failed")
    else:
        assert fates(send(root, items, key="b")) == [201, "precondition_failed"]


@pytest.mark.parametrize("atomic", [True, False])
def test_a_thousand_items_are_taken(alice: Api, bob: Api, atomic: bool) -> None:
    mine, theirs = alice.account(balance=1000), bob.account()
    items = [
        transfer(mine, theirs, 1, description=f"Invoice {number}", reference=f"{number}")
        for number in range(1000)
    ]
    assert len(json.dumps(items)) < 2**20
    answer = send(alice, items, atomic=atomic)
    data = answer.json()["data"]
    moved = data if atomic else [each["transaction"] for each in results(answer)]
    assert [each["reference"] for each in moved] == [str(number) for number in range(1000)]
    assert (balance(mine), balance(theirs)) == (0, 1000)


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"atomic": True, "transactions": []}, "/transactions", "out_of_range"),
        ({"atomic": False, "transactions": []}, "/transactions", "out_of_range"),
        ({"atomic": False, "transactions": [None] * 1001}, "/transactions", "out_of_range"),
        ({"atomic": True, "transactions": {}}, "/transactions", "not_a_list"),
        ({"atomic": True, "transactions": None}, "/transactions", "null"),
        ({"atomic": True}, "/transactions", "required"),
        ({"transactions": [{}]}, "/atomic", "required"),
        ({"atomic": 1, "transactions": [{}]}, "/atomic", "invalid"),
        ({"atomic": "true", "transactions": [{}]}, "/atomic", "invalid"),
        ({"atomic": None, "transactions": [{}]}, "/atomic", "null"),
        ({"atomic": True, "transactions": [{}], "x": 1}, "/x", "unknown_field"),
        ([], "", "not_an_object"),
    ],
)
def test_a_malformed_batch_is_refused_as_a_whole(
    alice: Api, body: Any, pointer: str, code: str
) -> None:
    with nothing_written():
        answer = alice.post(PATH, body, key="k")
    problem_of(answer, status=422, code="validation_failed")
    assert faults(answer) == {(pointer, code)}


def test_a_batch_wants_a_key_and_a_scope(alice: Api) -> None:
    mine, other = alice.account(balance=100), alice.account()
    body = {"atomic": True, "transactions": [transfer(mine, other)]}
    with nothing_written():
        problem_of(alice.post(PATH, body), status=400, code="idempotency_key_required")
        problem_of(alice.post(PATH, body, key="a b"), status=400, code="idempotency_key_invalid")
        problem_of(alice.get(PATH), status=405, code="method_not_allowed")
    reader = with_key(alice.user, ["transactions:read"])
    problem_of(reader.post(PATH, body, key="k"), status=403, code="missing_scope")


@pytest.mark.parametrize("atomic", [True, False])
def test_the_same_batch_again_gets_the_same_answer_byte_for_byte(
    alice: Api, bob: Api, atomic: bool
) -> None:
    mine, theirs = alice.account(balance=100), bob.account()
    items: list[Any] = [transfer(mine, theirs, 60), transfer(mine, theirs, 40)]
    if not atomic:
        items += [transfer(mine, theirs, 1), "nonsense", transfer(mine, UUID(UNKNOWN))]
    first = send(alice, items, atomic=atomic)
    assert "Idempotent-Replayed" not in first
    with nothing_written():
        again = send(alice, items, atomic=atomic)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again["Idempotent-Replayed"] == "true"
    assert (balance(mine), balance(theirs)) == (0, 100)
    with nothing_written():
        problem_of(send(alice, items[:1], atomic=atomic), status=422, code="idempotency_key_reused")
        problem_of(send(alice, items, atomic=not atomic), status=422, code="idempotency_key_reused")


def test_the_answer_is_there_after_a_crash_between_commit_and_answer(
    alice: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = alice.account(balance=100), alice.account()
    items = [transfer(mine, other, 60), transfer(mine, other, 60)]

    def crash(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr("transactions.api.batches.answer_outcome", crash)
        with pytest.raises(ZeroDivisionError):
            send(alice, items)
    with nothing_written():
        again = send(alice, items)
    assert again["Idempotent-Replayed"] == "true"
    assert fates(again) == [201, "insufficient_funds"]
    assert balance(other) == 60


def test_an_item_with_a_key_is_done_once_in_all_batches(alice: Api, bob: Api) -> None:
    mine, theirs = alice.account(balance=100), bob.account()
    done = transfer(mine, theirs, 60, idempotency_key="one")
    refusal = transfer(mine, theirs, 60, idempotency_key="two")
    first = results(send(alice, [done, refusal], key="a"))
    assert [each["status"] for each in first] == [201, 422]
    alice.transfer(theirs, mine, 60)
    deposited = counts()
    second = results(send(alice, [refusal, transfer(mine, theirs, 1), done], key="b"))
    assert second[0]["error"] == first[1]["error"]
    assert second[2]["transaction"] == first[0]["transaction"]
    assert counts()["Transaction"] == deposited["Transaction"] + 1
    assert balance(theirs) == 61


def test_a_key_twice_in_one_batch_is_a_replay_or_a_mistake(alice: Api, bob: Api) -> None:
    mine, theirs = alice.account(balance=100), bob.account()
    item = transfer(mine, theirs, 10, idempotency_key="k")
    other = transfer(mine, theirs, 11, idempotency_key="k")
    answer = send(alice, [item, dict(reversed(item.items())), other, item])
    assert fates(answer) == [201, 201, "idempotency_key_reused", 201]
    found = results(answer)
    assert found[1]["transaction"] == found[0]["transaction"] == found[3]["transaction"]
    assert found[2]["status"] == 422
    assert balance(theirs) == 10
    assert fates(send(alice, [other], key="later")) == ["idempotency_key_reused"]


def test_an_item_that_was_not_decided_leaves_its_key_free(alice: Api, bob: Api) -> None:
    mine, theirs = alice.account(balance=100), bob.account()
    wrong = [
        transfer(mine, UUID(UNKNOWN), idempotency_key="k"),
        transfer(mine, theirs, 0, idempotency_key="j"),
    ]
    assert fates(send(alice, wrong, key="a")) == ["account_not_found", "amount_out_of_range"]
    right = [transfer(mine, theirs, 5, idempotency_key=key) for key in "kj"]
    assert fates(send(alice, right, key="b")) == [201, 201]


def test_keys_of_items_of_batches_and_of_single_movements_do_not_meet(alice: Api, bob: Api) -> None:
    mine, theirs = alice.account(balance=100), bob.account()
    item = transfer(mine, theirs, 10)
    assert alice.post("transactions", item, key="k").status_code == 201
    keyed = [{**item, "idempotency_key": "k"}]
    first = send(alice, keyed, key="k")
    assert fates(first) == [201]
    assert "Idempotent-Replayed" not in first
    assert fates(send(alice, [{**item, "idempotency_key": "batch"}], key="batch")) == [201]
    assert balance(theirs) == 30
    assert IdempotencyRecord.objects.filter(key="k").count() == 3


def test_another_user_learns_nothing_from_the_key_of_an_item(root: Api) -> None:
    mine = root.account()
    other = person(is_superuser=True)
    item = [deposit(mine, 10, idempotency_key="k")]
    first, second = results(send(root, item))[0], results(send(other, item))[0]
    assert first["transaction"]["id"] != second["transaction"]["id"]
    assert balance(mine) == 20


@pytest.mark.parametrize("key", ["", " ", "a b", "é", "x" * 256, 5, None, ["k"], "a\n", "\x7f"])
def test_an_item_with_an_odd_key_is_refused_alone(alice: Api, key: Any) -> None:
    mine, other = alice.account(balance=100), alice.account()
    items = [transfer(mine, other, 1, idempotency_key=key), transfer(mine, other, 1)]
    answer = send(alice, items)
    assert fates(answer) == ["validation_failed", 201]
    error = results(answer)[0]["error"]
    assert {each["pointer"] for each in error["errors"]} == {"/transactions/0/idempotency_key"}


def test_a_key_may_have_255_visible_characters(alice: Api) -> None:
    mine, other = alice.account(balance=100), alice.account()
    item = [transfer(mine, other, 1, idempotency_key="~" * 255)]
    assert fates(send(alice, item, key="a")) == fates(send(alice, item, key="b")) == [201]
    assert balance(other) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("atomic", [True, False])
def test_two_equal_batches_at_once_have_one_effect(atomic: bool) -> None:
    alice = person()
    mine, other = alice.account(balance=100), alice.account()
    items = [transfer(mine, other, 10), transfer(mine, other, 20)]
    call = partial(send, alice, items, atomic=atomic)
    answers = at_once([call, call])
    assert answers[0].content == answers[1].content
    assert sorted("Idempotent-Replayed" in each for each in answers) == [False, True]
    assert balance(other) == 30
    assert Transaction.objects.filter(type="transfer").count() == 2


@pytest.mark.django_db(transaction=True)
def test_an_item_with_a_key_in_two_batches_at_once_has_one_effect() -> None:
    alice = person()
    mine, spare = alice.account(balance=100), alice.account(balance=100)
    others = [alice.account(), alice.account()]
    item = transfer(mine, others[0], 10, idempotency_key="k")
    calls = [
        partial(send, alice, [transfer(spare, others[1], 1), item], key="a"),
        partial(send, alice, [item, transfer(spare, others[1], 1)], key="b"),
    ]
    first, second = (results(answer) for answer in at_once(calls))
    assert first[1]["transaction"] == second[0]["transaction"]
    assert (balance(others[0]), balance(others[1])) == (10, 2)


def test_a_bug_in_one_item_leaves_nothing_and_blames_nobody(
    alice: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = alice.account(balance=100), alice.account()

    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("transactions.domain.movements.credit", fail)
    with nothing_written(), pytest.raises(ZeroDivisionError):
        send(alice, [transfer(mine, other, idempotency_key="k")])


def test_the_address_of_a_batch_is_not_taken_for_a_transaction(alice: Api) -> None:
    assert BatchView.scopes == {"POST": "transactions:write"}
    answer = alice.get(f"transactions/{uuid4()}")
    problem_of(answer, status=404, code="transaction_not_found")
