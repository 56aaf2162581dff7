"""Helpers of the ledger's tests: people who call the API, and shorter words for commands."""

import itertools
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, partial
from hashlib import sha256
from typing import Any, cast
from uuid import UUID

from django.test import Client
from django.test.client import ClientHandler
from uuid_utils.compat import uuid7

from eventstore import config, queries, sequencer, subscriptions
from eventstore.clock import format_time, utc_now
from eventstore.codec import canonical_json
from eventstore.messages import Command, Context, Envelope, Idempotency, Outcome, Response
from eventstore.models import Event, IdempotencyRecord
from tests.users.tools import new_user
from transactions.api.presenters import transaction_response
from transactions.dispatch import commands as bus
from transactions.domain import commands
from transactions.domain.account import Account
from transactions.domain.transaction import Transaction
from transactions.models import Account as AccountRow
from transactions.models import Transaction as TransactionRow
from users.identity import Caller
from users.key_handlers import create_api_key
from users.models import User
from users.scopes import ALL_SCOPES, USER_SCOPES
from users.tokens import new_access_token

NEW_KEY = "a new key for each request"
_numbers = itertools.count(1)


@cache
def _chain() -> ClientHandler:
    """The chain of middleware, built once: WhiteNoise looks at every static file for it."""
    chain = ClientHandler(enforce_csrf_checks=False)
    chain.load_middleware()
    return chain


@dataclass(frozen=True, slots=True)
class Api:
    """The API as somebody sees it, without the gateway before it."""

    user: User
    credential: str

    def call(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, **headers: str
    ) -> Any:
        """Send `body` (a value as JSON, a text or bytes as it is) to a path under `/api/`.

        Args:
            key: the Idempotency-Key.
        """
        if self.credential:
            headers.setdefault("Authorization", f"Bearer {self.credential}")
        if key is not None:
            headers["Idempotency-Key"] = key
        client = Client(raise_request_exception=True)
        client.handler = _chain()
        return client.generic(
            method,
            f"/api/{path}",
            _body(body),
            content_type=headers.pop("content_type", "application/json"),
            headers=headers,
        )

    def get(self, path: str, **headers: str) -> Any:
        """GET a path under `/api/`."""
        return self.call("GET", path, **headers)

    def patch(self, path: str, body: Any, **headers: str) -> Any:
        """PATCH a path under `/api/`."""
        return self.call("PATCH", path, body, **headers)

    def post(self, path: str, body: Any = None, *, key: str | None = None, **headers: str) -> Any:
        """POST to a path under `/api/`."""
        return self.call("POST", path, body, key=key, **headers)

    def move(
        self, *, key: str | None = NEW_KEY, headers: dict[str, str] | None = None, **body: Any
    ) -> Any:
        """POST a transaction, of 100 EUR cents unless `body` says otherwise."""
        if key == NEW_KEY:
            key = f"key-{next(_numbers)}"
        body = {"amount": 100, "currency": "EUR", **body}
        return self.post("transactions", body, key=key, **(headers or {}))

    def transfer(self, source: UUID, destination: UUID, amount: Any = 100, **more: Any) -> Any:
        """POST a transfer."""
        return self.move(
            type="transfer",
            source=str(source),
            destination=str(destination),
            amount=amount,
            **more,
        )

    def deposit(self, destination: UUID, amount: Any = 100, **more: Any) -> Any:
        """POST a deposit."""
        return self.move(type="deposit", destination=str(destination), amount=amount, **more)

    def withdraw(self, source: UUID, amount: Any = 100, **more: Any) -> Any:
        """POST a withdrawal."""
        return self.move(type="withdrawal", source=str(source), amount=amount, **more)

    def hold(self, source: UUID, destination: UUID, amount: int = 100, **more: Any) -> str:
        """POST a transfer that is held, which must succeed; return its id."""
        answer = self.transfer(source, destination, amount, hold=True, **more)
        assert (answer.status_code, answer.json()["status"]) == (201, "held"), answer.content
        return cast("str", answer.json()["id"])

    def settle(
        self, transaction: str, action: str, *, key: str | None = NEW_KEY, **body: Any
    ) -> Any:
        """POST `capture`, `void` or `reverse` of a transaction."""
        if key == NEW_KEY:
            key = f"key-{next(_numbers)}"
        return self.post(f"transactions/{transaction}/{action}", body or None, key=key)

    def account(self, *, balance: int = 0, **fields: Any) -> UUID:
        """Open an account of this user's by a command, and fill it."""
        opened = open_account(self.user, **fields)
        if balance:
            deposit(opened.id, balance, currency=opened.currency)
        return opened.id

    def posted(self, account: UUID) -> int:
        """Return a balance as the API shows it."""
        answer = self.get(f"accounts/{account}")
        assert answer.status_code == 200, answer.content
        return cast("int", answer.json()["balance"]["posted"]["amount"])

    def balances(self, account: UUID) -> tuple[int, int, int]:
        """Return what is posted, held and available, as the API shows it."""
        balance = self.get(f"accounts/{account}").json()["balance"]
        posted, held, available = (
            balance[name]["amount"] for name in ("posted", "held", "available")
        )
        return posted, held, available


def _body(body: Any) -> Any:
    if body is None:
        return ""
    return body if isinstance(body, str | bytes) else json.dumps(body)


