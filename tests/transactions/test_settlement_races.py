"""Captures, voids, expiries and reversals of one movement at once: the money settles once."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from eventstore.errors import PlatformError
from eventstore.messages import Command
from tests.transactions.tools import (
    balance,
    deposit,
    execute,
    open_account,
    transfer,
)
from tests.users.tools import at_once, new_user
from transactions.domain import commands
from transactions.models import Account
from transactions.models import Transaction as TransactionRow
from transactions.verification import ledger_faults

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 6


def funded(amount: int) -> tuple[UUID, UUID]:
    owner = new_user()
    source, target = open_account(owner).id, open_account(owner).id
    deposit(source, amount)
    return source, target


def fate(command: Command) -> str:
    """Execute `command`; return the code of its refusal, or how the transaction stands."""
    try:
        done = execute(command)
    except PlatformError as error:
        return error.code
    return getattr(done, "failure_code", "") or str(done.status)


def fates(wanted: Sequence[Command]) -> Counter[str]:
    return Counter(at_once([partial(fate, each) for each in wanted]))


def test_of_captures_and_voids_at_once_one_settles_the_hold() -> None:
    for _ in range(ROUNDS):
        source, target = funded(100)
        held = transfer(source, target, 80, hold=True).id
        wanted: list[Command] = []
        for _ in range(4):
            wanted += [commands.CaptureHold(id=held, amount=30), commands.VoidHold(id=held)]
        found = fates(wanted)
        if found["completed"]:
            assert found == {"completed": 1, "already_captured": 7}
            assert (balance(source), balance(target)) == (70, 30)
        else:
            assert found == {"voided": 1, "already_voided": 7}
            assert (balance(source), balance(target)) == (100, 0)
        assert Account.objects.get(pk=source).held == 0
    assert list(ledger_faults()) == []


def test_reversals_at_once_never_send_back_more_than_came() -> None:
    for _ in range(ROUNDS):
        source, target = funded(100)
        moved = transfer(source, target, 100).id
        # That there is more on the account must not be what stops them.
        deposit(target, 1000)
        found = fates(
            [commands.ReverseTransaction(id=uuid7(), reverses=moved, amount=30) for _ in range(8)]
        )
        assert found == {"completed": 3, "reversal_exceeds_original": 5}
        assert (balance(source), balance(target)) == (90, 1010)
        assert fate(commands.ReverseTransaction(id=uuid7(), reverses=moved)) == "completed"
        row = TransactionRow.objects.get(pk=moved)
        assert (row.status, row.reversed_amount) == ("reversed", 100)
    assert list(ledger_faults()) == []


def test_a_payment_and_its_reversal_at_once_leave_no_debt() -> None:
    """The receiver spends the money while it is sent back: one of the two is refused."""
    for _ in range(ROUNDS):
        source, target = funded(100)
        moved = transfer(source, target, 100).id
        spend = commands.CreateTransaction(
            id=uuid7(), type="withdrawal", source=target, amount=60, currency="EUR"
        )
        found = fates([commands.ReverseTransaction(id=uuid7(), reverses=moved), spend])
        assert found == {"completed": 1, "insufficient_funds": 1}
        assert balance(target) in {0, 40}
    assert list(ledger_faults()) == []


def test_closing_an_account_waits_for_no_hold_on_it() -> None:
    """Of a hold and the closing of its source at once, one is refused."""
    for _ in range(ROUNDS):
        owner = new_user()
        source, target = open_account(owner, overdraft_limit=50).id, open_account(owner).id
        hold = commands.CreateTransaction(
            id=uuid7(),
            type="transfer",
            source=source,
            destination=target,
            amount=50,
            currency="EUR",
            hold=True,
        )
        found = fates([hold, commands.CloseAccount(id=source)])
        row = Account.objects.get(pk=source)
        if row.status == "closed":
            assert (row.held, found) == (0, {"closed": 1, "account_closed": 1})
        else:
            assert (row.held, found) == (50, {"held": 1, "account_not_empty": 1})
    assert list(ledger_faults()) == []
