"""Lists of accounts, transactions and entries: pages and filters."""

from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from uuid import UUID, uuid4

import pytest

from tests.transactions.tools import Api, deposit, drain, nothing_written, problem_of, transfer
from tests.users.tools import faults

pytestmark = pytest.mark.django_db


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [each["id"] for each in answer.json()["data"]]


def deposits(account: UUID, count: int) -> list[str]:
    """Make deposits of 1, 2, 3, ... and return their ids, newest first."""
    return [str(deposit(account, amount).id) for amount in range(1, count + 1)][::-1]


LISTS = ["accounts", "transactions", "accounts/{account}/entries"]


def filled(alice: Api, count: int) -> UUID:
    """Give alice so many accounts, and one of them so many transactions and entries."""
    for _ in range(count - 1):
        alice.account()
    account = alice.account()
    deposits(account, count)
    drain()
    return account


@pytest.mark.parametrize("path", LISTS)
def test_pages_hold_everything_once_newest_first(alice: Api, path: str) -> None:
    path = path.format(account=filled(alice, 7))
    whole = alice.get(path)
    assert (whole.json()["has_more"], whole.json()["next_cursor"]) == (False, None)
    assert "Link" not in whole
    created = [each["created_at"] for each in whole.json()["data"]]
    assert created == sorted(created, reverse=True)
    assert len(created) == 7
    for limit in (1, 2, 3, 6, 7, 8):
        found, query = [], f"limit={limit}"
        for _ in range(8):
            answer = alice.get(f"{path}?{query}")
            found += ids(answer)
            assert answer.json()["has_more"] == (len(found) < 7)
            if not answer.json()["has_more"]:
                break
            assert len(answer.json()["data"]) == limit
            query = urlencode({"limit": limit, "cursor": answer.json()["next_cursor"]})
            link = answer["Link"].removeprefix("<").removesuffix('>; rel="next"')
            assert urlsplit(link).path == f"/api/{path}"
            assert urlsplit(link).query == query
        assert found == ids(whole)


@pytest.mark.parametrize("path", LISTS)
def test_what_is_added_meanwhile_neither_repeats_nor_hides(alice: Api, path: str) -> None:
    account = filled(alice, 6)
    path = path.format(account=account)
    before = ids(alice.get(path))
    cursor = alice.get(f"{path}?limit=2").json()["next_cursor"]
    alice.account()
    deposits(account, 3)
    drain()
    found = []
    while cursor:
        answer = alice.get(f"{path}?limit=2&cursor={cursor}")
        found += ids(answer)
        cursor = answer.json()["next_cursor"]
    assert found == before[2:]


def test_what_one_sent_and_what_one_received_are_one_list(alice: Api, bob: Api) -> None:
    mine, spare, theirs = alice.account(), alice.account(), bob.account()
    for account in (mine, theirs):
        deposit(account, 100)
    pairs = [(mine, theirs), (theirs, mine), (mine, spare), (theirs, mine), (mine, theirs)]
    done = [str(transfer(source, destination, 1).id) for source, destination in pairs][::-1]
    assert ids(alice.get("transactions?type=transfer")) == done
    found: list[str] = []
    cursor = ""
    while len(found) < len(done):
        answer = alice.get(f"transactions?limit=1&type=transfer{cursor}")
        found += ids(answer)
        cursor = f"&cursor={answer.json()['next_cursor']}"
    assert found == done
    assert ids(alice.get(f"transactions?type=transfer&account={mine}")) == done
    assert ids(alice.get(f"transactions?account={spare}")) == [done[2]]


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("limit", ["0", "201", "-1", "ten", "1.0", ""])
def test_a_bad_limit_is_refused(alice: Api, path: str, limit: str) -> None:
    answer = alice.get(f"{path.format(account=alice.account())}?limit={limit}")
    problem_of(answer, status=422, code="validation_failed")
    assert faults(answer) == {("limit", "invalid_limit")}


@pytest.mark.parametrize("path", LISTS)
def test_two_hundred_is_the_most_and_fifty_the_usual(alice: Api, path: str) -> None:
    path = path.format(account=filled(alice, 52))
    assert len(ids(alice.get(path))) == 50
    assert len(ids(alice.get(f"{path}?limit=200"))) == 52


