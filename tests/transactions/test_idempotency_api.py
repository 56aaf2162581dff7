"""`Idempotency-Key`: one effect and one answer, however often a request is sent."""

import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from eventstore.middleware.idempotency import KEPT
from eventstore.models import IdempotencyRecord
from tests.transactions.tools import Api, admin, nothing_written, person, problem_of
from tests.users.tools import at_once

pytestmark = pytest.mark.django_db

MOVING = ["Location", "ETag", "Content-Type"]


def test_the_same_request_again_gets_the_same_answer_byte_for_byte(root: Api) -> None:
    source, destination = root.account(balance=100), root.account()
    first = root.transfer(source, destination, 40, key="k")
    assert first.status_code == 201
    assert "Idempotent-Replayed" not in first
    for _ in range(2):
        with nothing_written():
            again = root.transfer(source, destination, 40, key="k")
        assert (again.status_code, again.content) == (201, first.content)
        assert again["Idempotent-Replayed"] == "true"
        assert [again[name] for name in MOVING] == [first[name] for name in MOVING]
        assert again["X-Request-Id"] != first["X-Request-Id"]
    assert root.posted(destination) == 40


def test_the_answer_stays_what_it_was_whatever_happens_since(root: Api) -> None:
    source, destination = root.account(balance=40), root.account()
    first = root.transfer(source, destination, 40, key="k")
    root.transfer(destination, source, 40)
    root.post(f"accounts/{source}/freeze")
    assert root.transfer(source, destination, 40, key="k").content == first.content


def test_a_refusal_is_replayed_too(root: Api) -> None:
    source, destination = root.account(), root.account()
    refused = root.transfer(source, destination, key="k")
    problem_of(refused, status=422, code="insufficient_funds")
    root.deposit(source, 1000)
    with nothing_written():
        again = root.transfer(source, destination, key="k")
    assert (again.status_code, again.content) == (422, refused.content)
    assert [again[name] for name in ("Location", "Content-Type", "Idempotent-Replayed")] == [
        refused["Location"],
        "application/problem+json",
        "true",
    ]


def test_order_of_members_and_spacing_do_not_matter(root: Api) -> None:
    account = root.account()
    body = {
        "type": "deposit",
        "destination": str(account),
        "amount": 5,
        "currency": "EUR",
        "metadata": {"a": [1, {"x": 1, "y": "é"}], "b": {}},
    }
    first = root.post("transactions", json.dumps(body), key="k")
    assert first.status_code == 201
    turned = {name: body[name] for name in reversed(body)}
    turned["metadata"] = {"b": {}, "a": [1, {"y": "é", "x": 1}]}
    for text in (
        json.dumps(turned),
        json.dumps(body, indent=3),
        json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode(),
        f"\n\t {json.dumps(turned)} \r\n",
    ):
        with nothing_written():
            again = root.post("transactions", text, key="k")
        assert (again.status_code, again.content) == (201, first.content)


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 101},
        {"description": "x"},
        {"metadata": {"a": 1}},
        {"metadata": {"a": [2, 1]}},
        {"metadata": {"a": "1"}},
        {"reference": " "},
    ],
)
def test_another_body_with_the_key_is_refused(root: Api, change: dict[str, Any]) -> None:
    account = root.account()
    first = root.deposit(account, metadata={"a": [1, 2]}, key="k")
    with nothing_written():
        answer = root.deposit(account, **{"metadata": {"a": [1, 2]}, "key": "k", **change})
    problem_of(answer, status=422, code="idempotency_key_reused")
    assert root.deposit(account, metadata={"a": [1, 2]}, key="k").content == first.content


def test_a_key_belongs_to_its_user_and_its_path(root: Api) -> None:
    other = admin()
    account = root.account()
    first = root.deposit(account, key="k")
    second = other.deposit(account, key="k")
    third = root.post("accounts", {"currency": "EUR"}, key="k")
    assert [first.status_code, second.status_code, third.status_code] == [201, 201, 201]
    assert first.json()["id"] != second.json()["id"]
    assert root.posted(account) == 200


def test_another_user_learns_nothing_from_a_key(root: Api) -> None:
    account = root.account(balance=100)
    root.transfer(account, root.account(), key="k")
    answer = person().transfer(account, root.account(), key="k")
    problem_of(answer, status=404, code="account_not_found")
    assert "Idempotent-Replayed" not in answer


@pytest.mark.parametrize("key", ["x", "a-b_c~!", "x" * 255, '"quoted"', "%00"])
def test_a_key_is_any_visible_ascii(root: Api, key: str) -> None:
    account = root.account()
    assert root.deposit(account, key=key).status_code == 201
    assert root.deposit(account, key=key)["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "é", "a\tb", "\x7f"])
def test_any_other_key_is_refused(root: Api, key: str) -> None:
    account = root.account()
    with nothing_written():
        problem_of(root.deposit(account, key=key), status=400, code="idempotency_key_invalid")
        answer = root.post("accounts", {"currency": "EUR"}, key=key)
        problem_of(answer, status=400, code="idempotency_key_invalid")


def test_moving_money_needs_a_key(root: Api) -> None:
    account = root.account()
    with nothing_written():
        answer = root.deposit(account, key=None)
        problem_of(answer, status=400, code="idempotency_key_required")
        answer = root.post("transactions", "not even JSON")
        problem_of(answer, status=400, code="idempotency_key_required")


def wrong_amount(root: Api, account: Any) -> Any:
    return root.deposit(account, 0, key="k")


def wrong_shape(root: Api, account: Any) -> Any:
    return root.deposit(account, "100", key="k")


def unknown_account(root: Api, account: Any) -> Any:
    return root.transfer(account, root.user.pk, key="k")


def malformed(root: Api, account: Any) -> Any:
    return root.post("transactions", "{", key="k")


def missing_scope(root: Api, account: Any) -> Any:
    return Api(root.user, "").deposit(account, key="k")


@pytest.mark.parametrize(
    ("call", "status"),
    [
        (wrong_amount, 422),
        (wrong_shape, 422),
        (unknown_account, 404),
        (malformed, 400),
        (missing_scope, 401),
    ],
)
def test_what_was_never_begun_is_not_remembered(
    root: Api, call: Callable[[Api, Any], Any], status: int
) -> None:
    account = root.account()
    with nothing_written():
        assert call(root, account).status_code == status
    answer = root.deposit(account, key="k")
    assert answer.status_code == 201
    assert "Idempotent-Replayed" not in answer


def test_a_key_is_forgotten_after_thirty_days(root: Api) -> None:
    account = root.account()
    first = root.deposit(account, key="k").json()["id"]
    [record] = IdempotencyRecord.objects.all()
    record.created_at -= KEPT - timedelta(hours=1)
    record.save()
    assert root.deposit(account, key="k").json()["id"] == first
    record.created_at -= timedelta(hours=2)
    record.save()
    assert root.deposit(account, key="k").json()["id"] != first


@pytest.mark.django_db(transaction=True)
def test_one_request_sent_many_times_at_once_is_answered_alike(root: Api) -> None:
    source, destination = root.account(balance=100), root.account()
    # Each client's bulkhead slot is one of fifteen: the others wait in its queue.
    call = partial(root.transfer, source, destination, 100, key="k")
    answers = at_once([call] * 20)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer for answer in answers) == 1
    assert (root.posted(source), root.posted(destination)) == (0, 100)
