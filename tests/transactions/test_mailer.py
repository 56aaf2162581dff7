"""Every e-mail goes out once, whatever dies, breaks or refuses in the middle."""

import smtplib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from email import message_from_bytes
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core import mail
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.db import OperationalError, connection

from eventstore import leases, subscriptions
from eventstore.models import Checkpoint
from tests.transactions.story import NOTIFICATIONS, decide, expire_lease, run_process
from tests.transactions.tools import deposit, open_account
from tests.users.tools import at_once, new_user
from transactions import mailer
from transactions.mailer import send_again, send_notifications
from transactions.models import Notification
from users.mail import FileBackend
from users.models import User

pytestmark = pytest.mark.django_db

send_as_files = partial(send_notifications, connect=FileBackend)


class Server(BaseEmailBackend):
    """A mail server that keeps what it is sent, and fails as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[EmailMessage] = []
        # Raised before an e-mail to one of these addresses is taken.
        self.refuses: dict[str, Exception] = {}
        # Done with each e-mail right after it was taken.
        self.then: Callable[[], object] = lambda: None
        self.unreachable: OSError | None = None

    def open(self) -> bool:
        """Connect."""
        if self.unreachable is not None:
            raise self.unreachable
        return True

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Take e-mails."""
        for email in email_messages:
            if email.to[0] in self.refuses:
                raise self.refuses[email.to[0]]
            self.sent.append(email)
            self.then()
        return len(email_messages)

    @property
    def addresses(self) -> list[str]:
        """To whom the e-mails went, in order."""
        return [email.to[0] for email in self.sent]

    def send(self) -> int:
        """Let the mailer send by this server."""
        return send_notifications(connect=lambda: self)