@pytest.mark.parametrize("path", LISTS)
def test_a_cursor_is_bound_to_its_list_its_user_and_its_filters(
    alice: Api, root: Api, path: str
) -> None:
    account = filled(alice, 4)
    path = path.format(account=account)
    filters = "created_at[gte]=2020-01-01T00:00:00Z" if path != "accounts" else "currency=EUR"
    plain = alice.get(f"{path}?limit=1").json()["next_cursor"]
    narrowed = alice.get(f"{path}?limit=1&{filters}").json()["next_cursor"]
    assert alice.get(f"{path}?limit=3&{filters}&cursor={narrowed}").status_code == 200
    value, _, signature = plain.partition(":")
    other = alice.get("users/api-keys").json()["next_cursor"]
    assert other is None
    for who, query in (
        (alice, f"cursor={narrowed}"),
        (alice, f"cursor={plain}&{filters}"),
        (alice, f"cursor={value}x:{signature}"),
        (alice, f"cursor={value}:{signature[:-1]}"),
        (alice, f"cursor={value}"),
        (alice, "cursor="),
        (alice, f"cursor={account}"),
        (root, f"cursor={plain}"),
    ):
        problem_of(who.get(f"{path}?{query}"), status=400, code="invalid_cursor")
    for elsewhere in {*LISTS, "events"} - {path}:
        answer = root.get(f"{elsewhere.format(account=alice.account())}?cursor={plain}")
        problem_of(answer, status=400, code="invalid_cursor")


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("page=2", "page"),
        ("Limit=2", "Limit"),
        ("amount=5", "amount"),
        ("amount[eq]=5", "amount[eq]"),
        ("amount[gte][lt]=5", "amount[gte][lt]"),
        ("created_at=2026-01-01T00:00:00Z", "created_at"),
        ("status[gte]=completed", "status[gte]"),
        ("metadata=x", "metadata"),
        ("metadata[]=x", "metadata[]"),
        ("owner=x", "owner"),
        ("id__gt=x", "id__gt"),
    ],
)
def test_an_unknown_parameter_is_refused(alice: Api, query: str, name: str) -> None:
    answer = alice.get(f"transactions?{query}")
    assert faults(answer) == {(name, "unknown_parameter")}


@pytest.mark.parametrize("path", ["accounts", "accounts/{account}/entries", "accounts/{account}"])
def test_no_other_read_takes_an_unknown_parameter(alice: Api, path: str) -> None:
    answer = alice.get(f"{path.format(account=alice.account())}?reference=x")
    assert faults(answer) == {("reference", "unknown_parameter")}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("status=done", "invalid_filter"),
        ("status=", "invalid_filter"),
        ("type=loan", "invalid_filter"),
        ("account=mine", "invalid_filter"),
        (f"account={uuid4().hex}", "invalid_filter"),
        ("amount[gte]=ten", "invalid_filter"),
        ("amount[gte]=1.0", "invalid_filter"),
        ("amount[gte]=", "invalid_filter"),
        ("amount[gte]=" + "9" * 30, "invalid_filter"),
        ("created_at[gte]=yesterday", "invalid_time"),
        ("created_at[gte]=2026-01-01", "invalid_time"),
        ("created_at[gte]=2026-01-01T00:00:00", "invalid_time"),
        ("created_at[gte]=2026-13-01T00:00:00Z", "invalid_time"),
        ("created_at[gte]=", "invalid_time"),
        ("reference=" + "x" * 256, "invalid_filter"),
        ("metadata[k]=" + "x" * 256, "invalid_filter"),
        ("reference=%00", "null_characters_not_allowed"),
        ("reference=a&reference=b", "repeated_parameter"),
    ],
)
def test_a_bad_filter_is_refused(alice: Api, query: str, code: str) -> None:
    answer = alice.get(f"transactions?{query}")
    name = query.partition("=")[0]
    problem_of(answer, status=422, code="validation_failed")
    assert faults(answer) == {(name, code)}


@pytest.mark.parametrize("count", [20, 21, 900])
def test_filters_are_bounded(alice: Api, count: int) -> None:
    query = urlencode({f"metadata[k{number}]": "x" for number in range(count)})
    answer = alice.get(f"transactions?{query}")
    assert answer.status_code == (200 if count <= 20 else 422)


