"""`/api/accounts`: open, read, change, freeze, unfreeze, close."""

import re
from typing import Any
from uuid import UUID, uuid4

import pytest
from uuid_utils.compat import uuid7

from eventstore.models import Event
from eventstore.rows import to_record
from eventstore.store import event_store
from tests.transactions.tools import Api, deposit, nothing_written, problem_of
from tests.users.tools import faults
from transactions.domain.events import AccountFrozen
from transactions.models import Account

pytestmark = pytest.mark.django_db

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def zero(currency: str, text: str, amount: int = 0) -> dict[str, Any]:
    return {"amount": amount, "currency": currency, "display": text}


def test_a_new_account_is_shown_as_the_contract_says(alice: Api) -> None:
    answer = alice.post("accounts", {"currency": "EUR"})
    assert answer.status_code == 201
    body = answer.json()
    assert UUID(body.pop("id")).version == 7
    assert TIME.fullmatch(body.pop("created_at"))
    assert body == {
        "owner": str(alice.user.pk),
        "ledger": "main",
        "currency": "EUR",
        "name": "",
        "status": "open",
        "overdraft_limit": 0,
        "balance": {name: zero("EUR", "0.00") for name in ("posted", "held", "available")},
        "metadata": {},
        "version": 1,
    }


def test_what_is_given_at_opening_is_kept(alice: Api) -> None:
    given = {
        "currency": "JPY",
        "name": " Größe 1 ",
        "ledger": "savings-2",
        "metadata": {"k": [1, {"é": None}], "n": 1.5},
    }
    body = alice.post("accounts", given).json()
    assert {name: body[name] for name in given} == given
    assert body["balance"]["posted"] == zero("JPY", "0")


def test_opening_says_where_the_account_is_and_which_version(alice: Api) -> None:
    answer = alice.post("accounts", {"currency": "EUR"})
    assert answer["Location"] == f"/api/accounts/{answer.json()['id']}"
    assert answer["ETag"] == '"1"'
    read = alice.get(answer["Location"].removeprefix("/api/"))
    assert (read.status_code, read.json(), read["ETag"]) == (200, answer.json(), '"1"')


def test_the_balances_are_of_one_instant(alice: Api, root: Api) -> None:
    account = root.post(
        "accounts", {"currency": "KWD", "overdraft_limit": 500, "owner": str(alice.user.pk)}
    ).json()
    deposit(UUID(account["id"]), 1250, currency="KWD")
    read = alice.get(f"accounts/{account['id']}").json()
    assert read["overdraft_limit"] == 500
    assert read["balance"] == {
        "posted": zero("KWD", "1.250", 1250),
        "held": zero("KWD", "0.000"),
        "available": zero("KWD", "1.750", 1750),
    }
    assert read["version"] == 2


def test_an_administrator_opens_accounts_for_others(alice: Api, root: Api) -> None:
    answer = root.post("accounts", {"currency": "EUR", "owner": str(alice.user.pk)})
    assert answer.json()["owner"] == str(alice.user.pk)
    assert alice.get(f"accounts/{answer.json()['id']}").status_code == 200


def test_an_owner_who_does_not_exist_is_refused(root: Api) -> None:
    with nothing_written():
        answer = root.post("accounts", {"currency": "EUR", "owner": str(uuid4())})
    assert faults(answer) == {("/owner", "user_not_found")}


def test_nobody_opens_accounts_for_others_or_learns_of_them(alice: Api, bob: Api) -> None:
    for owner in (str(bob.user.pk), str(uuid4())):
        with nothing_written():
            answer = alice.post("accounts", {"currency": "EUR", "owner": owner}, key="key")
        problem_of(answer, status=403, code="missing_scope")
    mine = alice.post("accounts", {"currency": "EUR", "owner": str(alice.user.pk)})
    assert mine.status_code == 201


def test_only_an_administrator_gives_an_overdraft(alice: Api) -> None:
    with nothing_written():
        answer = alice.post("accounts", {"currency": "EUR", "overdraft_limit": 1})
    problem_of(answer, status=403, code="missing_scope")
    assert alice.post("accounts", {"currency": "EUR", "overdraft_limit": 0}).status_code == 201


