"""Hand notifications over to Django's e-mail backend, none of them twice.

# Note [An e-mail cannot be rolled back]

Between handing an e-mail over and writing down that it was sent, a process may die or a
connection may break. Nobody can know then whether it went out. A backend that recognises a
Message-ID which it has seen (its attribute `idempotent` is true, as that of
`users.mail.FileBackend`) is simply given the e-mail again. With any other one, such as SMTP, the
row becomes `in_doubt` and a person decides: told twice about money is worse than told late.

What a server refuses in words was not sent, and is tried again a few times. A server that cannot
be reached has refused nothing: that spends no attempt, the run ends, and the next one tries.
"""

import logging
import smtplib
from collections.abc import Callable, Collection
from datetime import timedelta
from email.utils import parseaddr
from time import monotonic
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db import transaction

from eventstore import leases
from eventstore.clock import utc_now
from resilience import RetryConfig, RetryWithBackoff
from transactions.models import Notification
from users.notifications import Recipient, recipients

logger = logging.getLogger(__name__)

LEASE_NAME = "mailer"
BATCH_SIZE = 20
# Far below the time limit of a task.
DRAIN_S = 20.0
ATTEMPTS_MAX = 5

# The server's own no, or a message that cannot be put into words of SMTP.
_REFUSALS = (
    smtplib.SMTPResponseException,
    smtplib.SMTPRecipientsRefused,
    smtplib.SMTPNotSupportedError,
    ValueError,
)
_backoff = RetryWithBackoff(RetryConfig(base_s=60.0, cap_s=3600.0, jitter_s=5.0), name="mailer")


def send_notifications(
    *,
    drain_s: float = DRAIN_S,
    connect: Callable[[], Any] = get_connection,
    clock: Callable[[], float] = monotonic,
) -> int:
    """Send what is due, one sender at a time; return how many e-mails were handed over.

    Args:
        drain_s: begin no further e-mail after so many seconds.
        connect: makes the e-mail backend; it connects only when there is something to send.
    """
    backend = connect()
    lease = leases.acquire(LEASE_NAME, owner=leases.new_owner())
    if lease is None:
        return 0
    until, sent, error = clock() + drain_s, 0, ""
    try:
        _settle_doubtful(backend)
        while clock() < until and (rows := _due()):
            people = recipients(row.user for row in rows)
            for row in rows:
                if clock() >= until:
                    break
                # Connects where it must, and before anything is claimed.
                backend.open()
                _claim(lease, row)
                sent += _send(row, people.get(row.user), backend)
    except leases.LeaseLost:
        logger.warning("another sender has taken over; this one stops")
    except OSError as cause:
        error = _text(cause)
    finally:
        backend.close()
        leases.release(lease, error=error)
    return sent


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


def _is_idempotent(backend: Any) -> bool:
    return bool(getattr(backend, "idempotent", False))


def _settle_doubtful(backend: Any) -> None:
    """Decide on what a dead sender left behind; see Note [An e-mail cannot be rolled back]."""
    state = Notification.State.PENDING if _is_idempotent(backend) else Notification.State.IN_DOUBT
    Notification.objects.filter(state=Notification.State.SENDING).update(state=state)


def _due() -> list[Notification]:
    rows = Notification.objects.filter(state=Notification.State.PENDING, due_at__lte=utc_now())
    return list(rows.order_by("due_at")[:BATCH_SIZE])


def _claim(lease: leases.Lease, row: Notification) -> None:
    """Write down that `row` is being sent; raise `LeaseLost` when another sender took over."""
    with transaction.atomic():
        leases.advance(lease, lease.position)
        Notification.objects.filter(pk=row.pk).update(state=Notification.State.SENDING)


def _send(row: Notification, person: Recipient | None, backend: Any) -> int:
    """Hand one e-mail over, and write down what became of it; return how many were sent."""
    if person is None:
        _settle(row, Notification.State.FAILED, error="The user is gone or not active.")
        return 0
    try:
        backend.send_messages([_message(row, person)])
    except Exception as error:
        # Whatever it was, the connection may be of no more use.
        backend.close()
        if isinstance(error, _REFUSALS) or _is_idempotent(backend):
            _put_off(row, error)
        else:
            _settle(row, Notification.State.IN_DOUBT, error=_text(error))
        return 0
    _settle(row, Notification.State.SENT)
    return 1


def _settle(row: Notification, state: Notification.State, *, error: str = "") -> None:
    Notification.objects.filter(pk=row.pk).update(state=state, last_error=error)


def _put_off(row: Notification, error: Exception) -> None:
    final = row.attempts + 1 >= ATTEMPTS_MAX
    Notification.objects.filter(pk=row.pk).update(
        state=Notification.State.FAILED if final else Notification.State.PENDING,
        attempts=row.attempts + 1,
        due_at=utc_now() + timedelta(seconds=_backoff.delay_s(row.attempts)),
        last_error=_text(error),
    )


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]


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
