"""The product in a process of its own, on the tests' database.

    python -m tests.transactions.alone FUNCTION

The database is that of the environment variable `ALONE_DATABASE`, as Django's settings in JSON;
`tests.transactions.story.run_process` starts it.
"""

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence

import django
from django.conf import settings

if __name__ == "__main__":
    settings.DATABASES = {"default": json.loads(os.environ["ALONE_DATABASE"])}
    django.setup()

from django.core.mail import EmailMessage
from django.core.mail.backends import filebased
from uuid_utils.compat import uuid7

from eventstore.messages import Envelope
from tests.transactions.tools import context
from transactions import mailer
from transactions.dispatch import commands as bus
from transactions.domain.commands import OpenAccount
from users.mail import FileBackend

WAIT_S = 30.0


def die() -> None:
    """End this process as the kernel does when memory is short: at once."""
    os.kill(os.getpid(), signal.SIGKILL)


class HandsOverAndDies(FileBackend):
    """Knows a Message-ID that it has seen."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Write the files, and die before anybody can write down that they are there."""
        super().send_messages(email_messages)
        die()
        return 0


class DiesBefore(FileBackend):
    """Knows a Message-ID that it has seen."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Die without having written anything."""
        die()
        return 0


class PostsAndDies(filebased.EmailBackend):
    """Sends whatever it is given, as SMTP does: Django's own backend, a file for each message."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Write the files, and die before anybody can write down that they are there."""
        super().send_messages(email_messages)
        die()
        return 0


def hand_over_and_die() -> None:
    """Send with a backend that is idempotent, and die in the middle."""
    mailer.send_notifications(connect=HandsOverAndDies)


def claim_and_die() -> None:
    """Claim an e-mail, and die before it is handed over."""
    mailer.send_notifications(connect=DiesBefore)


def post_and_die() -> None:
    """Send with a backend that is not idempotent, and die in the middle."""
    mailer.send_notifications(connect=PostsAndDies)


def open_accounts_without_a_broker() -> None:
    """Open three accounts while nothing listens at REDIS_URL, and see a wake-up fail."""
    failed = threading.Event()

    class Watch(logging.Handler):
        """Sees the waker's warning."""

        def emit(self, record: logging.LogRecord) -> None:
            """Say that a wake-up was not sent."""
            failed.set()

    logging.getLogger("transactions.wakeups").addHandler(Watch())
    for _ in range(3):
        command = OpenAccount(id=uuid7(), owner=uuid7(), currency="EUR")
        bus.execute(Envelope(command=command, context=context()))
    assert failed.wait(WAIT_S), "nobody tried to reach the broker"


if __name__ == "__main__":
    globals()[sys.argv[1]]()