class ServerThatKnows(Server):
    """A server that recognises a Message-ID."""

    idempotent = True

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Take e-mails that are new."""
        seen = {email.extra_headers["Message-ID"] for email in self.sent}
        new = [email for email in email_messages if email.extra_headers["Message-ID"] not in seen]
        return super().send_messages(new)


def notified(*names: str) -> list[Notification]:
    """Let a person of each name be told of a deposit; return the notifications in that order."""
    for name in names:
        user = User.objects.filter(email=f"{name}@example.com").first()
        user = user or new_user(email=f"{name}@example.com")
        deposit(open_account(user).id, 100)
    return decide()


def now_due() -> None:
    """Let the time pass for which every notification was put off."""
    Notification.objects.update(due_at=datetime.fromisoformat("2026-01-01T00:00:00Z"))


def states() -> list[str]:
    return list(Notification.objects.order_by("event").values_list("state", flat=True))


def files() -> list[Path]:
    return sorted(Path(settings.EMAIL_FILE_PATH).glob("*"))


def last_error() -> str:
    return Checkpoint.objects.get(name=mailer.LEASE_NAME).last_error


def test_a_notification_becomes_an_e_mail_with_the_id_of_its_event(settings: Any) -> None:
    settings.DEFAULT_FROM_EMAIL = "Bank <post@bank.example>"
    (row,) = notified("ada")
    assert send_as_files() == 1
    (file,) = files()
    assert file.name == f"{row.event}.eml"
    message = message_from_bytes(file.read_bytes())
    assert message["Message-ID"] == f"<{row.event}@bank.example>"
    assert message["From"] == "Bank <post@bank.example>"
    assert message["To"] == "ada@example.com"
    assert message["Subject"] == row.subject
    assert (message["X-Event-Id"], message["X-Event-Type"]) == (str(row.event), row.type)
    assert str(message.get_payload()).strip() == row.body.strip()
    assert states() == ["sent"]


def test_the_backend_of_the_settings_is_used() -> None:
    notified("ada", "bob")
    assert send_notifications() == 2
    assert [email.to for email in mail.outbox] == [["ada@example.com"], ["bob@example.com"]]


def test_what_was_sent_is_not_sent_again() -> None:
    server = Server()
    notified("ada", "bob")
    assert server.send() == 2
    assert server.send() == 0
    subscriptions.reset("notifications", to=0)
    assert subscriptions.run(NOTIFICATIONS) > 0
    now_due()
    assert server.send() == 0
    assert server.addresses == ["ada@example.com", "bob@example.com"]
    assert states() == ["sent", "sent"]


def test_nothing_is_sent_before_it_is_due() -> None:
    server = Server()
    (row,) = notified("ada")
    Notification.objects.update(due_at=row.due_at + timedelta(hours=1))
    assert server.send() == 0
    assert states() == ["pending"]


def test_more_than_a_batch_is_sent_in_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailer, "BATCH_SIZE", 2)
    server = Server()
    notified("ada", "bob", "cleo", "dan", "eve")
    assert server.send() == 5


def test_a_run_ends_when_its_time_is_up() -> None:
    server = Server()
    notified("ada", "bob", "cleo")
    # The server takes 10 s for each.
    assert (
        send_notifications(
            connect=lambda: server, drain_s=15.0, clock=lambda: 10.0 * len(server.sent)
        )
        == 2
    )
    assert states() == ["sent", "sent", "pending"]
    assert server.send() == 1


def test_while_one_sends_nobody_else_does() -> None:
    server = Server()
    notified("ada")
    lease = leases.acquire(mailer.LEASE_NAME, owner="another")
    assert lease is not None
    assert server.send() == 0
    assert states() == ["pending"]
    leases.release(lease)
    assert server.send() == 1


@pytest.mark.django_db(transaction=True)
def test_of_many_senders_at_once_each_e_mail_goes_out_once() -> None:
    server = Server()
    notified("ada", "bob", "cleo")
    sent = at_once([server.send] * 4)
    assert sum(sent) + server.send() == 3
    assert sorted(server.addresses) == ["ada@example.com", "bob@example.com", "cleo@example.com"]


def test_a_sender_whose_lease_was_taken_over_sends_nothing_more() -> None:
    server = Server()
    notified("ada", "bob")

    def take_over() -> None:
        expire_lease(mailer.LEASE_NAME)
        assert leases.acquire(mailer.LEASE_NAME, owner="another") is not None

    server.then = take_over
    assert server.send() == 1
    assert states() == ["sent", "pending"]
    assert Checkpoint.objects.get(name=mailer.LEASE_NAME).owner == "another"


@pytest.mark.django_db(transaction=True)
def test_a_sender_killed_behind_the_hand_over_leaves_one_file(tmp_path: Path) -> None:
    (row,) = notified("ada")
    assert run_process("hand_over_and_die", data_dir=tmp_path) == -9
    assert states() == ["sending"]
    before = [(file, file.read_bytes()) for file in files()]
    assert [file.name for file, _ in before] == [f"{row.event}.eml"]
    # The dead one still has the lease; nobody goes on before its end.
    assert send_as_files() == 0
    expire_lease(mailer.LEASE_NAME)
    assert send_as_files() == 1
    assert states() == ["sent"]
    assert [(file, file.read_bytes()) for file in files()] == before


@pytest.mark.django_db(transaction=True)
def test_a_sender_killed_before_the_hand_over_delays_an_e_mail_only(tmp_path: Path) -> None:
    (row,) = notified("ada")
    assert run_process("claim_and_die", data_dir=tmp_path) == -9
    assert states() == ["sending"]
    assert files() == []
    expire_lease(mailer.LEASE_NAME)
    assert send_as_files() == 1
    assert states() == ["sent"]
    assert [file.name for file in files()] == [f"{row.event}.eml"]


@pytest.mark.django_db(transaction=True)
def test_a_sender_killed_with_an_unknowing_server_leaves_a_doubt_and_nothing_twice(
    tmp_path: Path,
) -> None:
    server = Server()
    notified("ada", "bob")
    assert run_process("post_and_die", data_dir=tmp_path) == -9
    assert states() == ["sending", "pending"]
    assert len(files()) == 1
    expire_lease(mailer.LEASE_NAME)
    assert server.send() == 1
    assert server.addresses == ["bob@example.com"]
    assert states() == ["in_doubt", "sent"]
    now_due()
    assert server.send() == 0


def test_a_person_can_have_a_doubtful_e_mail_sent_again() -> None:
    server = Server()
    doubtful, failed, sent, waiting = notified("ada", "bob", "cleo", "dan")
    for row, state in ((doubtful, "in_doubt"), (failed, "failed"), (sent, "sent")):
        Notification.objects.filter(pk=row.pk).update(state=state, attempts=5, last_error="no")
    Notification.objects.filter(pk=waiting.pk).update(attempts=3)
    found = send_again([row.pk for row in (doubtful, failed, sent, waiting)])
    assert {row.pk for row in found} == {doubtful.pk, failed.pk}
    assert states() == ["pending", "pending", "sent", "pending"]
    assert Notification.objects.get(pk=doubtful.pk).attempts == 0
    assert Notification.objects.get(pk=waiting.pk).attempts == 3
    assert server.send() == 3
    assert sorted(server.addresses) == ["ada@example.com", "bob@example.com", "dan@example.com"]


REFUSALS = [
    smtplib.SMTPRecipientsRefused({"bob@example.com": (550, b"unknown")}),
    smtplib.SMTPDataError(451, b"try later"),
    UnicodeEncodeError("ascii", "ü", 0, 1, "not in ASCII"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda each: type(each).__name__)
def test_what_a_server_refuses_is_put_off_longer_each_time_and_then_given_up(
    refusal: Exception,
) -> None:
    server = Server()
    server.refuses["bob@example.com"] = refusal
    _, bobs, _ = notified("ada", "bob", "cleo")
    assert server.send() == 2
    assert server.addresses == ["ada@example.com", "cleo@example.com"]
    delays = []
    for attempt in range(1, mailer.ATTEMPTS_MAX + 1):
        row = Notification.objects.get(pk=bobs.pk)
        assert row.attempts == attempt
        assert type(refusal).__name__ in row.last_error
        delays.append(row.due_at - datetime.now(row.due_at.tzinfo))
        assert server.send() == 0, "it was put off"
        if attempt < mailer.ATTEMPTS_MAX:
            assert row.state == "pending"
            now_due()
            assert server.send() == 0
    assert mailer.ATTEMPTS_MAX == 5
    assert delays[0] > timedelta(seconds=50)
    assert all(after > before * 1.5 for before, after in pairwise(delays))
    assert states() == ["sent", "failed", "sent"]
    now_due()
    del server.refuses["bob@example.com"]
    assert server.send() == 0, "it was given up"


def test_what_was_refused_for_a_while_is_sent_in_the_end() -> None:
    server = Server()
    server.refuses["ada@example.com"] = smtplib.SMTPDataError(451, b"try later")
    notified("ada")
    assert server.send() == 0
    server.refuses.clear()
    now_due()
    assert server.send() == 1
    (row,) = Notification.objects.all()
    assert (row.state, row.last_error) == ("sent", "")


def test_a_connection_that_breaks_in_the_middle_leaves_a_doubt_and_the_others_are_sent() -> None:
    server = Server()
    server.refuses["ada@example.com"] = smtplib.SMTPServerDisconnected("gone")
    notified("ada", "bob")
    assert server.send() == 1
    assert states() == ["in_doubt", "sent"]
    row = Notification.objects.get(state="in_doubt")
    assert row.last_error == "SMTPServerDisconnected: gone"
    server.refuses.clear()
    now_due()
    assert server.send() == 0


def test_a_disk_that_fails_in_the_middle_is_tried_again() -> None:
    server = ServerThatKnows()
    server.refuses["ada@example.com"] = OSError(28, "No space left on device")
    notified("ada", "bob")
    assert server.send() == 1
    assert states() == ["pending", "sent"]
    server.refuses.clear()
    now_due()
    assert server.send() == 1
    assert states() == ["sent", "sent"]


def test_a_server_that_cannot_be_reached_costs_no_attempt() -> None:
    server = Server()
    server.unreachable = ConnectionRefusedError("nobody listens")
    notified("ada", "bob")
    for _ in range(mailer.ATTEMPTS_MAX + 1):
        assert server.send() == 0
        assert last_error() == "ConnectionRefusedError: nobody listens"
    assert set(Notification.objects.values_list("state", "attempts")) == {("pending", 0)}
    server.unreachable = None
    assert server.send() == 2
    assert last_error() == ""


def test_who_is_no_longer_active_is_sent_nothing() -> None:
    server = Server()
    notified("ada", "bob")
    User.objects.filter(email="ada@example.com").update(is_active=False)
    assert server.send() == 1
    assert server.addresses == ["bob@example.com"]
    assert states() == ["failed", "sent"]
    assert Notification.objects.get(state="failed").last_error == (
        "The user is gone or not active."
    )


def test_an_e_mail_goes_to_the_address_that_the_user_has_now() -> None:
    server = Server()
    notified("ada")
    User.objects.update(email="lovelace@example.com")
    assert server.send() == 1
    assert server.addresses == ["lovelace@example.com"]


def test_without_anything_due_no_server_is_bothered() -> None:
    server = Server()
    server.unreachable = ConnectionRefusedError("nobody listens")
    assert server.send() == 0
    assert last_error() == ""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("kind", "afterwards"), [(Server, "in_doubt"), (ServerThatKnows, "sent")])
def test_a_database_that_goes_away_behind_the_hand_over_has_nothing_sent_twice(
    kind: type[Server], afterwards: str
) -> None:
    server = kind()
    notified("ada")
    broken: list[str] = []

    def break_once(
        execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Mapping[str, Any]
    ) -> Any:
        if server.sent and not broken and "transactions_notification" in sql:
            broken.append(sql)
            raise OperationalError("server has gone away")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(break_once), pytest.raises(OperationalError):
        server.send()
    assert broken
    assert states() == ["sending"]
    server.send()
    assert server.addresses == ["ada@example.com"]
    assert states() == [afterwards]
    now_due()
    assert server.send() == 0
    assert server.addresses == ["ada@example.com"]
