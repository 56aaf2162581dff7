"""What may be decided about reserved money, and how its events change things: no database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from eventstore.errors import InvalidInput, PlatformError
from eventstore.messages import Event
from transactions.domain import account as accounts
from transactions.domain import holds, movements
from transactions.domain.account import Account
from transactions.domain.commands import (
    HOLD_EXPIRES_IN_S_MAX,
    PRECONDITIONS_MAX,
    CaptureHold,
    CreateTransaction,
)
from transactions.domain.events import (
    AccountOpened,
    FundsHeld,
    HoldCaptured,
    HoldReleased,
    TransactionCaptured,
    TransactionCompleted,
    TransactionExpired,
    TransactionFailed,
    TransactionHeld,
    TransactionRedacted,
    TransactionReversed,
    TransactionVoided,
)
from transactions.domain.money import BALANCE_MAX
from transactions.domain.preconditions import Precondition
from transactions.domain.transaction import Transaction, create, evolve

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ID, SOURCE, DESTINATION, OWNER = (UUID(int=number) for number in range(1, 5))
COMMAND = CreateTransaction(
    id=ID,
    type="transfer",
    amount=100,
    currency="EUR",
    source=SOURCE,
    destination=DESTINATION,
    description="Rent",
    hold=True,
    expires_in_s=60,
)
END = NOW + 60 * SECOND
HELD, CAPTURED = TransactionHeld(transaction=ID), TransactionCaptured(transaction=ID, amount=40)
COMPLETED, VOIDED = TransactionCompleted(transaction=ID), TransactionVoided(transaction=ID)
EXPIRED = TransactionExpired(transaction=ID)
FAILED = TransactionFailed(transaction=ID, code="account_frozen", detail="It is frozen.")
REVERSED = TransactionReversed(transaction=ID, reversal=OWNER, amount=40, reversed_amount=40)


def hold(*events: Event) -> Transaction:
    """Return the transaction of `COMMAND` after `events`, a second each behind the other."""
    state = evolve(None, create(COMMAND, now=NOW), version=1, at=NOW)
    for version, event in enumerate(events, start=2):
        state = evolve(state, event, version=version, at=NOW + (version - 1) * SECOND)
    return state


def transfer(*events: Event) -> Transaction:
    """Return a transfer that reserved nothing, after `events`."""
    created = create(replace(COMMAND, hold=False), now=NOW)
    state = evolve(None, created, version=1, at=NOW)
    for version, event in enumerate(events, start=2):
        state = evolve(state, event, version=version, at=NOW)
    return state


def account(**fields: Any) -> Account:
    """Return an account with 100 cents, of which 30 are reserved, unless `fields` say otherwise."""
    opened = AccountOpened(
        account=SOURCE,
        owner=OWNER,
        ledger="main",
        currency="EUR",
        name="",
        overdraft_limit=0,
        metadata={},
    )
    state = accounts.evolve(None, opened, version=1, at=NOW)
    return replace(state, **{"posted": 100, "held": 30, **fields})


MONEY: dict[str, Any] = {"transaction": ID, "currency": "EUR"}


def test_a_hold_says_until_when_it_lasts_and_is_open_until_then() -> None:
    state = hold(HELD)
    assert (state.status, state.is_hold, state.expires_at) == ("held", True, END)
    assert (state.completed_at, state.captured_amount, state.moved_amount) == (None, 0, 0)
    assert transfer().expires_at is None


def test_a_hold_expires_at_its_very_instant_and_not_before() -> None:
    state = hold(HELD)
    assert not state.has_expired(END - timedelta(microseconds=1))
    assert state.has_expired(END)
    assert state.judged(END - SECOND) is state
    assert (state.judged(END).status, state.judged(END).completed_at) == ("expired", END)
    for settled in (hold(HELD, VOIDED), hold(HELD, CAPTURED, COMPLETED), transfer(COMPLETED)):
        assert not settled.has_expired(END)
        assert settled.judged(END) is settled


@pytest.mark.parametrize(("asked", "taken"), [(None, 100), (100, 100), (1, 1)])
def test_a_part_or_all_of_a_hold_is_captured(asked: int | None, taken: int) -> None:
    assert holds.capture(hold(HELD), amount=asked, now=NOW) == (
        TransactionCaptured(transaction=ID, amount=taken),
        COMPLETED,
    )


def test_more_than_a_hold_is_not_captured() -> None:
    with pytest.raises(holds.CaptureExceedsHold, match=r"No more than 1\.00 is reserved") as caught:
        holds.capture(hold(HELD), amount=101, now=NOW)
    assert [each["pointer"] for each in caught.value.extra["errors"]] == ["/amount"]


@pytest.mark.parametrize(
    ("state", "now", "error"),
    [
        (transfer(COMPLETED), NOW, holds.NotAHold),
        (transfer(FAILED), NOW, holds.NotAHold),
        (hold(FAILED), NOW, holds.NotAHold),
        (hold(HELD, CAPTURED, COMPLETED), NOW, holds.AlreadyCaptured),
        (hold(HELD, CAPTURED, COMPLETED, REVERSED), NOW, holds.AlreadyCaptured),
        # What was settled in time is not called expired later.
        (hold(HELD, CAPTURED, COMPLETED), END, holds.AlreadyCaptured),
        (hold(HELD, VOIDED), END, holds.AlreadyVoided),
        (hold(HELD, VOIDED), NOW, holds.AlreadyVoided),
        (hold(HELD, EXPIRED), NOW, holds.HoldHasExpired),
        (hold(HELD), END, holds.HoldHasExpired),
    ],
)
def test_what_is_not_held_any_more_is_neither_captured_nor_voided(
    state: Transaction, now: datetime, error: type[PlatformError]
) -> None:
    with pytest.raises(error):
        holds.capture(state, amount=None, now=now)
    with pytest.raises(error):
        holds.void(state, now=now)


def test_a_hold_is_voided_until_its_time_is_over() -> None:
    assert holds.void(hold(HELD), now=END - timedelta(microseconds=1)) == VOIDED


def test_only_a_hold_whose_time_is_over_expires_and_only_once() -> None:
    assert holds.expire(hold(HELD), now=END) == (EXPIRED,)
    assert holds.expire(hold(HELD), now=END - SECOND) == ()
    for settled in (hold(HELD, EXPIRED), hold(HELD, VOIDED), hold(FAILED), transfer(COMPLETED)):
        assert holds.expire(settled, now=END + SECOND) == ()


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ((HELD, CAPTURED, COMPLETED), "completed"),
        ((HELD, VOIDED), "voided"),
        ((FAILED,), "failed"),
    ],
)
def test_the_end_of_a_hold_is_its_status_and_has_its_instant(
    events: tuple[Event, ...], status: str
) -> None:
    state = hold(*events)
    assert (state.status, state.completed_at) == (status, NOW + len(events) * SECOND)
    assert state.amount == 100


def test_a_hold_that_expired_ended_with_its_time_however_late_it_was_released() -> None:
    released = hold(HELD, EXPIRED)
    assert (released.status, released.completed_at) == ("expired", END)
    assert released.completed_at == hold(HELD).judged(END).completed_at


def test_what_moved_of_a_hold_is_what_was_captured() -> None:
    assert hold(HELD, CAPTURED, COMPLETED).moved_amount == 40
    assert transfer(COMPLETED).moved_amount == 100


def test_a_redacted_transaction_keeps_all_but_what_tells_of_a_person() -> None:
    before = replace(hold(HELD), reference="R", metadata={"a": 1})
    state = evolve(before, TransactionRedacted(transaction=ID), version=3, at=END)
    assert state == replace(
        before, description="", reference="", metadata={}, version=3, updated_at=END
    )


AFTER_CREATION = (HELD, CAPTURED, COMPLETED, VOIDED, EXPIRED, FAILED, REVERSED)
# What each phase is called, a transaction in it, and the events that may follow.
STATES: dict[str, tuple[Transaction, tuple[type[Event], ...]]] = {
    "pending": (transfer(), (TransactionCompleted, TransactionFailed)),
    "to be held": (hold(), (TransactionHeld, TransactionFailed)),
    "held": (hold(HELD), (TransactionCaptured, TransactionVoided, TransactionExpired)),
    "captured": (hold(HELD, CAPTURED), (TransactionCompleted,)),
    "completed": (hold(HELD, CAPTURED, COMPLETED), (TransactionReversed,)),
    "reversed": (hold(HELD, CAPTURED, COMPLETED, REVERSED), ()),
    "voided": (hold(HELD, VOIDED), ()),
    "expired": (hold(HELD, EXPIRED), ()),
    "failed": (hold(FAILED), ()),
}


@pytest.mark.parametrize("phase", STATES)
@pytest.mark.parametrize("event", AFTER_CREATION, ids=lambda event: type(event).__name__)
def test_each_event_follows_only_where_it_can(phase: str, event: Event) -> None:
    state, followers = STATES[phase]
    if type(event) in followers:
        assert evolve(state, event, version=state.version + 1, at=END).version == state.version + 1
        return
    with pytest.raises(ValueError, match=f"which is {phase}|do not make"):
        evolve(state, event, version=state.version + 1, at=END)


@pytest.mark.parametrize("phase", STATES)
def test_redaction_may_follow_everything(phase: str) -> None:
    state, _ = STATES[phase]
    after = evolve(state, TransactionRedacted(transaction=ID), version=state.version + 1, at=END)
    assert (after.status, after.description) == (state.status, "")


@pytest.mark.parametrize("amount", [0, -1, 101])
def test_no_more_is_captured_than_was_held(amount: int) -> None:
    with pytest.raises(ValueError, match="100 held"):
        evolve(hold(HELD), TransactionCaptured(transaction=ID, amount=amount), version=3, at=NOW)


# The account's side


def test_reserved_money_is_not_there_for_anything_else() -> None:
    state = account(overdraft_limit=10)
    assert state.available == 80
    assert movements.hold(state, amount=80, **MONEY) == FundsHeld(
        account=SOURCE, amount=80, held=110, **MONEY
    )
    for act in (movements.hold, movements.debit):
        with pytest.raises(movements.InsufficientFunds):
            act(state, amount=81, **MONEY)


def test_a_captured_part_leaves_and_a_released_part_is_free() -> None:
    assert movements.capture(account(), amount=20, **MONEY) == HoldCaptured(
        account=SOURCE, amount=20, posted=80, held=10, **MONEY
    )
    assert movements.release(account(), amount=30, **MONEY) == HoldReleased(
        account=SOURCE, amount=30, held=0, **MONEY
    )


def test_reserved_money_is_captured_although_nothing_else_is_there() -> None:
    state = account(posted=30, held=30)
    assert state.available == 0
    assert movements.capture(state, amount=30, **MONEY).posted == 0


def test_a_frozen_account_is_neither_held_nor_captured_but_released() -> None:
    frozen = account(status="frozen")
    for act in (movements.hold, movements.capture):
        with pytest.raises(movements.AccountIsFrozen):
            act(frozen, amount=1, **MONEY)
    assert movements.release(frozen, amount=30, **MONEY).held == 0


def test_nothing_is_held_on_a_closed_account_or_in_another_currency() -> None:
    for act in (movements.hold, movements.capture):
        with pytest.raises(accounts.AccountIsClosed):
            act(account(status="closed"), amount=1, **MONEY)
        with pytest.raises(movements.CurrencyMismatch):
            act(account(), amount=1, transaction=ID, currency="USD")


def test_no_more_is_held_than_a_column_takes() -> None:
    state = account(posted=BALANCE_MAX, held=BALANCE_MAX - 5, overdraft_limit=10)
    assert movements.hold(state, amount=5, **MONEY).held == BALANCE_MAX
    with pytest.raises(movements.BalanceOutOfRange):
        movements.hold(state, amount=6, **MONEY)


@pytest.mark.parametrize(
    "event",
    [
        FundsHeld(account=SOURCE, amount=5, held=34, **MONEY),
        HoldReleased(account=SOURCE, amount=5, held=26, **MONEY),
        HoldCaptured(account=SOURCE, amount=5, posted=95, held=26, **MONEY),
        HoldCaptured(account=SOURCE, amount=5, posted=96, held=25, **MONEY),
        FundsHeld(account=SOURCE, transaction=ID, amount=5, held=35, currency="USD"),
        FundsHeld(account=DESTINATION, amount=5, held=35, **MONEY),
        # More than is reserved, and less than nothing.
        HoldReleased(account=SOURCE, amount=31, held=-1, **MONEY),
        HoldCaptured(account=SOURCE, amount=31, posted=69, held=-1, **MONEY),
        FundsHeld(account=SOURCE, amount=-5, held=25, **MONEY),
        FundsHeld(account=SOURCE, amount=0, held=30, **MONEY),
    ],
)
def test_an_event_that_does_not_add_up_is_refused(event: Event) -> None:
    with pytest.raises(ValueError, match=r"does not make|behind v1"):
        accounts.evolve(account(), event, version=2, at=NOW)


@pytest.mark.parametrize(
    "event",
    [
        FundsHeld(account=SOURCE, amount=5, held=5, **MONEY),
        HoldReleased(account=SOURCE, amount=5, held=-5, **MONEY),
        HoldCaptured(account=SOURCE, amount=5, posted=-5, held=-5, **MONEY),
    ],
)
def test_nothing_follows_on_a_closed_account(event: Event) -> None:
    closed = account(status="closed", posted=0, held=0)
    with pytest.raises(ValueError, match="which is closed"):
        accounts.evolve(closed, event, version=2, at=NOW)


# What may be asked


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"expires_in_s": 0}, ("/expires_in", "out_of_range")),
        ({"expires_in_s": HOLD_EXPIRES_IN_S_MAX + 1}, ("/expires_in", "out_of_range")),
        ({"type": "deposit", "source": None}, ("/hold", "not_allowed")),
        ({"type": "withdrawal"}, ("/destination", "not_allowed")),
        ({"type": "withdrawal", "source": None, "destination": None}, ("/source", "required")),
        (
            {
                "preconditions": (Precondition(account=ID, kind="version", value=1),)
                * (PRECONDITIONS_MAX + 1)
            },
            ("/preconditions", "too_many"),
        ),
    ],
)
def test_what_cannot_be_reserved_says_why(changes: dict[str, Any], fault: tuple[str, str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        replace(COMMAND, **changes).validate()
    assert {(each["pointer"], each["code"]) for each in caught.value.extra["errors"]} == {fault}


def test_the_bounds_of_a_hold_are_allowed() -> None:
    for expires_in_s in (1, HOLD_EXPIRES_IN_S_MAX):
        replace(COMMAND, expires_in_s=expires_in_s).validate()
    replace(COMMAND, type="withdrawal", destination=None).validate()


@pytest.mark.parametrize("amount", [0, -1, 10**15 + 1])
def test_an_amount_to_capture_is_an_amount(amount: int) -> None:
    with pytest.raises(InvalidInput, match="whole number"):
        CaptureHold(id=ID, amount=amount).validate()
    CaptureHold(id=ID).validate()
