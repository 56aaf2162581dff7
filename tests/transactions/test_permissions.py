"""Who may call what: the scopes of every route, and what is whose."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from eventstore import tree_heads
from eventstore.models import Event
from eventstore.sequencer import sequence
from tests.transactions.tools import Api, deposit, drain, person, problem_of, transfer, with_key
from transactions.api.urls import urlpatterns
from users.scopes import SCOPES

pytestmark = pytest.mark.django_db

ROUTES = [
    ("GET", "accounts", "accounts:read"),
    ("POST", "accounts", "accounts:write"),
    ("GET", "accounts/{account}", "accounts:read"),
    ("PATCH", "accounts/{account}", "accounts:write"),
    ("GET", "accounts/{account}/entries", "accounts:read"),
    ("GET", "accounts/{account}/statement", "accounts:read"),
    ("POST", "accounts/{account}/freeze", "accounts:write"),
    ("POST", "accounts/{account}/unfreeze", "accounts:write"),
    ("POST", "accounts/{account}/close", "accounts:write"),
    ("GET", "transactions", "transactions:read"),
    ("POST", "transactions", "transactions:write"),
    ("POST", "transactions/batch", "transactions:write"),
    ("GET", "transactions/{transaction}", "transactions:read"),
    ("POST", "transactions/{transaction}/capture", "transactions:write"),
    ("POST", "transactions/{transaction}/void", "transactions:write"),
    ("POST", "transactions/{transaction}/reverse", "transactions:write"),
    ("GET", "transactions/{transaction}/events", "transactions:read"),
    ("GET", "events", "audit:read"),
    ("GET", "events/tree-head", "audit:read"),
    ("GET", "events/export", "audit:read"),
    ("GET", "events/{event}/proof", "audit:read"),
    ("GET", "events/{event}", "audit:read"),
]


def call(caller: Api, method: str, path: str) -> Any:
    """Call a route on objects of the caller's own."""
    account = caller.account()
    transaction = deposit(account, 5).id
    sequence()
    tree_heads.sign()
    event = Event.objects.filter(correlation_id=str(transaction)).latest("row").id
    body: Any = {}
    if (method, path) == ("POST", "accounts"):
        body = {"currency": "EUR"}
    elif path in {"transactions", "transactions/batch"} and method == "POST":
        body = {
            "type": "transfer",
            "source": str(account),
            "destination": str(caller.account()),
            "amount": 5,
            "currency": "EUR",
        }
        if path == "transactions/batch":
            body = {"atomic": True, "transactions": [body]}
    elif path.endswith(("/capture", "/void")):
        transaction = transfer(account, caller.account(), 5, hold=True).id
    filled = path.format(account=account, transaction=transaction, event=event)
    if path.endswith("/close"):
        transfer(account, caller.account(), 5)
    return caller.call(method, filled, None if method == "GET" else body, key="key")


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_a_key_with_the_one_scope_may_call(method: str, path: str, scope: str) -> None:
    user = person().user
    answer = call(with_key(user, [scope]), method, path)
    if path.endswith("freeze"):
        problem_of(answer, status=403, code="missing_scope")
    else:
        assert answer.status_code in {200, 201}, answer.content


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_a_key_with_every_other_scope_may_not(method: str, path: str, scope: str) -> None:
    user = person().user
    answer = call(with_key(user, set(SCOPES) - {scope, "admin"}), method, path)
    document = problem_of(answer, status=403, code="missing_scope")
    assert scope in document["detail"]


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_admin_implies_every_scope(method: str, path: str, scope: str) -> None:
    answer = call(with_key(person(is_superuser=True).user, ["admin"]), method, path)
    assert answer.status_code in {200, 201}, answer.content


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_nobody_may_call_without_credentials(method: str, path: str, scope: str) -> None:
    user = person().user
    anonymous = call(Api(user, ""), method, path)
    problem_of(anonymous, status=401, code="not_authenticated")
    assert anonymous["WWW-Authenticate"].startswith("Bearer")
    problem_of(call(Api(user, "ek_no"), method, path), status=401, code="invalid_credentials")