def test_transactions_are_filtered_by_every_member_of_the_contract(alice: Api, root: Api) -> None:
    first, second = alice.account(), alice.account()
    given = root.deposit(first, 500, reference="R-1").json()["id"]
    small = alice.transfer(first, second, 20, reference="R-2").json()["id"]
    large = alice.transfer(first, second, 300, reference="R-1").json()["id"]
    failed = alice.transfer(second, first, 900, reference="r-1").json()["transaction_id"]

    def found(query: str) -> list[str]:
        return ids(alice.get(f"transactions?{query}"))

    assert found("status=failed") == [failed]
    assert found("status=completed") == [large, small, given]
    assert found("status=held") == []
    assert found("type=deposit") == [given]
    assert found("type=reversal") == []
    assert found("reference=R-1") == [large, given]
    assert found("reference=R-3") == []
    assert found(f"account={second}") == [failed, large, small]
    assert found(f"account={second}&type=transfer&status=completed") == [large, small]
    assert found("amount[gte]=300") == [failed, large, given]
    assert found("amount[gt]=300") == [failed, given]
    assert found("amount[lte]=300") == [large, small]
    assert found("amount[lt]=300") == [small]
    assert found("amount[gt]=20&amount[lt]=500") == [large]
    assert found("amount[gte]=-5&amount[lte]=0") == []


@pytest.mark.parametrize("other", ["r-1", "R-1 ", " R-1", "Ŕ-1", "R\u20111", "R-", "R-11"])
def test_a_text_is_compared_letter_by_letter(alice: Api, other: str) -> None:
    account = alice.account(ledger="main")
    found = str(deposit(account, 1, reference="R-1").id)
    deposit(account, 1, reference=other)
    assert ids(alice.get("transactions?reference=R-1")) == [found]
    assert len(ids(alice.get(f"transactions?reference={quote(other)}"))) == 1
    assert ids(alice.get("accounts?ledger=Main")) == ids(alice.get("accounts?currency=eur")) == []


def test_times_are_compared_to_the_microsecond(alice: Api) -> None:
    account = alice.account()
    newest, middle, oldest = deposits(account, 3)
    at = quote(alice.get(f"transactions/{middle}").json()["created_at"])
    drain()
    for path in ("transactions", f"accounts/{account}/entries"):

        def found(query: str, path: str = path) -> list[str]:
            data = alice.get(f"{path}?{query}").json()["data"]
            return [each.get("transaction", each["id"]) for each in data]

        assert found(f"created_at[gte]={at}") == [newest, middle]
        assert found(f"created_at[gt]={at}") == [newest]
        assert found(f"created_at[lte]={at}") == [middle, oldest]
        assert found(f"created_at[lt]={at}") == [oldest]
        assert found(f"created_at[gt]={at}&created_at[lt]={at}") == []


def test_a_time_may_come_in_any_offset_and_with_an_unescaped_plus(alice: Api) -> None:
    account = alice.account()
    deposits(account, 1)
    for text in (
        "2020-01-01T02:00:00+02:00",
        "2020-01-01T00:00:00.5Z",
        "2019-12-31t22:00:00-02:00",
    ):
        assert len(ids(alice.get(f"transactions?created_at[gte]={text}"))) == 1
        assert ids(alice.get(f"transactions?created_at[lt]={quote(text)}")) == []


KEYS = [
    "order",
    "a.b",
    "a b",
    'a"b',
    "a'b",
    "a\\b",
    "a[0]",
    "[0]",
    "0",
    "-1",
    "1e3",
    "$",
    "*",
    "%",
    "é",
    "😀",
    "a\nb",
    "__exact",
    "name__gt",
    "]",
    " ",
]


@pytest.mark.parametrize("key", KEYS)
def test_metadata_is_filtered_by_any_key(alice: Api, key: str) -> None:
    account = alice.account()
    found = str(deposit(account, 1, metadata={key: "A-17", "other": "x"}).id)
    deposit(account, 1, metadata={key: "A-18"})
    deposit(account, 1, metadata={"other": "A-17", "deep": {key: "A-17"}})
    deposit(account, 1)
    query = urlencode({f"metadata[{key}]": "A-17"})
    assert ids(alice.get(f"transactions?{query}")) == [found]
    both = urlencode({f"metadata[{key}]": "A-17", "metadata[other]": "x"})
    assert ids(alice.get(f"transactions?{both}")) == [found]
    assert ids(alice.get(f"transactions?{query}&metadata[other]=y")) == []


