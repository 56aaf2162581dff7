"""`GET /api/accounts/{id}/statement`: what moved, between two balances."""

import csv
import io
import json
import tracemalloc
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from eventstore import sequencer
from eventstore.clock import format_time, utc_now
from eventstore.models import Event
from tests.transactions.tools import (
    Api,
    deposit,
    drain,
    person,
    problem_of,
    transfer,
    with_key,
)
from tests.users.tools import faults
from transactions import statements
from transactions.api import statements as api
from transactions.api.streams import STREAM_TIMEOUT_S, streamed
from transactions.models import Entry

pytestmark = pytest.mark.django_db

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def statement(of: Api, account: UUID, **query: str) -> Any:
    """Return the statement as JSON, whether it was answered whole or sent as it was made."""
    answer = ask(of, account, **query)
    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"] == "application/json"
    return answer.json()


def rows(of: Api, account: UUID, **query: str) -> list[dict[str, str]]:
    """Return the statement as rows of CSV."""
    answer = ask(of, account, format="csv", **query)
    assert answer.status_code == 200, answer.content
    return list(csv.DictReader(io.StringIO(answer.content.decode(), newline=""), strict=True))


def ask(of: Api, account: UUID, **query: str) -> Any:
    """Ask for a statement; `from_` stands for `from`."""
    given = "&".join(f"{name.rstrip('_')}={quote(value)}" for name, value in query.items())
    return of.get(f"accounts/{account}/statement?{given}")


def check_adds_up(body: Any) -> None:
    """Assert that each balance follows from the one before it, from the first to the last."""
    balance = body["opening_balance"]
    for entry in body["entries"]:
        balance += entry["amount"] if entry["direction"] == "credit" else -entry["amount"]
        assert entry["running_balance"] == balance
    assert body["closing_balance"] == balance


def entries(account: UUID, times: list[datetime], *, amount: int = 1) -> None:
    """Project credits at these times, at every third position."""
    Entry.objects.bulk_create(
        Entry(
            id=uuid7(),
            account=account,
            transaction=uuid7(),
            direction="credit",
            amount=amount,
            currency="EUR",
            running_balance=amount * number,
            position=1_000_000 + 3 * number,
            created_at=time,
        )
        for number, time in enumerate(times, 1)
    )


def test_a_statement_tells_what_moved_oldest_first(alice: Api, bob: Api) -> None:
    mine, theirs = alice.account(), bob.account()
    deposit(mine, 1000, description="Salary")
    transfer(mine, theirs, 300, description="Rent")
    transfer(mine, theirs, 5000, description="Never happened")
    drain()
    before = utc_now()
    body = statement(alice, mine)
    assert list(body) == ["account", "from", "to", "opening_balance", "entries", "closing_balance"]
    assert body["account"] == str(mine)
    assert body["from"] == alice.get(f"accounts/{mine}").json()["created_at"]
    assert format_time(before) < body["to"] < format_time(utc_now())
    assert (body["opening_balance"], body["closing_balance"]) == (0, 700)
    listed = alice.get(f"accounts/{mine}/entries").json()["data"]
    assert body["entries"] == listed[::-1]
    assert [each["running_balance"] for each in body["entries"]] == [1000, 700]
    check_adds_up(body)


