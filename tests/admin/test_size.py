"""The admin takes as long on a large table as on a small one."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from uuid_utils.compat import uuid7

from eventstore.models import Event
from tests.admin.conftest import Story
from tests.admin.tools import execute, follow_log, rows_of, superuser, text_of, transfer
from transactions.domain.commands import CreateTransaction, OpenAccount
from transactions.ledger import account_stream
from transactions.models import Entry, Notification, Transaction

TRANSACTIONS = "/admin/transactions/transaction/"
SMALL, LARGE = 120, 1250
BATCH_SIZE = 500
STEPS_A_TICK = 100
# Tables that grow with every transaction, and the query plan of reading one from end to end.
GROWING = ("eventstore_event", "transactions_transaction", "transactions_entry")
WHOLE_TABLE = re.compile(rf"SCAN ({'|'.join(GROWING)})\b(?! USING (COVERING )?INDEX)")

sqlite_only = pytest.mark.skipif(
    connection.vendor != "sqlite", reason="counts the steps of SQLite's own machine"
)


def deposit(account: UUID, count: int) -> None:
    """Move money into `account`, `count` times; each is a transaction and four events."""
    for begin in range(0, count, BATCH_SIZE):
        execute(
            *(
                CreateTransaction(
                    id=uuid7(),
                    type="deposit",
                    destination=account,
                    amount=1,
                    currency="EUR",
                    reference="rent",
                )
                for _ in range(begin, min(begin + BATCH_SIZE, count))
            )
        )
    follow_log()


def addresses(story: Story) -> list[str]:
    """Return lists, searches and pages in which the growing tables take part."""
    event = Event.objects.get(position=2)
    middle = Event.objects.get(position=300)
    entry = Entry.objects.get(account=story.source, direction="debit")
    oldest = Transaction.objects.order_by("id")[1]
    events, ledger = "/admin/eventstore/event/", "/admin/transactions"
    return [
        "/admin/",
        "/admin/eventstore/checkpoint/",
        events,
        f"{events}?p=after:{middle.row}",
        f"{events}?p=before:{middle.row}",
        f"{events}?place=waiting",
        f"{events}?type=AccountCredited",
        f"{events}?type=AccountFrozen",
        f"{events}?q={event.position}",
        f"{events}?q={event.id}",
        f"{events}?q={story.transaction}",
        f"{events}?q={account_stream(story.source)}",
        f"{events}?q={account_stream(story.destination)}",
        f"{events}?q={uuid7()}",
        f"{events}?q=no-such-thing",
        f"{events}{middle.row}/change/",
        f"{ledger}/account/?q={story.ann.email}",
        f"{ledger}/account/{story.destination}/change/",
        f"{ledger}/transaction/",
        f"{ledger}/transaction/?p=after:{oldest.pk}",
        f"{ledger}/transaction/?q={story.transaction}",
        f"{ledger}/transaction/?q=rent",
        f"{ledger}/transaction/?q={story.ann.email}",
        f"{ledger}/transaction/?destination={story.destination}",
        f"{ledger}/transaction/{story.transaction}/change/",
        f"{ledger}/entry/",
        f"{ledger}/entry/?account={story.destination}",
        f"{ledger}/entry/?q={entry.pk}",
        f"{ledger}/notification/",
        f"{ledger}/notification/?state=pending",
        f"{ledger}/notification/?state=failed",
        "/admin/eventstore/idempotencyrecord/",
        "/admin/eventstore/idempotencyrecord/?q=order-1",
        "/admin/eventstore/parkedevent/?q=account-1",
        "/admin/admin/logentry/",
    ]


@contextmanager
def counted_steps() -> Iterator[Callable[[], int]]:
    """Count what SQLite's virtual machine does, in units of `STEPS_A_TICK` instructions."""
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1

    connection.ensure_connection()
    connection.connection.set_progress_handler(tick, STEPS_A_TICK)
    try:
        yield lambda: ticks
    finally:
        connection.connection.set_progress_handler(None, STEPS_A_TICK)


def measure(client: Client, url: str) -> tuple[int, list[str]]:
    """Return the ticks that a page takes in the database, and its queries."""
    with counted_steps() as ticks, CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code == 200
    return ticks(), [query["sql"] for query in captured.captured_queries]


@sqlite_only
def test_no_page_takes_longer_on_a_table_ten_times_as_long(story: Story) -> None:
    deposit(story.destination, SMALL)
    client, pages = superuser(), addresses(story)
    before = {url: measure(client, url) for url in pages}
    deposit(story.destination, LARGE)
    assert Event.objects.count() > 5_000

    slower, whole, counting = {}, [], []
    for url in pages:
        ticks, queries = measure(client, url)
        if ticks > before[url][0] * 1.5 + 20:
            slower[url] = (before[url][0], ticks)
        assert len(queries) <= len(before[url][1]), url
        whole += [query for query in queries if WHOLE_TABLE.search(plan_of(query))]
        # A count of the rows that an index names is cheap; one without a condition is not.
        counting += [each for each in queries if "COUNT(" in each and " WHERE " not in each]
    assert slower == {}
    assert whole == []
    assert counting == []


def plan_of(query: str) -> str:
    """Return how SQLite would carry out a query; nothing for what is not read."""
    if not query.startswith("SELECT"):
        return ""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {query}")
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


@sqlite_only
def test_the_measure_notices_a_walk_through_the_table(story: Story) -> None:
    deposit(story.destination, SMALL)
    with counted_steps() as ticks:
        few = ticks()
        list(Event.objects.filter(request_id="nobody")[:1])
        few = ticks() - few
    deposit(story.destination, LARGE)
    with counted_steps() as ticks:
        list(Event.objects.filter(request_id="nobody")[:1])
    assert ticks() > few * 5
    assert WHOLE_TABLE.search(plan_of(str(Event.objects.filter(version=7).query)))


def test_a_search_for_who_is_busy_shows_the_newest_and_says_so(story: Story) -> None:
    page = superuser().get(f"{TRANSACTIONS}?q={story.bob.email}")
    assert "Only the newest" not in text_of(page)
    deposit(story.destination, LARGE)
    page = superuser().get(f"{TRANSACTIONS}?q={story.bob.email}")
    assert "Only the newest 1,000 on each side are shown." in text_of(page)
    assert rows_of(page) == list(Transaction.objects.order_by("-id")[:100])


def number_of_queries(client: Client, url: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code == 200
    return len(captured)


def test_no_list_asks_more_questions_for_more_rows(story: Story) -> None:
    urls = [
        f"/admin/{name}/"
        for name in (
            "eventstore/event",
            "eventstore/idempotencyrecord",
            "transactions/account",
            "transactions/transaction",
            "transactions/entry",
            "transactions/notification",
            "admin/logentry",
        )
    ]
    client = superuser()

    def log(number: int) -> Any:
        return LogEntry(
            user_id=client.session["_auth_user_id"],
            object_repr=str(number),
            action_flag=2,
            change_message="x",
        )

    LogEntry.objects.bulk_create(log(number) for number in range(2))
    before = {url: number_of_queries(client, url) for url in urls}
    execute(*(OpenAccount(id=uuid7(), owner=story.bob.pk, currency="EUR") for _ in range(20)))
    for number in range(20):
        transfer(story.source, story.destination, by=story.bob, amount=1, key=f"more-{number}")
    follow_log()
    LogEntry.objects.bulk_create(log(number) for number in range(20))
    assert Notification.objects.count() > 20
    assert {url: number_of_queries(client, url) for url in urls} == before
