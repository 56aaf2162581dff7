"""The database itself refuses rows that cannot be true, whoever writes them."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.db.models import CheckConstraint, Model, UniqueConstraint
from uuid_utils.compat import uuid7

from eventstore import models as log
from transactions import models as ledger
from transactions.domain.commands import PARTIES
from transactions.domain.money import AMOUNT_MAX, BALANCE_MAX

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
SOURCE, DESTINATION, ITSELF = UUID(int=1), UUID(int=2), UUID(int=3)
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


def outside(**changes: Any) -> Model:
    """Return the account of the outside world."""
    return account(**{"owner": None, "overdraft_limit": 0, "held": 0, "posted": -100, **changes})


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
        "completed_at": NOW,
    }
    return ledger.Transaction(**{**fields, **changes})


def failure(**changes: Any) -> Model:
    return movement(**{"status": "failed", "failure_code": "insufficient_funds", **changes})


def reversal(**changes: Any) -> Model:
    return movement(**{"type": "reversal", "reverses": uuid7(), **changes})


def hold(**changes: Any) -> Model:
    fields = {"status": "held", "expires_at": LATER, "completed_at": None}
    return movement(**{**fields, **changes})


def captured(amount: int = 100, **changes: Any) -> Model:
    fields = {"status": "completed", "captured_amount": amount, "completed_at": NOW}
    return hold(**{**fields, **changes})


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


def notification(**changes: Any) -> Model:
    fields = {"event": uuid7(), "user": uuid7(), "type": "transfer_completed", "subject": "x"}
    return ledger.Notification(**{**fields, "due_at": NOW, "created_at": NOW, **changes})


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
# The name of each constraint: rows that are refused by it.
REFUSED: Mapping[str, tuple[Rows, ...]] = {
    "account_within_limit": (
        lambda: account(posted=-21),
        lambda: account(posted=100, held=151),
        lambda: account(posted=-BALANCE_MAX, held=0),
    ),
    "account_held_not_negative": (lambda: account(held=-1),),
    "account_overdraft_not_negative": (lambda: account(overdraft_limit=-1),),
    "account_closed_is_empty": (
        lambda: account(status="closed", held=0, posted=1),
        lambda: account(status="closed", held=0, posted=-1),
        lambda: account(status="closed", held=1, posted=0),
    ),
    "account_status_known": (lambda: account(status="gilded"), lambda: account(status="")),
    "account_version_from_1": (lambda: account(version=0),),
    "account_posted_in_range": (
        lambda: account(posted=BALANCE_MAX + 1),
        lambda: outside(posted=BALANCE_MAX + 1),
        lambda: outside(posted=-BALANCE_MAX - 1),
    ),
    # What is held is there, or is borrowed beyond the largest balance.
    "account_held_in_range": (
        lambda: account(posted=BALANCE_MAX, held=BALANCE_MAX + 1, overdraft_limit=1),
    ),
    "account_overdraft_in_range": (lambda: account(overdraft_limit=AMOUNT_MAX + 1),),
    "account_external_is_plain": (
        lambda: outside(status="frozen"),
        lambda: outside(status="closed", posted=0),
        lambda: outside(overdraft_limit=1),
        lambda: outside(held=1),
    ),
    "transaction_amount_positive": (lambda: movement(amount=0), lambda: movement(amount=-1)),
    "transaction_amount_in_range": (lambda: movement(amount=AMOUNT_MAX + 1),),
    "transaction_version_from_1": (lambda: movement(version=0),),
    "transaction_status_known": (
        lambda: movement(status="lost"),
        lambda: movement(status=""),
    ),
    "transaction_two_accounts": (lambda: movement(destination=SOURCE),),
    "transaction_parties_fit_type": (
        lambda: movement(source=None),
        lambda: movement(destination=None),
        lambda: movement(type="deposit"),
        lambda: movement(type="deposit", destination=None),
        lambda: movement(type="deposit", source=None, destination=None),
        lambda: movement(type="withdrawal"),
        lambda: movement(type="withdrawal", source=None),
        lambda: movement(type="withdrawal", source=None, destination=None),
        lambda: reversal(source=None, destination=None),
        lambda: movement(type="gift"),
        lambda: movement(type=""),
    ),
    "transaction_failed_says_why": (lambda: failure(failure_code=""),),
    "transaction_only_failed_says_why": (
        lambda: movement(failure_code="insufficient_funds"),
        lambda: hold(failure_code="insufficient_funds"),
    ),
    "transaction_end_has_its_time": (
        lambda: movement(status="pending"),
        lambda: movement(status="processing"),
        lambda: hold(completed_at=NOW),
        lambda: movement(completed_at=None),
        lambda: failure(completed_at=None),
        lambda: failure(status="compensated", completed_at=None),
        lambda: hold(status="voided"),
        lambda: hold(status="expired"),
        lambda: movement(status="reversed", reversed_amount=100, completed_at=None),
    ),
    "transaction_reserved_not_taken": (
        lambda: hold(expires_at=None),
        lambda: hold(captured_amount=1),
        lambda: hold(type="deposit", source=None),
        lambda: movement(status="voided"),
        lambda: captured(1, status="voided"),
        lambda: movement(status="expired"),
        lambda: captured(1, status="expired"),
    ),
    "transaction_moved_hold_is_captured": (
        lambda: captured(0),
        lambda: captured(0, status="reversed"),
    ),
    "transaction_capture_within_hold": (
        lambda: captured(101),
        lambda: failure(expires_at=LATER, captured_amount=-1),
        # Nothing was reserved that could have been taken.
        lambda: movement(captured_amount=1),
    ),
    "transaction_reversal_within_original": (
        lambda: movement(reversed_amount=101),
        lambda: movement(reversed_amount=-1),
        lambda: captured(40, reversed_amount=41),
    ),
    "transaction_reversed_in_whole": (
        lambda: movement(status="reversed"),
        lambda: movement(status="reversed", reversed_amount=99),
        lambda: captured(40, status="reversed", reversed_amount=39),
    ),
    "transaction_reversed_after_moved": (
        lambda: movement(status="pending", completed_at=None, reversed_amount=1),
        lambda: failure(reversed_amount=1),
        lambda: failure(status="compensated", reversed_amount=1),
    ),
    "transaction_reversal_of_something": (
        lambda: reversal(reverses=None),
        lambda: movement(reverses=uuid7()),
    ),
    "transaction_reverses_another": (lambda: reversal(id=ITSELF, reverses=ITSELF),),
    "entry_amount_positive": (lambda: entry(amount=0), lambda: entry(amount=-1)),
    "entry_direction_known": (lambda: entry(direction="both"), lambda: entry(direction="")),
    "entry_position_from_1": (lambda: entry(position=0), lambda: entry(position=-1)),
    "notification_state_known": (
        lambda: notification(state="lost"),
        lambda: notification(state=""),
    ),
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
    lambda: account(posted=BALANCE_MAX, held=BALANCE_MAX, overdraft_limit=AMOUNT_MAX),
    lambda: account(posted=-AMOUNT_MAX, held=0, overdraft_limit=AMOUNT_MAX),
    lambda: account(status="frozen"),
    lambda: account(status="closed", posted=0, held=0),
    outside,
    lambda: outside(posted=-BALANCE_MAX),
    lambda: outside(posted=BALANCE_MAX),
    movement,
    lambda: movement(amount=AMOUNT_MAX),
    lambda: movement(source=None, type="deposit"),
    lambda: movement(destination=None, type="withdrawal"),
    lambda: movement(status="pending", completed_at=None, version=1),
    lambda: movement(status="processing", completed_at=None),
    lambda: movement(reversed_amount=99),
    lambda: movement(reversed_amount=100, status="reversed"),
    failure,
    lambda: failure(source=None, type="deposit"),
    lambda: failure(status="compensated"),
    lambda: failure(status="compensated", failure_code=""),
    reversal,
    lambda: reversal(source=None),
    lambda: reversal(destination=None),
    lambda: failure(type="reversal", reverses=uuid7()),
    hold,
    lambda: hold(type="withdrawal", destination=None),
    lambda: hold(status="pending"),
    lambda: failure(expires_at=LATER),
    lambda: hold(status="voided", completed_at=NOW),
    lambda: hold(status="expired", completed_at=LATER),
    captured,
    lambda: captured(1),
    lambda: captured(40, reversed_amount=39),
    lambda: captured(40, status="reversed", reversed_amount=40),
    entry,
    lambda: entry(direction="credit"),
    notification,
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


def written(field: str, of: type[Model]) -> set[str]:
    """Return the values of `field` among the rows that are accepted."""
    rows = (make() for make in ACCEPTED)
    return {getattr(row, field) for row in rows if isinstance(row, of)}


def test_every_state_that_the_product_knows_is_accepted() -> None:
    assert written("status", ledger.Account) == set(ledger.Account.Status.values)
    assert written("status", ledger.Transaction) == set(ledger.Transaction.Status.values)
    assert written("type", ledger.Transaction) == {*PARTIES, "reversal"}
    assert written("direction", ledger.Entry) == set(ledger.Entry.Direction.values)


@pytest.mark.parametrize("state", ledger.Notification.State.values)
def test_every_state_of_a_notification_is_accepted(state: str) -> None:
    notification(state=state).save(force_insert=True)


def broken(row: Model) -> set[str]:
    """Return the names of all constraints of `row` that do not hold for it."""
    checks = (each for each in row._meta.constraints if isinstance(each, CheckConstraint))
    return {check.name for check in checks if not holds_for(check, row)}


@pytest.mark.parametrize("name", REFUSED)
def test_every_constraint_has_a_row_that_it_alone_refuses(name: str) -> None:
    # Otherwise the product would be as safe without it.
    assert {name} in [broken(make()) for make in REFUSED[name]]


def holds_for(check: CheckConstraint, row: Model) -> bool:
    """Return whether the database finds the condition of `check` true of `row`, or unknown."""
    try:
        check.validate(type(row), row)
    except ValidationError:
        return False
    return True


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