def test_as_csv_it_has_the_same_rows_between_the_two_balances(alice: Api, bob: Api) -> None:
    mine, theirs = alice.account(), bob.account()
    first = deposit(mine, 1000, description='Salary, "May"\nand a bonus')
    second = transfer(mine, theirs, 300)
    drain()
    end = format_time(utc_now())
    answer = ask(alice, mine, format="csv", to=end)
    assert answer["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert answer.content.startswith(
        b"created_at,transaction,description,direction,amount,currency,running_balance\r\n"
    )
    found = rows(alice, mine, to=end)
    body = statement(alice, mine, to=end)
    empty = {"transaction": "", "direction": "", "amount": "", "currency": "EUR"}
    assert found[0] == {
        **empty,
        "created_at": body["from"],
        "description": "opening balance",
        "running_balance": "0",
    }
    assert found[-1] == {
        **empty,
        "created_at": end,
        "description": "closing balance",
        "running_balance": "700",
    }
    assert found[1:-1] == [
        {
            "created_at": entry["created_at"],
            "transaction": str(moved.id),
            "description": description,
            "direction": entry["direction"],
            "amount": str(entry["amount"]),
            "currency": "EUR",
            "running_balance": str(entry["running_balance"]),
        }
        for entry, moved, description in zip(
            body["entries"],
            (first, second),
            ('Salary, "May"\nand a bonus', ""),
            strict=True,
        )
    ]


def test_the_first_instant_belongs_to_it_and_the_last_does_not(alice: Api) -> None:
    account = alice.account()
    for amount in (1, 10, 100, 1000):
        deposit(account, amount)
    drain()
    times = [each["created_at"] for each in statement(alice, account)["entries"]]
    assert len(set(times)) == 4
    body = statement(alice, account, from_=times[1], to=times[3])
    assert [each["amount"] for each in body["entries"]] == [10, 100]
    assert (body["from"], body["to"]) == (times[1], times[3])
    assert (body["opening_balance"], body["closing_balance"]) == (1, 111)
    just_after = format_time(datetime.fromisoformat(times[1]) + timedelta(microseconds=1))
    body = statement(alice, account, from_=just_after, to=just_after)
    assert (body["entries"], body["opening_balance"], body["closing_balance"]) == ([], 11, 11)
    body = statement(alice, account, from_=times[1], to=just_after)
    assert [each["amount"] for each in body["entries"]] == [10]