@pytest.mark.parametrize("value", ["5", "-5", "true", "false", "x", "", "é", 'a"b', "%", "null"])
def test_a_text_of_metadata_is_found(alice: Api, value: str) -> None:
    account = alice.account()
    found = str(deposit(account, 1, metadata={"k": value}).id)
    deposit(account, 1, metadata={"k": f"{value}."})
    query = urlencode({"metadata[k]": value})
    assert ids(alice.get(f"transactions?{query}")) == [found]


@pytest.mark.parametrize(
    ("stored", "value", "is_found"),
    [
        (5, "5", True),
        (-5, "-5", True),
        (True, "true", True),
        (False, "false", True),
        (True, "1", False),
        (1, "true", False),
        (5, "6", False),
        (None, "null", False),
        ("5", "05", False),
        ({"a": "x"}, "x", False),
    ],
)
def test_a_number_or_boolean_of_metadata_is_found_by_its_text(
    alice: Api, stored: Any, value: str, is_found: bool
) -> None:
    deposit(alice.account(), 1, metadata={"k": stored})
    query = urlencode({"metadata[k]": value})
    assert bool(ids(alice.get(f"transactions?{query}"))) == is_found


def test_accounts_are_filtered(alice: Api, root: Api) -> None:
    euro, yen = str(alice.account()), str(alice.account(currency="JPY", ledger="other"))
    root.post(f"accounts/{yen}/freeze")
    assert ids(alice.get("accounts?currency=JPY")) == [yen]
    assert ids(alice.get("accounts?status=open")) == [euro]
    assert ids(alice.get("accounts?status=frozen&ledger=other")) == [yen]
    assert ids(alice.get("accounts?ledger=main&currency=JPY")) == []
    assert faults(alice.get("accounts?status=shut")) == {("status", "invalid_filter")}


def test_an_entry_is_shown_as_the_contract_says(alice: Api, bob: Api) -> None:
    account, other = alice.account(), bob.account()
    given = deposit(account, 500).id
    sent = transfer(account, other, 120).id
    transfer(account, other, 9000)
    with nothing_written():
        assert alice.get(f"accounts/{account}/entries").json()["data"] == []
    drain()
    answer = alice.get(f"accounts/{account}/entries")
    debit, credit = answer.json()["data"]
    events = {event["id"]: event for event in events_of(account)}
    for entry in (debit, credit):
        event = events[entry["id"]]
        assert (entry.pop("position"), entry.pop("created_at")) == (
            event["position"],
            event["occurred_at"],
        )
        assert entry.pop("id") == event["id"]
    assert debit == {
        "account": str(account),
        "transaction": str(sent),
        "direction": "debit",
        "amount": 120,
        "currency": "EUR",
        "display": "1.20",
        "running_balance": 380,
    }
    assert (credit["direction"], credit["running_balance"]) == ("credit", 500)
    assert credit["transaction"] == str(given)
    [arrived] = bob.get(f"accounts/{other}/entries").json()["data"]
    assert (arrived["direction"], arrived["running_balance"]) == ("credit", 120)


def events_of(account: UUID) -> list[dict[str, Any]]:
    from tests.transactions.tools import admin

    found: list[dict[str, Any]] = admin().get(f"events?stream=account-{account}").json()["data"]
    return found


def test_entries_are_filtered(alice: Api) -> None:
    account, other = alice.account(), alice.account()
    given = deposit(account, 500).id
    sent = transfer(account, other, 120).id
    drain()
    path = f"accounts/{account}/entries"

    def found(query: str) -> list[str]:
        return [each["transaction"] for each in alice.get(f"{path}?{query}").json()["data"]]

    assert found("direction=debit") == [str(sent)]
    assert found("direction=credit") == [str(given)]
    assert found(f"transaction={sent}") == [str(sent)]
    assert found(f"transaction={uuid4()}") == []
    assert faults(alice.get(f"{path}?direction=in")) == {("direction", "invalid_filter")}
    assert faults(alice.get(f"{path}?transaction=x")) == {("transaction", "invalid_filter")}


@pytest.mark.parametrize("path", LISTS)
def test_a_list_costs_the_same_number_of_queries_at_any_length(
    alice: Api, path: str, django_assert_max_num_queries: Any
) -> None:
    path = path.format(account=filled(alice, 40))
    with django_assert_max_num_queries(9):
        assert len(ids(alice.get(f"{path}?limit=40"))) == 40
