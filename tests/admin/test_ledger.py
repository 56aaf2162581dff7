"""Accounts, transactions, entries and notifications in the admin."""

import pytest
from django.contrib.admin.models import LogEntry
from uuid_utils.compat import uuid7

from tests.admin.conftest import Story
from tests.admin.tools import (
    follow_log,
    new_user,
    open_account,
    rows_of,
    run_action,
    staff,
    superuser,
    text_of,
    transfer,
)
from transactions.ledger import account_stream
from transactions.models import Account, Entry, Notification, Transaction

ACCOUNTS = "/admin/transactions/account/"
TRANSACTIONS = "/admin/transactions/transaction/"
ENTRIES = "/admin/transactions/entry/"
NOTIFICATIONS = "/admin/transactions/notification/"

pytestmark = pytest.mark.django_db


def keys(url: str, **query: object) -> list[object]:
    """Return the primary keys that a list shows."""
    return [row.pk for row in rows_of(superuser().get(url, {k: str(v) for k, v in query.items()}))]


def test_an_account_is_found_by_its_id_and_by_its_owner(story: Story) -> None:
    assert keys(ACCOUNTS, q=story.source) == [story.source]
    assert keys(ACCOUNTS, q=story.ann.pk) == [story.source]
    assert keys(ACCOUNTS, q=f" {story.ann.email.upper()} ") == [story.source]
    other = open_account(story.ann, currency="JPY")
    assert keys(ACCOUNTS, q=story.ann.email) == [other, story.source]
    for term in (story.ann.email[1:], "Household", uuid7(), "%"):
        assert keys(ACCOUNTS, q=term) == []


def test_accounts_show_money_as_people_write_it(story: Story) -> None:
    yen = open_account(new_user(), currency="JPY", deposit=1250)
    page = text_of(superuser().get(ACCOUNTS))
    for shown in ("987.50 EUR", "12.50 EUR", "1250 JPY", "-1000.00 EUR", "the world outside"):
        assert shown in page
    assert story.ann.email in page
    assert "1250 JPY" in text_of(superuser().get(f"{ACCOUNTS}{yen}/change/"))


def test_an_account_leads_to_its_transactions_entries_and_events(story: Story) -> None:
    back = transfer(story.destination, story.source, amount=50)
    follow_log()
    client = superuser()
    text = text_of(client.get(f"{ACCOUNTS}{story.source}/change/"))
    stream = account_stream(story.source)
    addresses = {
        f"{TRANSACTIONS}?source={story.source}": [story.transaction],
        f"{ENTRIES}?account={story.source}": list(
            Entry.objects.filter(account=story.source)
            .order_by("-position")
            .values_list("pk", flat=True)
        ),
    }
    for address, expected in addresses.items():
        assert f'"{address}"' in text
        assert [row.pk for row in rows_of(client.get(address))] == expected
    to_it = [row.pk for row in rows_of(client.get(f"{TRANSACTIONS}?destination={story.source}"))]
    assert to_it[0] == back
    assert len(to_it) == 2
    events = rows_of(client.get(f"/admin/eventstore/event/?q={stream}"))
    assert f"/admin/eventstore/event/?q={stream}" in text
    assert [row.version for row in events] == [4, 3, 2, 1]


def test_a_filter_by_what_is_no_id_shows_the_whole_list(story: Story) -> None:
    answer = superuser().get(TRANSACTIONS, {"source": "nonsense"})
    assert (answer.status_code, answer["Location"]) == (302, f"{TRANSACTIONS}?e=1")


def test_a_transaction_is_found_by_id_reference_account_and_people(story: Story) -> None:
    assert keys(TRANSACTIONS, q=story.transaction) == [story.transaction]
    assert keys(TRANSACTIONS, q="INV-1") == [story.transaction]
    assert keys(TRANSACTIONS, q="INV") == []
    assert keys(TRANSACTIONS, q=story.bob.email) == [story.transaction]
    assert keys(TRANSACTIONS, q=story.bob.pk) == [story.transaction]
    assert keys(TRANSACTIONS, q=story.destination) == [story.transaction]
    back = transfer(story.destination, story.source, amount=50)
    for term in (story.bob.email, story.bob.pk, story.destination):
        assert keys(TRANSACTIONS, q=term) == [back, story.transaction]
    assert keys(TRANSACTIONS, q=uuid7()) == []
    assert keys(TRANSACTIONS, q=new_user().email) == []


