"""Who is told of what, in which words, and never twice."""

from typing import Any

import pytest

from eventstore import subscriptions
from eventstore.models import Event, ParkedEvent
from tests.transactions.story import NOTIFICATIONS, decide, tell
from tests.transactions.tools import deposit, open_account, transfer
from tests.users.tools import new_user
from transactions import mailer
from transactions.models import Account, Notification
from users.mail import FileBackend
from users.models import User

pytestmark = pytest.mark.django_db

ALL = ["AccountDebited", "AccountCredited", "TransactionFailed"]


def told(user: User) -> list[str]:
    """Return the types of what a user is told of, in the order of happening."""
    rows = Notification.objects.filter(user=user.pk).order_by("event")
    return list(rows.values_list("type", flat=True))


def prefer(user: User, **preferences: Any) -> None:
    User.objects.filter(pk=user.pk).update(notification_preferences=preferences)


def only_notification_after_a_deposit(*, name: str = "", **money: Any) -> Notification:
    account = open_account(new_user(), name=name, currency=money.get("currency", "EUR"))
    deposit(account.id, **money)
    (row,) = decide()
    return row


def test_both_sides_of_a_transfer_are_told_and_a_refusal_reaches_the_payer_alone() -> None:
    story = tell()
    assert told(story.payer) == ["AccountCredited", "AccountDebited", "TransactionFailed"]
    assert told(story.payee) == ["AccountCredited"]
    assert Notification.objects.count() == 4


def test_a_notification_is_that_of_its_event() -> None:
    row = only_notification_after_a_deposit(amount=100)
    event = Event.objects.get(type="AccountCredited")
    assert (row.event, row.type, row.state) == (event.id, event.type, "pending")
    assert row.due_at == row.created_at == event.occurred_at


def test_who_moves_money_between_own_accounts_is_told_of_both_sides() -> None:
    user = new_user()
    source, destination = open_account(user).id, open_account(user).id
    deposit(source, 100)
    transfer(source, destination, 100)
    decide()
    assert told(user) == ["AccountCredited", "AccountDebited", "AccountCredited"]


def test_the_account_of_the_outside_world_tells_nobody() -> None:
    row = only_notification_after_a_deposit(amount=100)
    assert Event.objects.filter(type="AccountDebited").count() == 1
    assert row.type == "AccountCredited"


def test_a_deposit_that_was_refused_tells_nobody() -> None:
    account = open_account(new_user(), currency="EUR")
    assert deposit(account.id, 100, currency="USD").status == "failed"
    assert decide() == []


def test_an_account_that_is_opened_tells_nobody() -> None:
    open_account(new_user())
    assert decide() == []


@pytest.mark.parametrize(
    ("preferences", "expected"),
    [
        ({"email": True, "events": ALL}, ["AccountCredited", "AccountDebited", ALL[2]]),
        ({"email": False, "events": ALL}, []),
        ({"email": True, "events": []}, []),
        ({"email": True, "events": ["AccountDebited"]}, ["AccountDebited"]),
        ({"email": True, "events": ["TransactionFailed"]}, ["TransactionFailed"]),
        ({}, []),
    ],
)
def test_people_are_told_of_what_they_want(
    preferences: dict[str, Any], expected: list[str]
) -> None:
    payer, payee = new_user(), new_user()
    prefer(payer, **preferences)
    source, destination = open_account(payer).id, open_account(payee).id
    deposit(source, 100)
    transfer(source, destination, 60)
    transfer(source, destination, 60)
    decide()
    assert told(payer) == expected
    assert told(payee) == ["AccountCredited"], "the wishes of one are not those of another"


def test_a_user_who_is_not_active_is_told_nothing() -> None:
    account = open_account(new_user(is_active=False))
    deposit(account.id, 100)
    assert decide() == []