def test_statements_of_times_that_meet_tell_everything_once(alice: Api) -> None:
    account = alice.account()
    # Several entries of one instant are never torn apart.
    times = [BEGIN + timedelta(seconds=number // 3) for number in range(30)]
    entries(account, times)
    cuts = [BEGIN - timedelta(days=1), *sorted(set(times)), BEGIN + timedelta(days=1)]
    found, balance = [], 0
    for since, until in pairwise(cuts):
        body = statement(alice, account, from_=format_time(since), to=format_time(until))
        check_adds_up(body)
        assert body["opening_balance"] == balance
        balance = body["closing_balance"]
        found += [each["position"] for each in body["entries"]]
    assert found == [1_000_000 + 3 * number for number in range(1, 31)]


@given(
    steps=st.lists(st.integers(0, 3), max_size=40),
    since=st.integers(-2, 60),
    length=st.integers(0, 60),
)
@pytest.mark.django_db(transaction=False)
def test_both_ends_are_found_wherever_they_are(steps: list[int], since: int, length: int) -> None:
    account = uuid4()
    times, now = [], BEGIN
    for step in steps:
        now += timedelta(seconds=step)
        times.append(now)
    entries_of_nobody = [
        Entry(
            id=uuid7(),
            account=account,
            transaction=uuid7(),
            direction="credit",
            amount=1,
            currency="EUR",
            running_balance=number,
            position=5_000_000 + number * number,
            created_at=time,
        )
        for number, time in enumerate(times, 1)
    ]
    Entry.objects.bulk_create(entries_of_nobody)
    newest = entries_of_nobody[-1].position if entries_of_nobody else 0
    start = BEGIN + timedelta(seconds=since)
    end = start + timedelta(seconds=length)
    first = statements._position_at(start, account=account, newest=newest)
    last = statements._position_at(end, account=account, newest=newest) - 1
    shown = Entry.objects.filter(account=account, position__gte=first, position__lte=last)
    assert sorted(shown.values_list("created_at", flat=True)) == [
        time for time in times if start <= time < end
    ]
    Entry.objects.filter(account=account).delete()


def test_an_account_without_entries_has_a_statement(alice: Api) -> None:
    body = statement(alice, alice.account())
    assert (body["entries"], body["opening_balance"], body["closing_balance"]) == ([], 0, 0)


def test_a_time_before_the_account_was_opened_is_empty(alice: Api) -> None:
    account = alice.account(balance=100)
    drain()
    body = statement(alice, account, to="2020-01-01T00:00:00Z")
    assert body["from"] == body["to"] == "2020-01-01T00:00:00.000000Z"
    assert (body["entries"], body["opening_balance"], body["closing_balance"]) == ([], 0, 0)


def test_it_may_reach_into_the_future(alice: Api) -> None:
    account = alice.account(balance=100)
    drain()
    body = statement(alice, account, from_="2099-01-01T00:00:00+02:00", to="9999-12-31T00:00:00Z")
    assert body["from"] == "2098-12-31T22:00:00.000000Z"
    assert (body["entries"], body["opening_balance"], body["closing_balance"]) == ([], 100, 100)


def test_what_is_not_projected_yet_is_left_out_of_everything(alice: Api) -> None:
    account = alice.account(balance=100)
    drain()
    deposit(account, 50)
    sequencer.sequence()
    assert alice.posted(account) == 150
    body = statement(alice, account)
    check_adds_up(body)
    assert body["closing_balance"] == 100
    drain()
    assert statement(alice, account)["closing_balance"] == 150


def test_it_says_how_old_it_is(alice: Api) -> None:
    account = alice.account(balance=100)
    drain()
    assert "X-Read-Lag-Seconds" not in ask(alice, account)
    deposit(account, 50)
    Event.objects.filter(position=None).update(occurred_at=utc_now() - timedelta(seconds=90))
    for form in ("json", "csv"):
        assert float(ask(alice, account, format=form)["X-Read-Lag-Seconds"]) >= 90


def test_holds_and_captures_are_told_when_the_money_leaves(alice: Api, bob: Api) -> None:
    mine, theirs = alice.account(balance=100), bob.account()
    held = alice.transfer(mine, theirs, 60, hold=True).json()
    drain()
    assert statement(alice, mine)["closing_balance"] == 100
    captured = alice.post(f"transactions/{held['id']}/capture", {"amount": 25}, key="c")
    assert captured.status_code == 200
    drain()
    for of, account, direction, closing in (
        (alice, mine, "debit", 75),
        (bob, theirs, "credit", 25),
    ):
        body = statement(of, account)
        check_adds_up(body)
        last = body["entries"][-1]
        assert (last["direction"], last["amount"], body["closing_balance"]) == (
            direction,
            25,
            closing,
        )


@pytest.mark.parametrize(
    ("query", "parameter", "code"),
    [
        ("from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z", "from", "invalid_period"),
        ("from=2099-01-01T00:00:00Z", "from", "invalid_period"),
        ("from=2026-01-01", "from", "invalid_time"),
        ("from=", "from", "invalid_time"),
        ("to=2026-01-01T00:00:00", "to", "invalid_time"),
        ("to=yesterday", "to", "invalid_time"),
        ("to=0001-01-01T00:00:00%2B23:59", "to", "invalid_time"),
        ("from=2026-01-01T00:00:00Z&from=2026-01-02T00:00:00Z", "from", "repeated_parameter"),
        ("format=pdf", "format", "invalid_filter"),
        ("format=CSV", "format", "invalid_filter"),
        ("format=", "format", "invalid_filter"),
        ("limit=5", "limit", "unknown_parameter"),
        ("as_of=2026-01-01T00:00:00Z", "as_of", "unknown_parameter"),
    ],
)
def test_what_cannot_be_asked_is_refused(alice: Api, query: str, parameter: str, code: str) -> None:
    answer = alice.get(f"accounts/{alice.account()}/statement?{query}")
    problem_of(answer, status=422, code="validation_failed")
    assert faults(answer) == {(parameter, code)}


def test_a_plus_sign_that_was_not_escaped_is_understood(alice: Api) -> None:
    account = alice.account()
    answer = alice.get(f"accounts/{account}/statement?from=2026-01-01T02:00:00+02:00")
    assert answer.json()["from"] == "2026-01-01T00:00:00.000000Z"


@pytest.mark.parametrize("form", ["json", "csv"])
def test_an_account_of_others_is_unknown(alice: Api, bob: Api, root: Api, form: str) -> None:
    account = alice.account(balance=100)
    drain()
    for unknown in (account, uuid4(), "x", "%00"):
        answer = bob.get(f"accounts/{unknown}/statement?format={form}")
        problem_of(answer, status=404, code="account_not_found")
    outside = Entry.objects.exclude(account=account).get().account
    problem_of(ask(root, outside), status=404, code="account_not_found")
    assert statement(root, account)["closing_balance"] == 100


def test_it_wants_the_scope_of_accounts(alice: Api) -> None:
    account = alice.account()
    reader = with_key(alice.user, ["accounts:read"])
    assert ask(reader, account).status_code == 200
    other = with_key(alice.user, ["transactions:read"])
    problem_of(ask(other, account), status=403, code="missing_scope")
    problem_of(ask(Api(alice.user, ""), account), status=401, code="not_authenticated")


@pytest.mark.parametrize(
    ("accept", "query", "content_type"),
    [
        ("*/*", "", "application/json"),
        ("text/csv", "", api.CSV_TYPE),
        ("text/csv;q=0.5, application/json", "", "application/json"),
        ("application/json", "?format=csv", api.CSV_TYPE),
        ("text/csv", "?format=json", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "?format=csv", api.CSV_TYPE),
    ],
)
def test_the_form_is_named_in_the_query_or_asked_for_by_accept(
    alice: Api, accept: str, query: str, content_type: str
) -> None:
    answer = alice.get(f"accounts/{alice.account()}/statement{query}", Accept=accept)
    assert (answer.status_code, answer["Content-Type"]) == (200, content_type)
    assert "Accept" in answer["Vary"]


def test_a_form_that_nobody_makes_is_not_acceptable(alice: Api) -> None:
    answer = alice.get(f"accounts/{alice.account()}/statement", Accept="application/pdf")
    problem_of(answer, status=406, code="not_acceptable")


def test_the_file_has_a_name_without_surprises(alice: Api) -> None:
    account = alice.account(name='"; filename=../x')
    answer = ask(
        alice, account, format="csv", from_="2026-01-01T00:00:00Z", to="2026-02-01T00:00:00Z"
    )
    assert answer["Content-Disposition"] == (
        f'attachment; filename="statement-{account}-20260101T000000Z-20260201T000000Z.csv"'
    )


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1+cmd|' /C calc'!A0",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "  =1",
        "＝1",  # noqa: RUF001
    ],
)
def test_no_description_becomes_a_formula(alice: Api, text: str) -> None:
    account = alice.account()
    deposit(account, 5, description=text)
    drain()
    assert [each["description"] for each in rows(alice, account)][1] == f"'{text}"


