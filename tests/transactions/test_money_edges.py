"""Money and metadata at the edges of what is allowed: exact on the way in, stored, and back."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from eventstore.store import event_store
from tests.transactions.tools import Api, drain, nothing_written, problem_of
from transactions.domain.money import AMOUNT_MAX, BALANCE_MAX
from transactions.ledger import external_account_id, transaction_stream
from transactions.models import Account
from transactions.verification import ledger_faults

pytestmark = pytest.mark.django_db

OUTSIDE = external_account_id(ledger="main", currency="EUR")
NOT_AMOUNTS = ["1.0", "1e2", "-0.0", "1E0", "true", '"1"', "[1]", "{}", "0.1", "1e-2"]


def balances(api: Api, account: UUID) -> tuple[int, int, int]:
    shown = api.get(f"accounts/{account}").json()["balance"]
    return tuple(shown[name]["amount"] for name in ("posted", "held", "available"))


def set_balance(account: UUID, posted: int) -> None:
    """Bring an account to a balance for which it would take thousands of deposits."""
    Account.objects.filter(pk=account).update(posted=posted)


@pytest.mark.parametrize("amount", [1, AMOUNT_MAX])
def test_the_smallest_and_the_largest_amount_move_exactly(root: Api, amount: int) -> None:
    source, target = root.account(), root.account()
    answer = root.deposit(source, amount)
    assert (answer.status_code, answer.json()["amount"]) == (201, amount)
    assert root.transfer(source, target, amount).status_code == 201
    assert balances(root, source) == (0, 0, 0)
    assert balances(root, target) == (amount, 0, amount)
    assert list(ledger_faults()) == []


def test_the_largest_amount_is_held_captured_and_sent_back_exactly(root: Api) -> None:
    source, target = root.account(balance=AMOUNT_MAX), root.account()
    held = root.transfer(source, target, AMOUNT_MAX, hold=True).json()["id"]
    assert balances(root, source) == (AMOUNT_MAX, AMOUNT_MAX, 0)
    captured = root.post(f"transactions/{held}/capture", {"amount": AMOUNT_MAX - 1}, key="capture")
    assert captured.json()["captured_amount"] == AMOUNT_MAX - 1
    assert balances(root, source) == (1, 0, 1)
    assert root.post(f"transactions/{held}/reverse", {}, key="reverse").status_code == 201
    assert (balances(root, source)[0], balances(root, target)[0]) == (AMOUNT_MAX, 0)
    assert list(ledger_faults()) == []


def test_the_largest_overdraft_is_used_to_the_last_unit(root: Api) -> None:
    source, target = root.account(overdraft_limit=AMOUNT_MAX), root.account()
    assert balances(root, source) == (0, 0, AMOUNT_MAX)
    assert root.transfer(source, target, AMOUNT_MAX - 1).status_code == 201
    assert root.transfer(source, target, 1, hold=True).status_code == 201
    assert balances(root, source) == (1 - AMOUNT_MAX, 1, 0)
    refused = root.transfer(source, target, 1)
    problem_of(refused, status=422, code="insufficient_funds")
    assert list(ledger_faults()) == []


def test_a_balance_grows_to_its_bound_and_no_further(root: Api) -> None:
    account, other = root.account(balance=1), root.account(balance=100)
    set_balance(account, BALANCE_MAX - 5)
    refused = root.transfer(other, account, 6)
    problem_of(refused, status=422, code="balance_out_of_range")
    assert root.transfer(other, account, 5).status_code == 201
    assert balances(root, account) == (BALANCE_MAX, 0, BALANCE_MAX)
    problem_of(root.transfer(other, account, 1), status=422, code="balance_out_of_range")
    # What is refused for the destination has not left the source.
    assert balances(root, other) == (95, 0, 95)


def test_the_outside_world_owes_up_to_its_bound_and_no_more(root: Api) -> None:
    account = root.account(balance=1)
    set_balance(OUTSIDE, -BALANCE_MAX + 5)
    problem_of(root.deposit(account, 6), status=422, code="balance_out_of_range")
    assert root.deposit(account, 5).status_code == 201
    assert Account.objects.get(pk=OUTSIDE).posted == -BALANCE_MAX
    assert balances(root, account) == (6, 0, 6)


def test_a_full_account_with_the_largest_overdraft_is_shown_and_spent(root: Api) -> None:
    source, target = root.account(balance=1, overdraft_limit=AMOUNT_MAX), root.account()
    set_balance(source, BALANCE_MAX)
    assert balances(root, source) == (BALANCE_MAX, 0, BALANCE_MAX + AMOUNT_MAX)
    assert root.transfer(source, target, AMOUNT_MAX).status_code == 201
    assert balances(root, source)[0] == BALANCE_MAX - AMOUNT_MAX


@pytest.mark.parametrize("written", NOT_AMOUNTS)
@pytest.mark.parametrize("step", ["capture", "reverse"])
def test_only_whole_numbers_are_captured_or_sent_back(root: Api, step: str, written: str) -> None:
    source, target = root.account(balance=500), root.account()
    moved = root.transfer(source, target, 100, hold=step == "capture").json()["id"]
    with nothing_written():
        answer = root.post(f"transactions/{moved}/{step}", f'{{"amount": {written}}}', key="key")
    document = problem_of(answer, status=422, code="validation_failed")
    assert [each["pointer"] for each in document["errors"]] == ["/amount"]


@pytest.mark.parametrize("written", NOT_AMOUNTS)
def test_only_whole_numbers_are_an_overdraft_or_an_item_of_a_batch(root: Api, written: str) -> None:
    account = root.account()
    with nothing_written():
        opened = root.post(
            "accounts", f'{{"currency": "EUR", "overdraft_limit": {written}}}', key="open"
        )
        item = f'{{"type": "deposit", "destination": "{account}", "currency": "EUR"'
        body = f'{{"atomic": true, "transactions": [{item}, "amount": {written}}}]}}'
        batch = root.post("transactions/batch", body, key="batch")
    problem_of(opened, status=422, code="validation_failed")
    assert batch.status_code == 422
    assert "/transactions/0/amount" in {each["pointer"] for each in batch.json()["errors"]}


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth - 1):
        value = {"n": value}
    return {"n": value}


ODD: dict[str, Any] = {
    "characters beyond the basic plane": {"😀": "𝄞 👩‍👩‍👧 🇮🇸"},
    "one letter in two spellings": {"é": "composed", "e\u0301": "decomposed"},
    "right to left, and marks of direction": {"שלום": "\u202eevil\u202c", "a\u200bb": "\ufeff"},
    "separators of lines": {"\u2028": "\u2029\u0085\r\n\t"},
    "control characters": {"\x01\x1f": "\x7f\x80\x9f"},
    "quotes, slashes and escapes": {'"\\/': "\\u0000 \\n '; DROP TABLE--", "%s": "%(a)s {} $1"},
    "no name": {"": {"": [""]}},
    "names that JSON paths and Python know": {"$": 1, "a.b": 2, "[0]": 3, "__class__": 4},
    "numbers": {"a": [0, -0.0, 1.0, 0.1, 5e-324, 1.7976931348623157e308, 2**63 - 1, -(2**63) + 1]},
    "as deep as it may be": nested(15),
    "what is empty": {"a": {}, "b": [], "c": None, "d": False, "e": 0, "f": ""},
    "nothing that is true": {"a": 0},
    "names in no order": {"b": 1, "a": {"d": 1, "c": 2}, "B": 3, "10": 4, "9": 5},
    "as large as it may be": {"k": "ß" * ((65536 - len('{"k":""}')) // 2)},
}


@pytest.mark.parametrize("name", ODD)
def test_metadata_comes_back_as_it_was_sent_and_can_be_proved(root: Api, name: str) -> None:
    metadata, account = ODD[name], root.account()
    answer = root.deposit(account, 5, metadata=metadata)
    assert answer.status_code == 201, answer.content
    moved = answer.json()["id"]
    assert answer.json()["metadata"] == metadata
    assert root.get(f"transactions/{moved}").json()["metadata"] == metadata
    patched = root.patch(f"accounts/{account}", {"metadata": metadata})
    assert patched.json()["metadata"] == metadata
    # Through the seal and back, and with every hash of the chain.
    created = next(event_store().get_events(transaction_stream(UUID(moved))))
    assert getattr(event_store().event_of(created), "metadata") == metadata  # noqa: B009
    drain()
    assert list(ledger_faults()) == []
    assert "personal" in json.loads(created.data)


def test_the_order_of_members_and_their_spacing_make_no_other_request(root: Api) -> None:
    account = root.account()
    members = {"type": "deposit", "destination": str(account), "amount": 5, "currency": "EUR"}
    members["metadata"] = {"b": 1, "a": {"é": 1, "d": [2]}}
    turned = {**dict(reversed(members.items())), "metadata": {"a": {"d": [2], "é": 1}, "b": 1}}
    first = root.post("transactions", json.dumps(members), key="key")
    again = root.post("transactions", json.dumps(turned, ensure_ascii=False, indent=3), key="key")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again["Idempotent-Replayed"] == "true"
    other = root.post("transactions", {**members, "metadata": {"b": 1, "a": {"é": 1}}}, key="key")
    problem_of(other, status=422, code="idempotency_key_reused")
    assert root.posted(account) == 5


@pytest.mark.parametrize(
    "unknown",
    [
        str(uuid4()),
        # What RFC 9562 does not know is refused by some databases, where it is text for others.
        "c0fafddb-9aee-9edb-66cb-9c239f6e9f1f",
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
    ],
)
def test_an_account_of_any_id_is_merely_unknown(root: Api, unknown: str) -> None:
    account = root.account(balance=5)
    problem_of(root.get(f"accounts/{unknown}"), status=404, code="account_not_found")
    with nothing_written():
        answers = [
            root.deposit(UUID(unknown), 1),
            root.transfer(account, UUID(unknown), 1),
            root.transfer(UUID(unknown), account, 1),
        ]
    for answer in answers:
        problem_of(answer, status=404, code="account_not_found")
