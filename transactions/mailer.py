"""Hand notifications over to Django's e-mail backend, none of them twice.

# Note [An e-mail cannot be rolled back]

Between handing an e-mail over and writing down that it was sent, a process may die. Whoever
comes next then finds the row in `sending` and cannot know. A backend that recognises a
Message-ID which it has seen (its attribute `idempotent` is true, as that of
`users.mail.FileBackend`) is simply given the e-mail again. With any other one, such as SMTP, the
row becomes `in_doubt` and a person decides: told twice about money is worse than told late.
"""

from collections.abc import Callable, Collection
from datetime import timedelta
from email.utils import parseaddr
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db import transaction
from django.db.models.functions import Now

from eventstore import leases
from eventstore.clock import utc_now
from resilience import RetryConfig, RetryWithBackoff
from transactions.models import Notification
from users.notifications import Recipient, recipients

LEASE_NAME = "mailer"
BATCH_SIZE = 20
ATTEMPTS_MAX = 5

_backoff = RetryWithBackoff(RetryConfig(base_s=5.0, cap_s=600.0, jitter_s=1.0), name="mailer")


def send_notifications(
    *, batches_max: int = 50, connect: Callable[[], Any] = get_connection
) -> int:
    """Send what is due, one sender at a time; return how many e-mails were handed over."""
    lease = leases.acquire(LEASE_NAME, owner=leases.new_owner())
    if lease is None:
        return 0
    sent = 0
    try:
        backend = connect()
        _settle_doubtful(idempotent=getattr(backend, "idempotent", False))
        for _ in range(batches_max):
            claimed = _claim(lease)
            if not claimed:
                break
            sent += _send(claimed, backend)
    except leases.LeaseLost:
        return sent
    leases.release(lease)
    return sent


def _settle_doubtful(*, idempotent: bool) -> None:
    """Decide on what a dead sender left behind; see Note [An e-mail cannot be rolled back]."""
    state = Notification.State.PENDING if idempotent else Notification.State.IN_DOUBT
    Notification.objects.filter(state=Notification.State.SENDING).update(state=state)


def send_again(events: Collection[UUID]) -> list[Notification]:
    """Make notifications due that failed or are in doubt; return those that were one of these.

    Who asks for one in doubt accepts that it may be told twice.
    """
    with transaction.atomic():
        rows = list(
            Notification.objects.select_for_update().filter(
                pk__in=events, state__in=[Notification.State.FAILED, Notification.State.IN_DOUBT]
            )
        )
        Notification.objects.filter(pk__in=[row.pk for row in rows]).update(
            state=Notification.State.PENDING, attempts=0, due_at=utc_now(), last_error=""
        )
    return rows


def _claim(lease: leases.Lease) -> list[Notification]:
    with transaction.atomic():
        leases.advance(lease, lease.position)
        rows = list(
            Notification.objects.filter(
                state=Notification.State.PENDING, due_at__lte=utc_now()
            ).order_by("due_at")[:BATCH_SIZE]
        )
        Notification.objects.filter(pk__in=[row.pk for row in rows]).update(
            state=Notification.State.SENDING
        )
    return rows


def _send(rows: list[Notification], backend: Any) -> int:
    people = recipients(row.user for row in rows)
    sent: list[Notification] = []
    failed: list[tuple[Notification, str]] = []
    for row in rows:
        person = people.get(row.user)
        if person is None:
            failed.append((row, "The user is gone or not active."))
            row.attempts = ATTEMPTS_MAX
            continue
        try:
            backend.send_messages([_message(row, person)])
            sent.append(row)
        except Exception as error:
            failed.append((row, f"{type(error).__name__}: {error}"))
    with transaction.atomic():
        Notification.objects.filter(pk__in=[row.pk for row in sent]).update(
            state=Notification.State.SENT, last_error=""
        )
        for row, error_text in failed:
            _put_off(row, error_text)
    return len(sent)


def _put_off(row: Notification, error: str) -> None:
    final = row.attempts + 1 >= ATTEMPTS_MAX
    Notification.objects.filter(pk=row.pk).update(
        state=Notification.State.FAILED if final else Notification.State.PENDING,
        attempts=row.attempts + 1,
        due_at=Now() + timedelta(seconds=_backoff.delay_s(row.attempts)),
        last_error=error[:500],
    )


def _message(row: Notification, person: Recipient) -> EmailMessage:
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2]
    return EmailMessage(
        subject=row.subject,
        body=row.body,
        to=[person.email],
        headers={
            "Message-ID": f"<{row.event}@{domain}>",
            "X-Event-Id": str(row.event),
            "X-Event-Type": row.type,
        },
    )
