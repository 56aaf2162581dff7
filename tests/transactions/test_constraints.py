"""The database itself refuses rows that cannot be true, whoever writes them."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction
from django.db.models import CheckConstraint, Model, UniqueConstraint
from uuid_utils.compat import uuid7

from eventstore import models as log
from transactions import models as ledger

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
SOURCE, DESTINATION = UUID(int=1), UUID(int=2)
# Every code of the servers for a CHECK that failed and for a key that is there already.
REFUSED_BY_MYSQL = {4025, 3819, 1062}


def account(**changes: Any) -> Model:
    fields = {
        "id": uuid7(),
        "owner": UUID(int=9),
        "ledger": "main",
        "currency": "EUR",
        "status": "open",
        "overdraft_limit": 50,
        "posted": 100,
        "held": 30,
        "version": 1,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return ledger.Account(**{**fields, **changes})


def movement(**changes: Any) -> Model:
    fields = {
        "id": uuid7(),
        "type": "transfer",
        "status": "completed",
        "source": SOURCE,
        "destination": DESTINATION,
        "amount": 100,
        "currency": "EUR",
        "version": 2,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return ledger.Transaction(**{**fields, **changes})


def hold(**changes: Any) -> Model:
    expires_at = NOW + timedelta(hours=1)
    return movement(**{"status": "held", "expires_at": expires_at, **changes})


def entry(**changes: Any) -> Model:
    fields = {
        "id": uuid7(),
        "account": SOURCE,
        "transaction": uuid7(),
        "direction": "debit",
        "amount": 1,
        "currency": "EUR",
        "running_balance": 0,
        "position": 1,
        "created_at": NOW,
    }
    return ledger.Entry(**{**fields, **changes})


def event(**changes: Any) -> Model:
    fields = {
        "id": uuid7(),
        "stream": "account-1",
        "version": 1,
        "type": "AccountOpened",
        "schema_version": 1,
        "data": "{}",
        "occurred_at": NOW,
    }
    return log.Event(**{**fields, **changes})


def snapshot(**changes: Any) -> Model:
    fields = {"stream": "account-1", "version": 1, "code_version": 1, "state": "{}"}
    return log.Snapshot(**{**fields, "taken_at": NOW, **changes})


def parked(**changes: Any) -> Model:
    fields = {"subscription": "lane", "stream": "account-1", "position": 1, "error": "x"}
    return log.ParkedEvent(**{**fields, "parked_at": NOW, **changes})


def node(**changes: Any) -> Model:
    return log.TreeNode(**{"level": 1, "index": 0, "hash": bytes(32), **changes})


def subject_key(**changes: Any) -> Model:
    fields = {"subject": uuid7(), "key": bytes(32), "created_at": NOW}
    return log.SubjectKey(**{**fields, **changes})


Rows = Callable[[], Model]
# The name of each constraint: rows that are refused by it, each beside those that are not.
REFUSED: Mapping[str, tuple[Rows, ...]] = {
    "account_within_limit": (
        lambda: account(posted=-21),
        lambda: account(posted=100, held=151),
        lambda: account(posted=-(2**62), held=0),
    ),
    "account_held_not_negative": (lambda: account(held=-1), lambda: account(owner=None, held=-1)),
    "account_overdraft_not_negative": (lambda: account(overdraft_limit=-1),),
    "account_closed_is_empty": (
        lambda: account(status="closed", held=0, posted=1),
        lambda: account(status="closed", held=0, posted=-1),
        lambda: account(status="closed", held=1, posted=0),
    ),
    "transaction_amount_positive": (lambda: movement(amount=0), lambda: movement(amount=-1)),
    "transaction_two_accounts": (lambda: movement(destination=SOURCE),),
    "transaction_capture_within_hold": (
        lambda: hold(captured_amount=101),
        lambda: hold(captured_amount=-1),
        # Nothing was reserved that could have been taken.
        lambda: movement(captured_amount=1),
    ),
    "transaction_reversal_within_original": (
        lambda: movement(reversed_amount=101),
        lambda: movement(reversed_amount=-1),
        lambda: hold(status="completed", captured_amount=40, reversed_amount=41),
    ),
    "transaction_held_expires": (lambda: hold(expires_at=None),),
    "transaction_reversal_of_something": (
        lambda: movement(type="reversal"),
        lambda: movement(reverses=uuid7()),
    ),
    "entry_amount_positive": (lambda: entry(amount=0), lambda: entry(amount=-1)),
    "event_version_from_1": (lambda: event(version=0),),
    "subject_key_until_forgotten": (lambda: subject_key(key=None),),
}
# The name of each constraint: two rows that may not be there together.
TWICE: Mapping[str, Rows] = {
    "event_stream_version": event,
    "snapshot_stream_version": snapshot,
    "parked_event_once_a_subscription": parked,
    "tree_node_once": node,
}
ACCEPTED: tuple[Rows, ...] = (
    account,
    lambda: account(posted=-20),
    lambda: account(posted=100, held=150),
    lambda: account(owner=None, overdraft_limit=0, held=0, posted=-(2**62)),
    lambda: account(status="closed", posted=0, held=0),
    movement,
    lambda: movement(source=None, type="deposit"),
    lambda: movement(destination=None, type="withdrawal"),
    lambda: movement(reversed_amount=100, status="reversed"),
    lambda: movement(type="reversal", reverses=uuid7()),
    hold,
    lambda: hold(status="completed", captured_amount=100, reversed_amount=100),
    entry,
    event,
    snapshot,
    parked,
    node,
    subject_key,
    lambda: subject_key(key=None, forgotten_at=NOW),
)


def refusal(*rows: Model) -> str:
    """Write `rows` past every rule of the product; return what the database says of the last."""
    *before, last = rows
    for row in before:
        row.save(force_insert=True)
    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        last.save(force_insert=True)
    if connection.vendor == "mysql":
        assert caught.value.args[0] in REFUSED_BY_MYSQL
    return str(caught.value)


def constraints(kind: type[Any]) -> dict[str, Any]:
    return {
        each.name: each
        for app in ("transactions", "eventstore")
        for model in apps.get_app_config(app).get_models()
        for each in model._meta.constraints
        if isinstance(each, kind)
    }


def test_every_constraint_has_a_row_that_it_refuses() -> None:
    assert set(REFUSED) == set(constraints(CheckConstraint))
    assert set(TWICE) == set(constraints(UniqueConstraint))


@pytest.mark.parametrize("index", range(len(ACCEPTED)))
def test_a_row_that_can_be_true_is_written(index: int) -> None:
    ACCEPTED[index]().save(force_insert=True)


@pytest.mark.parametrize(
    ("name", "index"),
    [(name, index) for name, rows in REFUSED.items() for index in range(len(rows))],
)
def test_a_row_that_cannot_be_true_is_refused_by_its_constraint(name: str, index: int) -> None:
    said = refusal(REFUSED[name][index]())
    assert name in said


@pytest.mark.parametrize("name", TWICE)
def test_a_second_row_of_the_same_key_is_refused(name: str) -> None:
    said = refusal(TWICE[name](), TWICE[name]())
    # SQLite names the columns instead.
    columns = constraints(UniqueConstraint)[name].fields
    assert name in said or all(column in said for column in columns)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda: event(id=SOURCE), lambda: event(id=SOURCE, version=2)),
        (lambda: event(position=1), lambda: event(position=1, version=2)),
        (entry, lambda: entry(position=1)),
        (lambda: account(id=SOURCE), lambda: account(id=SOURCE)),
        (lambda: movement(id=SOURCE), lambda: movement(id=SOURCE)),
    ],
)
def test_an_id_or_a_position_is_given_out_once(first: Rows, second: Rows) -> None:
    refusal(first(), second())


def test_an_update_is_held_to_the_same_constraints() -> None:
    row = account()
    row.save(force_insert=True)
    with pytest.raises(IntegrityError, match="account_within_limit"), transaction.atomic():
        ledger.Account.objects.filter(pk=row.pk).update(held=151)
    row.refresh_from_db()
    assert getattr(row, "held") == 30  # noqa: B009 - which model it is, only the helper knows
