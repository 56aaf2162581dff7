"""A small story of money for the tests of what follows the log, and processes of their own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from eventstore import sequencer, subscriptions
from eventstore.models import Checkpoint
from eventstore.sql import DatabaseNow
from tests.transactions.tools import deposit, drain, open_account, transfer
from tests.users.tools import new_user
from transactions.models import Notification
from transactions.subscriptions import SUBSCRIPTIONS
from users.models import User

PROCESS_TIMEOUT_S = 60

NOTIFICATIONS = {lane.name: lane for lane in SUBSCRIPTIONS}["notifications"]


@dataclass(frozen=True, slots=True)
class Story:
    """What has happened: 10.00 EUR came in for one person, who then sent 3.00 to another.

    A transfer of a million was refused. `deposit`, `transfer` and `refused` are transactions.
    """

    payer: User
    payee: User
    source: UUID
    destination: UUID
    deposit: UUID
    transfer: UUID
    refused: UUID

    @property
    def source_stream(self) -> str:
        """The stream of the payer's account: opened, credited, debited."""
        return f"account-{self.source}"


def tell(**account: Any) -> Story:
    """Let the story happen, and every lane follow it; `account` is for the payer's account."""
    payer, payee = new_user(name="Paula"), new_user()
    source = open_account(payer, **account).id
    destination = open_account(payee).id
    story = Story(
        payer,
        payee,
        source,
        destination,
        deposit(source, 1000).id,
        transfer(source, destination, 300).id,
        transfer(source, destination, 100_000_000).id,
    )
    drain()
    return story


def decide() -> list[Notification]:
    """Let the lane of notifications catch up; return all of them, the oldest event first."""
    sequencer.sequence()
    subscriptions.run(NOTIFICATIONS)
    return list(Notification.objects.order_by("event"))


def run(command: str, *arguments: str) -> str:
    """Run a command that must succeed; return what it wrote."""
    stdout = StringIO()
    call_command(command, *arguments, stdout=stdout)
    return stdout.getvalue()


def run_and_fail(command: str, *arguments: str) -> tuple[str, str]:
    """Run a command that must fail; return what it wrote, and the sentence that it ends with."""
    stdout = StringIO()
    try:
        call_command(command, *arguments, stdout=stdout)
    except CommandError as error:
        return stdout.getvalue(), str(error)
    raise AssertionError(f"{command} was content: {stdout.getvalue()}")


def expire_lease(name: str) -> None:
    """Let the lease on a checkpoint run out, as if its worker had been silent for long enough."""
    Checkpoint.objects.filter(name=name).update(
        lease_expires_at=DatabaseNow() - timedelta(seconds=1)
    )


def run_process(function: str, *, data_dir: Path, **environment: str) -> int:
    """Run a function of `tests.transactions.alone` on this database; return its exit code."""
    keys = ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS")
    database: dict[str, Any] = {key: connection.settings_dict[key] for key in keys}
    database["NAME"] = str(database["NAME"])
    done = subprocess.run(
        [sys.executable, "-m", "tests.transactions.alone", function],
        cwd=Path(__file__).parents[2],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "platform_site.settings",
            "DATA_DIR": str(data_dir),
            "ALONE_DATABASE": json.dumps(database),
            **environment,
        },
        timeout=PROCESS_TIMEOUT_S,
        check=False,
    )
    return done.returncode