def test_a_lane_that_begins_again_adds_nothing_and_changes_nothing() -> None:
    tell()
    Notification.objects.filter(type="AccountDebited").update(state="sent", attempts=2)
    before = list(Notification.objects.order_by("event").values())
    subscriptions.reset("notifications", to=0)
    assert subscriptions.run(NOTIFICATIONS) == Event.objects.count()
    assert list(Notification.objects.order_by("event").values()) == before
    assert not ParkedEvent.objects.exists()


def test_a_debit_names_amount_balance_account_and_transaction() -> None:
    story = tell(name="Savings")
    row = Notification.objects.get(type="AccountDebited")
    assert row.subject == "3.00 EUR left your account Savings"
    assert row.body.startswith("Hello Paula,\n\n3.00 EUR left your account Savings.\n")
    lines = row.body.splitlines()
    assert "Balance: 7.00 EUR" in lines
    assert f"Account: {story.source}" in lines
    assert f"Transaction: {story.transfer}" in lines
    assert f"Time: {row.created_at:%Y-%m-%d %H:%M:%S} UTC" in lines


def test_a_credit_names_amount_balance_account_and_transaction() -> None:
    story = tell()
    row = Notification.objects.get(user=story.payee.pk)
    assert row.subject == "3.00 EUR arrived on your account"
    assert row.body.startswith("Hello,\n\n3.00 EUR arrived on your account.\n")
    lines = row.body.splitlines()
    assert "Balance: 3.00 EUR" in lines
    assert f"Account: {story.destination}" in lines
    assert f"Transaction: {story.transfer}" in lines


def test_a_refusal_names_amount_reason_and_transaction() -> None:
    story = tell()
    row = Notification.objects.get(type="TransactionFailed")
    assert row.subject == "Your transfer of 1000000.00 EUR was refused"
    lines = row.body.splitlines()
    assert "Your transfer of 1000000.00 EUR was refused, and no money has moved." in lines
    assert "Reason: 1000000.00 EUR is more than the 7.00 EUR available on the account." in lines
    assert f"Transaction: {story.refused}" in lines


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        (1250, "EUR", "12.50 EUR"),
        (5, "EUR", "0.05 EUR"),
        (1250, "JPY", "1250 JPY"),
        (1250, "KWD", "1.250 KWD"),
        (10**15, "EUR", "10000000000000.00 EUR"),
    ],
)
def test_amounts_are_written_as_people_write_them(
    amount: int, currency: str, expected: str
) -> None:
    row = only_notification_after_a_deposit(amount=amount, currency=currency)
    assert row.subject == f"{expected} arrived on your account"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028"])
def test_the_name_of_an_account_cannot_add_a_header(settings: Any, end: str) -> None:
    row = only_notification_after_a_deposit(
        name=f"Savings{end}Bcc: thief@example.com{end}{end}Send money.", amount=100
    )
    assert row.subject == (
        "1.00 EUR arrived on your account Savings Bcc: thief@example.com Send money."
    )
    assert mailer.send_notifications(connect=FileBackend) == 1
    content = (settings.EMAIL_FILE_PATH / f"{row.event}.eml").read_bytes()
    headers = content.partition(b"\n\n")[0].splitlines()
    assert not [line for line in headers if line.lower().startswith(b"bcc:")]


def test_the_longest_name_and_amount_fit_into_a_subject() -> None:
    row = only_notification_after_a_deposit(name="ä" * 140, amount=10**15)
    assert len(row.subject) <= 200
    row.full_clean()


def test_an_event_whose_account_is_lost_is_parked_and_the_others_are_told() -> None:
    lost, other = new_user(), new_user()
    account, another = open_account(lost), open_account(other)
    deposit(account.id, 100)
    deposit(another.id, 100)
    Account.objects.filter(pk=account.id).delete()
    decide()
    assert (told(lost), told(other)) == ([], ["AccountCredited"])
    assert ParkedEvent.objects.get().stream == f"account-{account.id}"