def test_a_user_s_token_reads_and_moves_but_does_not_audit() -> None:
    user = person()
    for method, path, scope in ROUTES:
        if path.endswith("freeze"):
            continue
        answer = call(user, method, path)
        if scope == "audit:read":
            problem_of(answer, status=403, code="missing_scope")
        else:
            assert answer.status_code in {200, 201}, (method, path, answer.content)


def test_the_table_above_has_every_route() -> None:
    declared = {
        (method, str(route.pattern).replace("<str:", "{").replace(">", "}"), scope)
        for route in urlpatterns
        for method, scope in route.callback.view_class.scopes.items()  # type: ignore[attr-defined]
    }
    assert declared == set(ROUTES)


def story_of(caller: Api, transaction: str) -> list[dict[str, Any]]:
    answer = caller.get(f"transactions/{transaction}/events")
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def moved(payer: Api, payee: Api) -> str:
    """Move money from one to the other and return the transaction."""
    source, destination = payer.account(balance=1000), payee.account(balance=333)
    transaction: str = payer.transfer(source, destination, 400).json()["id"]
    drain()
    return transaction


def test_a_story_does_not_tell_the_other_party_s_balance(alice: Api, bob: Api) -> None:
    transaction = moved(alice, bob)
    for party, own, other in (
        (alice, "AccountDebited", "AccountCredited"),
        (bob, "AccountCredited", "AccountDebited"),
    ):
        events = {event["type"]: event for event in story_of(party, transaction)}
        assert "posted" in events[own]["data"]
        assert "posted" not in events[other]["data"]
        assert events[other]["data"]["amount"] == 400


def test_a_story_has_no_hash_from_which_a_balance_could_be_guessed(alice: Api, bob: Api) -> None:
    transaction = moved(alice, bob)
    for party in (alice, bob):
        assert {event["hash"] for event in story_of(party, transaction)} == {None}


def auditor(party: Api) -> Api:
    return with_key(party.user, ["transactions:read", "audit:read"])


def administrator(party: Api) -> Api:
    return person(is_superuser=True)


@pytest.mark.parametrize("reader", [auditor, administrator])
def test_who_may_read_the_log_is_told_the_whole_story(
    alice: Api, bob: Api, reader: Callable[[Api], Api]
) -> None:
    transaction = moved(alice, bob)
    root = person(is_superuser=True)
    log = root.get(f"events?transaction={transaction}").json()["data"]
    assert story_of(reader(alice), transaction) == log
    assert all(event["hash"] for event in log)
    assert sum("posted" in event["data"] for event in log) == 2


def test_lists_hold_what_is_one_s_own(alice: Api, bob: Api, root: Api) -> None:
    mine, theirs = alice.account(balance=100), bob.account(balance=100)
    shared = alice.transfer(mine, theirs, 10).json()["id"]
    drain()
    assert ids(alice.get("accounts")) == [str(mine)]
    assert ids(root.get("accounts")) == [str(theirs), str(mine)]
    assert ids(alice.get("transactions?type=transfer")) == [shared]
    assert len(ids(alice.get("transactions"))) == 2
    assert len(ids(root.get("transactions"))) == 3


def test_a_filter_by_an_account_of_others_shows_only_what_is_shared(
    alice: Api, bob: Api, root: Api
) -> None:
    mine, theirs = alice.account(balance=100), bob.account(balance=100)
    shared = alice.transfer(mine, theirs, 10).json()["id"]
    assert ids(alice.get(f"transactions?account={theirs}")) == [shared]
    assert ids(alice.get(f"transactions?account={bob.account(balance=1)}")) == []
    assert ids(alice.get(f"transactions?account={UUID(int=7)}")) == []
    assert len(ids(bob.get(f"transactions?account={theirs}"))) == 2
    assert len(ids(root.get(f"transactions?account={theirs}"))) == 2


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [each["id"] for each in answer.json()["data"]]
