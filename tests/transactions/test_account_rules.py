"""What may be decided about an account, and how events change it: no database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.messages import Event
from transactions.domain import account as accounts
from transactions.domain import movements
from transactions.domain.account import Account, evolve
from transactions.domain.events import (
    AccountChanged,
    AccountClosed,
    AccountCredited,
    AccountDebited,
    AccountFrozen,
    AccountOpened,
    AccountUnfrozen,
    TransactionCompleted,
)
from transactions.domain.money import AMOUNT_MAX, BALANCE_MAX
from transactions.domain.refusals import Refusal

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
ID, OTHER, OWNER, TRANSACTION = (UUID(int=number) for number in range(1, 5))
OPENED = AccountOpened(
    account=ID,
    owner=OWNER,
    ledger="main",
    currency="EUR",
    name="Rent",
    overdraft_limit=0,
    metadata={},
)


def account(**fields: Any) -> Account:
    """Return an account with 100 cents, unless `fields` say otherwise."""
    opened = evolve(None, OPENED, version=1, at=NOW)
    return replace(opened, **{"posted": 100, **fields})


def debit(state: Account, amount: int, currency: str = "EUR") -> AccountDebited:
    return movements.debit(state, transaction=TRANSACTION, amount=amount, currency=currency)


def credit(state: Account, amount: int, currency: str = "EUR") -> AccountCredited:
    return movements.credit(state, transaction=TRANSACTION, amount=amount, currency=currency)


def after(state: Account, *events: Event) -> Account:
    for event in events:
        state = evolve(state, event, version=state.version + 1, at=NOW)
    return state


def test_a_debit_says_the_balance_that_it_leaves() -> None:
    assert debit(account(), 30) == AccountDebited(
        account=ID, transaction=TRANSACTION, amount=30, currency="EUR", posted=70
    )


def test_a_credit_says_the_balance_that_it_makes() -> None:
    assert credit(account(), 30).posted == 130


def test_all_that_is_available_may_leave_and_no_more() -> None:
    state = account(posted=100, held=30, overdraft_limit=50)
    assert state.available == 120
    assert debit(state, 120).posted == -20
    with pytest.raises(movements.InsufficientFunds, match=r"1\.21 EUR is more than the 1\.20 EUR"):
        debit(state, 121)


def test_the_outside_world_has_no_limit() -> None:
    assert debit(account(owner=None, posted=0), AMOUNT_MAX).posted == -AMOUNT_MAX


def test_no_balance_grows_out_of_what_a_column_holds() -> None:
    with pytest.raises(movements.BalanceOutOfRange):
        credit(account(posted=BALANCE_MAX), 1)
    with pytest.raises(movements.BalanceOutOfRange):
        debit(account(owner=None, posted=-BALANCE_MAX), 1)


def test_another_currency_is_refused_on_both_sides() -> None:
    for move in (debit, credit):
        with pytest.raises(movements.CurrencyMismatch, match="held in EUR, not in USD"):
            move(account(), 1, "USD")


def test_a_frozen_account_sends_nothing_and_receives() -> None:
    frozen = account(status="frozen")
    with pytest.raises(movements.AccountIsFrozen):
        debit(frozen, 1)
    assert credit(frozen, 1).posted == 101


def test_a_closed_account_neither_sends_nor_receives() -> None:
    for move in (debit, credit):
        with pytest.raises(accounts.AccountIsClosed):
            move(account(status="closed", posted=0), 1)


def test_freezing_twice_is_freezing_once() -> None:
    frozen = after(account(), *accounts.freeze(account(), reason="fraud"))
    assert frozen.status == "frozen"
    assert accounts.freeze(frozen, reason="again") == ()
    opened = after(frozen, *accounts.unfreeze(frozen, reason="fine"))
    assert opened.status == "open"
    assert accounts.unfreeze(opened, reason="again") == ()


def test_a_closed_account_is_neither_frozen_nor_unfrozen() -> None:
    closed = account(status="closed", posted=0)
    for act in (accounts.freeze, accounts.unfreeze):
        with pytest.raises(accounts.AccountIsClosed):
            act(closed, reason="")


def test_only_an_empty_account_is_closed_and_only_once() -> None:
    for state in (account(posted=1), account(posted=-1), account(posted=0, held=1)):
        with pytest.raises(accounts.AccountNotEmpty):
            accounts.close(state, reason="")
    empty = account(posted=0, status="frozen")
    closed = after(empty, *accounts.close(empty, reason="gone"))
    assert closed.status == "closed"
    assert accounts.close(closed, reason="again") == ()


def test_a_change_of_nothing_is_no_event() -> None:
    state = account(name="Rent", metadata={"a": 1})
    assert accounts.change(state, name=None, metadata=None) == ()
    assert accounts.change(state, name="Rent", metadata={"a": 1}) == ()
    assert accounts.change(state, name=None, metadata={}) == (
        AccountChanged(account=ID, name="Rent", metadata={}),
    )
    assert accounts.change(state, name="", metadata=None) == (
        AccountChanged(account=ID, name="", metadata={"a": 1}),
    )


def test_a_new_account_is_open_and_empty() -> None:
    state = evolve(None, replace(OPENED, overdraft_limit=7), version=1, at=NOW)
    assert (state.status, state.posted, state.held, state.available) == ("open", 0, 0, 7)
    assert (state.version, state.created_at, state.updated_at) == (1, NOW, NOW)


def test_every_event_moves_version_and_time_and_leaves_the_beginning() -> None:
    later = NOW + timedelta(seconds=1)
    state = evolve(account(), AccountFrozen(account=ID, reason=""), version=2, at=later)
    assert (state.version, state.updated_at, state.created_at) == (2, later, NOW)


@pytest.mark.parametrize(
    ("state", "event", "version"),
    [
        (None, AccountFrozen(account=ID, reason=""), 1),
        (None, OPENED, 2),
        (account(), OPENED, 2),
        (account(), AccountFrozen(account=ID, reason=""), 3),
        (account(), AccountFrozen(account=ID, reason=""), 1),
        (account(), AccountFrozen(account=OTHER, reason=""), 2),
        (account(), TransactionCompleted(transaction=TRANSACTION), 2),
        (account(), replace(debit(account(), 30), posted=71), 2),
        (account(), replace(credit(account(), 30), posted=70), 2),
        (account(), replace(credit(account(), 30), currency="USD"), 2),
        # The sums are right, but money does not move by less than nothing.
        (account(), replace(debit(account(), 30), amount=-30, posted=130), 2),
        (account(), replace(credit(account(), 30), amount=-30, posted=70), 2),
        (account(posted=0, status="closed"), credit(account(posted=0), 30), 2),
        (account(status="closed"), debit(account(), 30), 2),
        (account(status="closed"), AccountUnfrozen(account=ID, reason=""), 2),
        (account(status="closed"), AccountClosed(account=ID, reason=""), 2),
    ],
)
def test_what_cannot_follow_is_refused(state: Account | None, event: Event, version: int) -> None:
    with pytest.raises(ValueError, match=r"v\d|event of an account"):
        evolve(state, event, version=version, at=NOW)


Step = tuple[str, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["debit", "credit", "freeze", "unfreeze", "close", "change"]),
        st.integers(1, 300),
    ),
    max_size=40,
)


@given(limit=st.integers(0, 200), steps=steps)
def test_whatever_is_decided_the_account_keeps_its_limit(limit: int, steps: list[Step]) -> None:
    state = evolve(None, replace(OPENED, overdraft_limit=limit), version=1, at=NOW)
    events: list[Event] = [replace(OPENED, overdraft_limit=limit)]
    moved = 0
    for name, amount in steps:
        try:
            decided = _decide(state, name, amount)
        except (Refusal, accounts.AccountNotEmpty):
            continue
        before = state
        state = after(state, *decided)
        moved += {"debit": -amount, "credit": amount}.get(name, 0)
        assert state.posted == moved
        assert state.available >= 0
        assert state.version == before.version + len(decided)
        assert state.status != "closed" or state.posted == 0
        events += decided
    replayed: Account | None = None
    for version, event in enumerate(events, start=1):
        replayed = evolve(replayed, event, version=version, at=NOW)
    assert replayed == state


def _decide(state: Account, name: str, amount: int) -> tuple[Event, ...]:
    match name:
        case "debit":
            return (debit(state, amount),)
        case "credit":
            return (credit(state, amount),)
        case "change":
            return accounts.change(state, name=str(amount), metadata=None)
    act = {"freeze": accounts.freeze, "unfreeze": accounts.unfreeze, "close": accounts.close}[name]
    return act(state, reason="")