def test_a_transaction_tells_its_story(story: Story) -> None:
    client = superuser()
    text = text_of(client.get(f"{TRANSACTIONS}{story.transaction}/change/"))
    for shown in (
        "12.50 EUR",
        "completed",
        story.ann.email,
        story.bob.email,
        f"{ACCOUNTS}{story.source}/change/",
        f"{ACCOUNTS}{story.destination}/change/",
        "TransactionCreated",
        "AccountDebited",
        "AccountCredited",
        "TransactionCompleted",
        '"order": 7',
        "mysql confirmed",
    ):
        assert shown in text


def test_a_refused_transaction_says_why_and_reached_nobody(story: Story) -> None:
    transfer(story.source, story.destination, amount=10**9)
    failed = Transaction.objects.get(status="failed")
    text = text_of(superuser().get(f"{TRANSACTIONS}{failed.pk}/change/"))
    assert "insufficient_funds" in text
    assert "nobody: it did not get there" in text


def test_entries_lead_to_account_transaction_and_event(story: Story) -> None:
    client = superuser()
    entry = Entry.objects.get(account=story.source, direction="debit")
    text = text_of(client.get(f"{ENTRIES}{entry.pk}/change/"))
    for address in (
        f"{ACCOUNTS}{story.source}/change/",
        f"{TRANSACTIONS}{story.transaction}/change/",
        f"/admin/eventstore/event/{entry.pk}/change/",
    ):
        assert address in text
    assert "987.50 EUR" in text
    assert client.get(f"/admin/eventstore/event/{entry.pk}/change/").status_code == 200
    assert keys(ENTRIES, q=entry.pk) == keys(ENTRIES, q=entry.position) == [entry.pk]


def test_only_failed_and_doubtful_e_mails_are_sent_again_and_that_is_audited(story: Story) -> None:
    rows = list(Notification.objects.order_by("event")[:3])
    for row, state in zip(rows, ("failed", "in_doubt", "sent"), strict=True):
        Notification.objects.filter(pk=row.pk).update(state=state, attempts=5, last_error="gone")
    client = staff("change_notification")
    text = text_of(run_action(client, NOTIFICATIONS, "send_again", *(row.pk for row in rows)))
    assert "2 will be sent again." in text
    assert "1 were neither failed nor in doubt" in text
    for row in rows:
        row.refresh_from_db()
    assert [row.state for row in rows] == ["pending", "pending", "sent"]
    assert [row.attempts for row in rows] == [0, 0, 5]
    said = LogEntry.objects.order_by("object_id").values_list("object_id", "change_message")
    assert list(said) == [
        (str(rows[0].pk), "To be sent again; it was failed."),
        (str(rows[1].pk), "To be sent again; it was in_doubt."),
    ]


def test_who_may_only_view_notifications_cannot_send_them(story: Story) -> None:
    row = Notification.objects.all()[0]
    Notification.objects.update(state="failed")
    run_action(staff("view_notification"), NOTIFICATIONS, "send_again", row.pk)
    row.refresh_from_db()
    assert row.state == "failed"


def test_notifications_are_filtered_by_state(story: Story) -> None:
    row = Notification.objects.order_by("event")[0]
    Notification.objects.filter(pk=row.pk).update(state="failed")
    assert keys(NOTIFICATIONS, state="failed") == [row.pk]
    assert row.pk not in keys(NOTIFICATIONS, state="pending")
    assert keys(NOTIFICATIONS, q=row.pk) == [row.pk]


def test_money_only_moves_through_commands(story: Story) -> None:
    before = Account.objects.values_list("pk", "posted").order_by("pk")
    url = f"{ACCOUNTS}{story.source}/change/"
    assert superuser().post(url, {"posted": "1000000"}).status_code == 403
    assert list(before) == list(Account.objects.values_list("pk", "posted").order_by("pk"))