@pytest.mark.parametrize("text", ["a=1", "Ärger, groß 🌊", '"quoted"', "a\r\nb", " x", "'", ""])
def test_every_other_description_is_kept_as_it_is(alice: Api, text: str) -> None:
    account = alice.account()
    deposit(account, 5, description=text)
    drain()
    assert [each["description"] for each in rows(alice, account)][1] == text


def test_a_negative_balance_stays_a_number(alice: Api, bob: Api) -> None:
    account = alice.account(overdraft_limit=100)
    transfer(account, bob.account(), 40)
    drain()
    assert [each["running_balance"] for each in rows(alice, account)] == ["0", "-40", "-40"]


def test_a_long_statement_is_sent_as_it_is_made(
    alice: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements.entry_pages, "__kwdefaults__", {"page_size": 10})
    account = alice.account()
    entries(account, [BEGIN + timedelta(seconds=number) for number in range(95)])
    period = {"from_": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"}
    for form in ("json", "csv"):
        with CaptureQueriesContext(connection) as before:
            answer = ask(alice, account, format=form, **period)
        assert answer.streaming
        assert "Content-Length" not in answer
        parts = iter(answer)
        with CaptureQueriesContext(connection) as begun:
            received = [next(parts) for _ in range(3)]
        with CaptureQueriesContext(connection) as rest:
            received += list(parts)
        reads = [
            # Databases quote names each in their own way.
            sum(
                '"position" >' in each["sql"].replace("`", '"') and "LIMIT 10" in each["sql"]
                for each in captured
            )
            for captured in (before, begun, rest)
        ]
        # Three pages before the answer begins, since nobody knows yet that there are more.
        assert reads == [3, 0, 7]
        text = b"".join(received).decode()
        if form == "csv":
            found = list(csv.DictReader(io.StringIO(text, newline="")))[1:-1]
            assert [int(each["running_balance"]) for each in found] == list(range(1, 96))
        else:
            body = json.loads(text)
            check_adds_up(body)
            assert (len(body["entries"]), body["closing_balance"]) == (95, 95)


@pytest.mark.parametrize("form", ["json", "csv"])
def test_a_long_statement_takes_the_memory_of_a_page(
    alice: Api, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements.entry_pages, "__kwdefaults__", {"page_size": 100})
    account = alice.account()
    entries(account, [BEGIN + timedelta(seconds=number) for number in range(6000)])
    ask(alice, account, format=form)
    tracemalloc.start()
    try:
        answer = ask(alice, account, format=form, from_="2026-01-01T00:00:00Z")
        size = sum(len(part) for part in answer)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 6000 * 80
    # A hundred entries as objects, queries and text, rather than six thousand.
    assert peak < 1_000_000


def test_a_short_statement_is_whole_and_so_compressed_like_any_answer(alice: Api) -> None:
    account = alice.account()
    entries(account, [BEGIN + timedelta(seconds=number) for number in range(1000)])
    answer = alice.get(f"accounts/{account}/statement?from=2026-01-01T00:00:00Z")
    assert not answer.streaming


def test_entries_that_do_not_add_up_are_no_statement(alice: Api) -> None:
    account = alice.account(balance=100)
    deposit(account, 1)
    deposit(account, 1)
    drain()
    Entry.objects.filter(account=account, running_balance=101).delete()
    problem_of(ask(alice, account), status=500, code="internal_error")


def test_a_statement_that_breaks_later_is_broken_off(
    alice: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(statements.entry_pages, "__kwdefaults__", {"page_size": 10})
    account = alice.account()
    entries(account, [BEGIN + timedelta(seconds=number) for number in range(95)])
    Entry.objects.filter(account=account, running_balance=60).delete()
    answer = ask(alice, account, from_="2026-01-01T00:00:00Z")
    with pytest.raises(statements.StatementBroken):
        b"".join(answer)
    assert "broken off" in caplog.text


def test_a_client_that_reads_too_slowly_is_cut_off() -> None:
    seconds = iter([0.0, 1.0, STREAM_TIMEOUT_S + 1])
    parts = iter([b"1", b"2", b"3"])
    stream = streamed(parts, name="statement", monotonic=lambda: next(seconds))
    assert [next(stream), next(stream)] == [b"1", b"2"]
    with pytest.raises(TimeoutError):
        next(stream)


def test_two_people_see_the_same_movement_from_both_sides() -> None:
    payer, payee = person(), person()
    source, destination = payer.account(balance=100), payee.account()
    moved = transfer(source, destination, 30, description="Lunch")
    drain()
    out, into = rows(payer, source)[-2], rows(payee, destination)[-2]
    assert (out["transaction"], into["transaction"]) == (str(moved.id), str(moved.id))
    assert (out["description"], into["description"]) == ("Lunch", "Lunch")
    assert (out["direction"], into["direction"]) == ("debit", "credit")