def test_opening_honours_an_idempotency_key_and_needs_none(alice: Api) -> None:
    first = alice.post("accounts", {"currency": "EUR"}, key="one")
    with nothing_written():
        again = alice.post("accounts", {"currency": "EUR"}, key="one")
    assert (again.status_code, again.content) == (201, first.content)
    assert (again["Idempotent-Replayed"], again["Location"]) == ("true", first["Location"])
    assert "Idempotent-Replayed" not in first
    ids = {alice.post("accounts", {"currency": "EUR"}).json()["id"] for _ in range(2)}
    assert len(ids | {first.json()["id"]}) == 3


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({}, ("/currency", "required")),
        ({"currency": None}, ("/currency", "null")),
        ({"currency": 978}, ("/currency", "invalid")),
        ({"currency": ""}, ("/currency", "unknown_currency")),
        ({"currency": "eur"}, ("/currency", "unknown_currency")),
        ({"currency": " EUR"}, ("/currency", "unknown_currency")),
        ({"currency": "EURO"}, ("/currency", "unknown_currency")),
        ({"currency": "XXX"}, ("/currency", "unknown_currency")),
        ({"name": 5}, ("/name", "invalid")),
        ({"name": "x" * 141}, ("/name", "max_length")),
        ({"name": "a\0b"}, ("/name", "null_characters_not_allowed")),
        ({"ledger": "Main"}, ("/ledger", "invalid")),
        ({"ledger": "main\n"}, ("/ledger", "invalid")),
        ({"ledger": 5}, ("/ledger", "invalid")),
        ({"ledger": ""}, ("/ledger", "blank")),
        ({"ledger": "x" * 61}, ("/ledger", "max_length")),
        ({"overdraft_limit": -1}, ("/overdraft_limit", "min_value")),
        ({"overdraft_limit": 10**15 + 1}, ("/overdraft_limit", "max_value")),
        ({"overdraft_limit": 1.0}, ("/overdraft_limit", "invalid")),
        ({"overdraft_limit": True}, ("/overdraft_limit", "invalid")),
        ({"metadata": []}, ("/metadata", "not_an_object")),
        ({"metadata": "{}"}, ("/metadata", "not_an_object")),
        ({"owner": "me"}, ("/owner", "invalid")),
        ({"balance": 5}, ("/balance", "unknown_field")),
        ({"id": str(UUID(int=1))}, ("/id", "unknown_field")),
    ],
)
def test_a_value_that_will_not_do_is_named(
    root: Api, body: dict[str, Any], fault: tuple[str, str]
) -> None:
    given = {"currency": "EUR", **body} if body else body
    with nothing_written():
        answer = root.post("accounts", given, key="key")
    assert fault in faults(answer)


def test_name_and_metadata_are_changed_and_nothing_else(alice: Api) -> None:
    account = alice.account(name="old", metadata={"a": 1})
    answer = alice.patch(f"accounts/{account}", {"name": "new"})
    assert (answer.status_code, answer["ETag"]) == (200, '"2"')
    assert (answer.json()["name"], answer.json()["metadata"]) == ("new", {"a": 1})
    answer = alice.patch(f"accounts/{account}", {"metadata": {"b": 2}})
    assert (answer.json()["name"], answer.json()["metadata"]) == ("new", {"b": 2})
    assert answer.json()["version"] == 3
    assert alice.get(f"accounts/{account}").json() == answer.json()


def test_a_change_of_nothing_is_no_event(alice: Api) -> None:
    account = alice.account(name="same")
    bodies: list[dict[str, Any]] = [{}, {"name": "same"}, {"metadata": {}}]
    for body in bodies:
        with nothing_written():
            answer = alice.patch(f"accounts/{account}", body)
        assert (answer.status_code, answer.json()["version"]) == (200, 1)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({"name": None}, ("/name", "null")),
        ({"metadata": None}, ("/metadata", "null")),
        ({"status": "closed"}, ("/status", "unknown_field")),
        ({"overdraft_limit": 5}, ("/overdraft_limit", "unknown_field")),
        ([], ("", "not_an_object")),
        (None, ("", "not_an_object")),
    ],
)
def test_no_other_change_is_taken(alice: Api, body: Any, fault: tuple[str, str]) -> None:
    account = alice.account()
    with nothing_written():
        answer = alice.patch(f"accounts/{account}", "null" if body is None else body)
    pointer, code = fault
    assert (pointer, code) in faults(answer) or (pointer, "null") in faults(answer)


