"""What may be decided about money that goes back: no database."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.errors import InvalidInput
from transactions.domain.commands import CreateTransaction, ReverseTransaction
from transactions.domain.events import TransactionCompleted, TransactionReversed
from transactions.domain.reversals import (
    NotReversible,
    ReversalExceedsOriginal,
    reverse,
    reversed_by,
)
from transactions.domain.transaction import Transaction, create, evolve

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
ID, SOURCE, DESTINATION, BACK = (UUID(int=number) for number in range(1, 5))
TRANSFER = CreateTransaction(
    id=ID, type="transfer", amount=100, currency="EUR", source=SOURCE, destination=DESTINATION
)
COMMAND = ReverseTransaction(id=BACK, reverses=ID, reason="A mistake")


def completed() -> Transaction:
    pending = evolve(None, create(TRANSFER, now=NOW), version=1, at=NOW)
    return evolve(pending, TransactionCompleted(transaction=ID), version=2, at=NOW)


def after(original: Transaction, amount: int | None) -> Transaction:
    """Return `original` after a reversal of `amount`."""
    created = reverse(original, replace(COMMAND, amount=amount))
    return evolve(original, reversed_by(original, created), version=original.version + 1, at=NOW)


def test_a_reversal_is_a_movement_of_its_own_in_the_other_direction() -> None:
    created = reverse(completed(), replace(COMMAND, amount=30))
    assert (created.transaction, created.type, created.reverses) == (BACK, "reversal", ID)
    assert (created.source, created.destination) == (DESTINATION, SOURCE)
    assert (created.amount, created.currency) == (30, "EUR")
    assert (created.description, created.expires_at) == ("A mistake", None)


def test_without_an_amount_all_that_is_left_goes_back() -> None:
    assert reverse(completed(), COMMAND).amount == 100
    assert reverse(after(completed(), 30), COMMAND).amount == 70


def test_the_outside_world_stays_outside() -> None:
    deposit = replace(completed(), source=None, type="deposit")
    created = reverse(deposit, COMMAND)
    assert (created.source, created.destination) == (DESTINATION, None)


def test_of_a_hold_no_more_goes_back_than_was_captured() -> None:
    captured = replace(completed(), expires_at=NOW, captured_amount=40)
    assert reverse(captured, COMMAND).amount == 40
    with pytest.raises(ReversalExceedsOriginal, match=r"No more than 0\.40 is left"):
        reverse(captured, replace(COMMAND, amount=41))


@pytest.mark.parametrize(
    "status", ["pending", "processing", "held", "failed", "compensated", "voided", "expired"]
)
def test_what_moved_nothing_is_not_reversed(status: Any) -> None:
    with pytest.raises(NotReversible, match=f"this one is {status}"):
        reverse(replace(completed(), status=status), COMMAND)


def test_a_reversal_is_not_reversed() -> None:
    with pytest.raises(NotReversible, match="this one is a reversal"):
        reverse(replace(completed(), reverses=UUID(int=9)), COMMAND)


def test_nothing_is_left_of_what_went_back_in_full() -> None:
    original = after(completed(), None)
    assert (original.status, original.reversed_amount) == ("reversed", 100)
    for amount in (None, 1):
        with pytest.raises(ReversalExceedsOriginal, match=r"No more than 0\.00 is left"):
            reverse(original, replace(COMMAND, amount=amount))


def test_a_part_that_went_back_leaves_it_completed() -> None:
    original = after(completed(), 99)
    assert (original.status, original.reversed_amount, original.completed_at) == (
        "completed",
        99,
        NOW,
    )


@given(amounts=st.lists(st.integers(1, 120), max_size=12))
def test_reversals_together_never_exceed_the_original(amounts: list[int]) -> None:
    original, sent_back = completed(), 0
    for amount in amounts:
        try:
            original = after(original, amount)
        except ReversalExceedsOriginal:
            assert amount > 100 - sent_back
            continue
        sent_back += amount
        assert original.reversed_amount == sent_back <= 100
        assert original.status == ("reversed" if sent_back == 100 else "completed")


@pytest.mark.parametrize(("amount", "total"), [(30, 31), (30, 29), (101, 101), (-1, -1)])
def test_an_event_that_does_not_add_up_is_refused(amount: int, total: int) -> None:
    event = TransactionReversed(transaction=ID, reversal=BACK, amount=amount, reversed_amount=total)
    with pytest.raises(ValueError, match="do not make"):
        evolve(completed(), event, version=3, at=NOW)


@pytest.mark.parametrize("amount", [0, -1, 10**15 + 1])
def test_an_amount_to_send_back_is_an_amount(amount: int) -> None:
    with pytest.raises(InvalidInput, match="whole number"):
        replace(COMMAND, amount=amount).validate()
    COMMAND.validate()
