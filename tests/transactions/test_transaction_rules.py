"""What a transaction may be asked to be, and how events change it: no database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from eventstore.errors import InvalidInput
from eventstore.messages import Event
from transactions.domain import money
from transactions.domain.commands import CreateTransaction, OpenAccount, SameAccount
from transactions.domain.events import (
    AccountFrozen,
    TransactionCompleted,
    TransactionCreated,
    TransactionFailed,
)
from transactions.domain.transaction import Transaction, create, evolve

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
ID, SOURCE, DESTINATION, OTHER = (UUID(int=number) for number in range(1, 5))
TRANSFER = CreateTransaction(
    id=ID, type="transfer", amount=100, currency="EUR", source=SOURCE, destination=DESTINATION
)
CREATED = create(TRANSFER, now=NOW)
COMPLETED = TransactionCompleted(transaction=ID)
FAILED = TransactionFailed(transaction=ID, code="account_frozen", detail="It is frozen.")


def pending() -> Transaction:
    return evolve(None, CREATED, version=1, at=NOW)


def refused(command: CreateTransaction | OpenAccount) -> set[tuple[str, str]]:
    with pytest.raises(InvalidInput) as caught:
        command.validate()
    return {(fault["pointer"], fault["code"]) for fault in caught.value.extra["errors"]}


def test_a_new_transaction_is_what_was_asked_for_and_pending() -> None:
    command = replace(TRANSFER, description="Rent", reference="R-1", metadata={"a": [1]})
    state = evolve(None, create(command, now=NOW), version=1, at=NOW)
    for name in ("id", "type", "source", "destination", "amount", "currency"):
        assert getattr(state, name) == getattr(command, name)
    assert (state.description, state.reference, state.metadata) == ("Rent", "R-1", {"a": [1]})
    assert (state.status, state.version, state.completed_at) == ("pending", 1, None)


def test_a_transaction_ends_once_and_says_when() -> None:
    later = NOW + timedelta(seconds=1)
    done = evolve(pending(), COMPLETED, version=2, at=later)
    assert (done.status, done.version, done.completed_at) == ("completed", 2, later)
    failed = evolve(pending(), FAILED, version=2, at=later)
    assert (failed.status, failed.failure_code) == ("failed", "account_frozen")
    assert (failed.failure_detail, failed.completed_at) == ("It is frozen.", later)


@pytest.mark.parametrize(
    ("state", "event", "version"),
    [
        (None, COMPLETED, 1),
        (None, CREATED, 2),
        (pending(), CREATED, 2),
        (pending(), COMPLETED, 3),
        (pending(), COMPLETED, 1),
        (pending(), TransactionCompleted(transaction=OTHER), 2),
        (pending(), AccountFrozen(account=SOURCE, reason=""), 2),
        (evolve(pending(), COMPLETED, version=2, at=NOW), COMPLETED, 3),
        (evolve(pending(), COMPLETED, version=2, at=NOW), FAILED, 3),
        (evolve(pending(), FAILED, version=2, at=NOW), COMPLETED, 3),
    ],
)
def test_what_cannot_follow_is_refused(
    state: Transaction | None, event: Event, version: int
) -> None:
    with pytest.raises(ValueError, match=r"as v\d|of transaction|event of a transaction"):
        evolve(state, event, version=version, at=NOW)


def test_a_good_command_is_accepted() -> None:
    TRANSFER.validate()
    replace(TRANSFER, type="deposit", source=None).validate()
    OpenAccount(id=ID, owner=OTHER, currency="JPY", overdraft_limit=money.AMOUNT_MAX).validate()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"amount": 0}, ("/amount", "amount_out_of_range")),
        ({"amount": money.AMOUNT_MAX + 1}, ("/amount", "amount_out_of_range")),
        ({"currency": "eur"}, ("/currency", "unknown_currency")),
        ({"source": None}, ("/source", "required")),
        ({"destination": None}, ("/destination", "required")),
        ({"type": "deposit"}, ("/source", "not_allowed")),
        ({"destination": SOURCE}, ("/destination", "same_account")),
    ],
)
def test_a_command_that_cannot_be_right_says_why(
    changes: dict[str, Any], fault: tuple[str, str]
) -> None:
    assert refused(replace(TRANSFER, **changes)) == {fault}


def test_the_same_account_twice_has_a_code_of_its_own() -> None:
    with pytest.raises(SameAccount):
        replace(TRANSFER, destination=SOURCE).validate()


def test_an_overdraft_is_an_amount_too() -> None:
    command = OpenAccount(id=ID, owner=OTHER, currency="EUR", overdraft_limit=-1)
    assert refused(command) == {("/overdraft_limit", "amount_out_of_range")}
    assert refused(replace(command, overdraft_limit=0, currency="XXX")) == {
        ("/currency", "unknown_currency")
    }


def test_every_event_is_written_under_its_own_name() -> None:
    from transactions.domain.events import CODEC, AccountEvent, TransactionEvent

    assert all(name == each.__name__ for (name, _), each in CODEC.events.items())
    assert len(CODEC.events) == len(set(CODEC.events.values()))
    every = {*AccountEvent.__args__, *TransactionEvent.__args__}
    assert set(CODEC.events.values()) == every
    assert isinstance(CREATED, TransactionCreated)