@pytest.mark.parametrize("call", ["patch", "freeze", "unfreeze", "close"])
def test_a_stale_etag_is_refused_and_changes_nothing(root: Api, call: str) -> None:
    account = root.account(name="old")

    def act(etag: str) -> Any:
        if call == "patch":
            return root.patch(f"accounts/{account}", {"name": "x"}, **{"If-Match": etag})
        return root.post(f"accounts/{account}/{call}", {}, **{"If-Match": etag})

    for etag in ('"2"', '"0"', 'W/"1"', '"01"', "1", '"x"', "", '"1", "2"'):
        with nothing_written():
            problem_of(act(etag), status=412, code="stale_version")
    assert act('"1"').status_code == 200
    assert act("*").status_code == 200


def test_only_an_administrator_freezes_and_unfreezes(alice: Api, root: Api) -> None:
    account = alice.account()
    for act in ("freeze", "unfreeze"):
        with nothing_written():
            answer = alice.post(f"accounts/{account}/{act}", {}, **{"If-Match": '"9"'})
        problem_of(answer, status=403, code="missing_scope")
    frozen = root.post(f"accounts/{account}/freeze", {"reason": "fraud"})
    assert (frozen.status_code, frozen.json()["status"], frozen["ETag"]) == (200, "frozen", '"2"')
    with nothing_written():
        again = root.post(f"accounts/{account}/freeze")
    assert again.json() == frozen.json()
    opened = root.post(f"accounts/{account}/unfreeze")
    assert (opened.json()["status"], opened.json()["version"]) == ("open", 3)
    event = Event.objects.get(stream=f"account-{account}", version=2)
    assert event_store().event_of(to_record(event)) == AccountFrozen(
        account=account, reason="fraud"
    )


def test_only_an_empty_account_is_closed(alice: Api, root: Api) -> None:
    account = alice.account(balance=1)
    with nothing_written():
        problem_of(alice.post(f"accounts/{account}/close"), status=409, code="account_not_empty")
    alice.transfer(account, root.account(), 1)
    closed = alice.post(f"accounts/{account}/close", {"reason": "moved"})
    assert (closed.status_code, closed.json()["status"]) == (200, "closed")
    with nothing_written():
        assert alice.post(f"accounts/{account}/close").json() == closed.json()
    with nothing_written():
        problem_of(root.post(f"accounts/{account}/freeze"), status=422, code="account_closed")


@pytest.mark.parametrize("body", ["[]", "0", '""', "null", "false", '"x"', "[{}]"])
@pytest.mark.parametrize("act", ["freeze", "close"])
def test_a_reason_comes_in_an_object_or_not_at_all(root: Api, act: str, body: str) -> None:
    account = root.account()
    with nothing_written():
        answer = root.post(f"accounts/{account}/{act}", body)
    problem_of(answer, status=422, code="validation_failed")
    assert root.post(f"accounts/{account}/{act}").status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("GET", "/entries"),
        ("POST", "/freeze"),
        ("POST", "/unfreeze"),
        ("POST", "/close"),
    ],
)
def test_what_is_not_one_s_own_does_not_exist(alice: Api, bob: Api, method: str, path: str) -> None:
    theirs = bob.account()
    outside = Account(
        id=uuid7(),
        ledger="main",
        currency="EUR",
        status="open",
        overdraft_limit=0,
        posted=0,
        held=0,
        version=1,
        created_at=alice.user.created_at,
        updated_at=alice.user.created_at,
    )
    outside.save()
    mine = str(alice.account())
    odd = (f"urn:uuid:{mine}", f"{{{mine}}}", mine.replace("-", ""), "x", "1", "%00", "..")
    for account in (str(theirs), str(uuid7()), str(outside.pk), *odd):
        with nothing_written():
            answer = alice.call(
                method, f"accounts/{account}{path}", {} if method != "GET" else None
            )
        problem_of(answer, status=404, code="account_not_found")


def test_an_id_may_be_written_in_capitals(alice: Api) -> None:
    account = alice.account()
    assert alice.get(f"accounts/{str(account).upper()}").status_code == 200


def test_the_outside_world_is_nobody_s_account(alice: Api, root: Api) -> None:
    alice.account(balance=5)
    [outside] = Account.objects.filter(owner=None)
    for who in (alice, root):
        problem_of(who.get(f"accounts/{outside.pk}"), status=404, code="account_not_found")
    assert str(outside.pk) not in root.get("accounts").content.decode()
    with nothing_written():
        for act in ("freeze", "close"):
            answer = root.post(f"accounts/{outside.pk}/{act}")
            problem_of(answer, status=404, code="account_not_found")
