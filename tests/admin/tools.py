"""What the tests of the admin share: people who look, and a ledger for them to look at."""

import itertools
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from html import unescape
from typing import Any
from uuid import UUID

from django.contrib.auth.models import Permission
from django.test import Client
from uuid_utils.compat import uuid7

from eventstore import config, subscriptions
from eventstore.messages import Command, Context, Envelope, Idempotency, Response
from eventstore.records import Record
from eventstore.sequencer import sequence
from eventstore.subscriptions import Subscription
from transactions.dispatch import commands as bus
from transactions.domain.commands import CreateTransaction, OpenAccount
from transactions.notifications import notify
from transactions.projectors import project_entries
from users.models import User

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
# Streams that the lane `picky` cannot handle.
POISON: set[str] = set()
_numbers = itertools.count(1)


def be_picky(records: Sequence[Record]) -> None:
    """Refuse the streams of `POISON`."""
    for record in records:
        if record.stream in POISON:
            raise ValueError(f"{record.stream} is not to my taste")


SUBSCRIPTIONS = (
    Subscription(name="entries", handle=project_entries, in_transaction=True),
    Subscription(name="notifications", handle=notify, in_transaction=True),
    Subscription(
        name="picky", handle=be_picky, in_transaction=True, description="Has a taste of its own."
    ),
)


def new_user(**fields: Any) -> User:
    """Create a user with an address of their own."""
    fields.setdefault("email", f"user{next(_numbers)}@example.com")
    return User.objects.create_user(**fields)


def staff(*permissions: str, **fields: Any) -> Client:
    """Return a browser in which a member of staff with these permissions is logged in."""
    user = new_user(is_staff=True, **fields)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return _logged_in(user)


def superuser() -> Client:
    """Return a browser in which a superuser is logged in."""
    return _logged_in(new_user(is_staff=True, is_superuser=True))


def _logged_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def execute(*commands: Command, by: User | None = None, key: str = "") -> None:
    """Execute `commands` in one batch, as the user `by`; `key` is that of a single command."""
    context = Context(
        now=datetime.now(UTC),
        actor=by.pk if by else None,
        scopes=frozenset({"admin"}),
        request_id="a-request",
    )
    claim = Idempotency(
        actor=by.pk if by else None,
        method="POST",
        path="/api/transactions",
        key=key,
        fingerprint="f" * 64,
        present=lambda _: Response(
            status=201,
            body=b'{"amount":1,"nested":[{"secret":"ek_top"}],"token":"ey.top"}',
            headers={"Content-Type": "application/json"},
        ),
    )
    for outcome in bus.execute_many(
        [
            Envelope(command=command, context=context, idempotency=claim if key else None)
            for command in commands
        ]
    ):
        if outcome.error is not None:
            raise outcome.error


def open_account(owner: User, *, currency: str = "EUR", deposit: int = 0) -> UUID:
    """Open an account of `owner` and put `deposit` minor units on it; return its id."""
    account = uuid7()
    execute(OpenAccount(id=account, owner=owner.pk, currency=currency, name="Household"), by=owner)
    if deposit:
        execute(
            CreateTransaction(
                id=uuid7(), type="deposit", destination=account, amount=deposit, currency=currency
            ),
            by=owner,
        )
    return account


def transfer(
    source: UUID, destination: UUID, *, by: User | None = None, key: str = "", **fields: Any
) -> UUID:
    """Move money between two accounts; return the id of the transaction."""
    transaction = uuid7()
    members = {"amount": 1250, "currency": "EUR", **fields}
    execute(
        CreateTransaction(
            id=transaction, type="transfer", source=source, destination=destination, **members
        ),
        by=by,
        key=key,
    )
    return transaction


def follow_log() -> None:
    """Give every event its position, and let every lane handle them."""
    sequence()
    for subscription in config.subscriptions():
        subscriptions.run(subscription)


def text_of(answer: Any) -> str:
    """Return a page without the spans that only give its words a look."""
    assert answer.status_code == 200, answer
    return unescape(re.sub(r"</?span[^>]*>", "", answer.content.decode()))


def rows_of(answer: Any) -> list[Any]:
    """Return the rows that a list shows."""
    assert answer.status_code == 200, answer
    return list(answer.context["cl"].result_list)


def run_action(client: Client, url: str, action: str, *keys: object, **fields: Any) -> Any:
    """Run an action on the rows with these primary keys, and return the page behind it."""
    data = {"action": action, "_selected_action": [str(key) for key in keys], **fields}
    return client.post(url, data, follow=True)