def person(**fields: Any) -> Api:
    """Return a new user with an access token, as `POST /api/users/token` gives it."""
    user = new_user(**fields)
    scopes = ALL_SCOPES if user.is_superuser else USER_SCOPES
    return Api(user, new_access_token(user_id=user.pk, scopes=scopes, now=utc_now()))


def admin() -> Api:
    """Return a new administrator with an access token."""
    return person(is_superuser=True)


def with_key(user: User, scopes: Collection[str]) -> Api:
    """Return `user` with an API key of these scopes and without a rate limit."""
    by = Caller(user_id=user.pk, scopes=ALL_SCOPES)
    _, secret = create_api_key(
        caller=by, name="key", scopes=scopes, tier="unlimited", now=utc_now()
    )
    return Api(user, secret)


def context(user: User | None = None, *, is_admin: bool = False) -> Context:
    """Return the context of a command; without a user, that of an administrator."""
    scopes = ALL_SCOPES if user is None or is_admin else USER_SCOPES
    return Context(
        now=utc_now(), actor=user.pk if user else None, scopes=scopes, request_id="request"
    )


def claim(key: str, body: Any = None, *, actor: UUID | None = None) -> Idempotency:
    """Return the claim of a POST of a transaction with an Idempotency-Key."""
    return Idempotency(
        actor=actor,
        method="POST",
        path="/api/transactions",
        key=key,
        fingerprint=sha256(json.dumps(body, default=str).encode()).hexdigest(),
        present=partial(transaction_response, instance="/api/transactions", request_id="request"),
    )


def envelope(
    command: Command, user: User | None = None, *, idempotency: Idempotency | None = None
) -> Envelope:
    """Return a command on its way; without a user, as an administrator."""
    return Envelope(command=command, context=context(user), idempotency=idempotency)


def execute(command: Command, user: User | None = None) -> Any:
    """Execute a command and return its value; without a user, as an administrator."""
    return bus.execute(envelope(command, user)).value


def execute_many(batch: Sequence[Envelope]) -> list[Outcome]:
    """Execute commands in one transaction."""
    return bus.execute_many(batch)


def open_account(owner: User, *, currency: str = "EUR", **fields: Any) -> Account:
    """Open an account."""
    command = commands.OpenAccount(id=uuid7(), owner=owner.pk, currency=currency, **fields)
    return cast("Account", execute(command))


def deposit_command(
    destination: UUID, amount: int, *, currency: str = "EUR", **fields: Any
) -> commands.CreateTransaction:
    """Return the command of a deposit."""
    return commands.CreateTransaction(
        id=uuid7(),
        type="deposit",
        destination=destination,
        amount=amount,
        currency=currency,
        **fields,
    )


def transfer_command(
    source: UUID, destination: UUID, amount: int, *, currency: str = "EUR", **fields: Any
) -> commands.CreateTransaction:
    """Return the command of a transfer."""
    return commands.CreateTransaction(
        id=uuid7(),
        type="transfer",
        source=source,
        destination=destination,
        amount=amount,
        currency=currency,
        **fields,
    )


def deposit(destination: UUID, amount: int, **fields: Any) -> Transaction:
    """Bring money in from outside."""
    return cast("Transaction", execute(deposit_command(destination, amount, **fields)))


def transfer(source: UUID, destination: UUID, amount: int, **fields: Any) -> Transaction:
    """Move money, or have it refused."""
    return cast("Transaction", execute(transfer_command(source, destination, amount, **fields)))


def balance(account: UUID) -> int:
    """Return what the head of an account says is there."""
    return AccountRow.objects.get(pk=account).posted


def let_expire(hold: str, *, at: datetime | None = None) -> datetime:
    """Write a hold as one that expires `at`, by default a second ago; return that instant.

    Its event must not have its position yet: so the log is as if it had always been that way.
    """
    at = at or utc_now() - timedelta(seconds=1)
    row = Event.objects.get(stream=f"transaction-{hold}", version=1, position=None)
    data = canonical_json({**json.loads(row.data), "expires_at": format_time(at)})
    Event.objects.filter(pk=row.pk).update(data=data)
    TransactionRow.objects.filter(pk=hold).update(expires_at=at)
    return at


def drain() -> None:
    """Give every event its position, and let every lane catch up."""
    sequencer.sequence()
    for subscription in config.subscriptions():
        subscriptions.run(subscription)
    lags = {lane.name: lane.lag_events for lane in queries.lane_status()}
    assert not any(lags.values()), lags


def stored(response: Response | None) -> Response:
    """Return an answer that is known to be there."""
    assert response is not None
    return response


def problem_of(answer: Any, *, status: int, code: str) -> dict[str, Any]:
    """Return the problem document that `answer` must be."""
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.content
    assert answer["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    return document


def counts() -> dict[str, int]:
    """Return how many rows there are of all that a command may write."""
    tables = (Event, AccountRow, TransactionRow, IdempotencyRecord)
    return {table.__name__: table.objects.count() for table in tables}


@contextmanager
def nothing_written(**but: int) -> Iterator[None]:
    """Show that no row is written meanwhile, but so many of the tables named."""
    before = counts()
    yield
    after = counts()
    assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == (
        but
    )
