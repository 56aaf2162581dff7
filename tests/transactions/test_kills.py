"""A process that is killed between any two statements of a write leaves all of it, or nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from eventstore.codec import canonical_json
from eventstore.messages import Command, Idempotency, Outcome, Response
from eventstore.models import Event, IdempotencyRecord, SubjectKey
from tests.transactions.processes import survives
from tests.transactions.tools import (
    claim,
    deposit,
    deposit_command,
    envelope,
    execute,
    open_account,
    stored,
    transfer,
    transfer_command,
)
from tests.users.tools import new_user
from transactions.dispatch import commands as bus
from transactions.domain import commands
from transactions.models import Account
from transactions.models import Transaction as TransactionRow
from transactions.verification import ledger_faults

pytestmark = [
    pytest.mark.django_db(transaction=True),
    # From Python 3.12 on; the child of these tests uses nothing that its parent's threads hold.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

TABLES: tuple[Any, ...] = (Event, Account, TransactionRow, IdempotencyRecord, SubjectKey)
STEPS_MAX = 60
# Makes a request as a client sends it, and sends it again: what it creates has a new id each time.
Make = Callable[[], Command]


def picture() -> list[list[dict[str, Any]]]:
    """Return every row that a command may write."""
    return [list(table.objects.order_by("pk").values()) for table in TABLES]


def send(make: Make, key: str) -> Outcome:
    return bus.execute(envelope(make(), idempotency=keyed(key)))


def keyed(key: str) -> Idempotency:
    return replace(claim(key), present=present)


def present(value: Any) -> Response:
    """Return an answer that says whether it is the same one."""
    outcomes = value if isinstance(value, list) else [Outcome(value=value)]
    body = [
        each.error.code if each.error else [str(each.value.id), each.value.version]
        for each in outcomes
    ]
    return Response(status=201, body=canonical_json(body).encode())


def funded(**fields: Any) -> tuple[UUID, UUID]:
    """Return two accounts of new people, the first one with 100 cents."""
    source, target = (open_account(new_user(), **fields).id for _ in range(2))
    deposit(source, 100)
    return source, target


def a_named_account_of_a_new_person() -> Make:
    owner = new_user().pk
    return lambda: commands.OpenAccount(id=uuid7(), owner=owner, currency="EUR", name="Rent")


def the_first_deposit_of_a_ledger() -> Make:
    account = open_account(new_user(), ledger=str(uuid7())).id
    return lambda: deposit_command(account, 5, description="Salary")


def a_transfer() -> Make:
    source, target = funded()
    return lambda: transfer_command(source, target, 40, description="Rent")


def a_refused_transfer() -> Make:
    source, target = funded()
    return lambda: transfer_command(source, target, 101)


def a_hold() -> Make:
    source, target = funded()
    return lambda: transfer_command(source, target, 40, hold=True)


def a_capture_of_a_part() -> Make:
    source, target = funded()
    held = transfer(source, target, 40, hold=True).id
    return lambda: commands.CaptureHold(id=held, amount=15)


def a_void() -> Make:
    source, target = funded()
    held = transfer(source, target, 40, hold=True).id
    return lambda: commands.VoidHold(id=held)


def a_reversal_of_a_part() -> Make:
    source, target = funded()
    moved = transfer(source, target, 40).id
    return lambda: commands.ReverseTransaction(id=uuid7(), reverses=moved, amount=15, reason="Back")


def an_atomic_batch() -> Make:
    return _batch(atomic=True)


def an_independent_batch() -> Make:
    return _batch(atomic=False)


def _batch(*, atomic: bool) -> Make:
    source, target = funded()
    key = None if atomic else keyed(str(uuid7()))

    def make() -> Command:
        wanted = [transfer_command(source, target, 40), transfer_command(target, source, 30)]
        items = tuple(commands.BatchItem(wanted=each, idempotency=None) for each in wanted)
        return commands.CreateBatch(
            items=(replace(items[0], idempotency=key), *items[1:]), atomic=atomic
        )

    return make


WRITES = (
    a_named_account_of_a_new_person,
    the_first_deposit_of_a_ledger,
    a_transfer,
    a_refused_transfer,
    a_hold,
    a_capture_of_a_part,
    a_void,
    a_reversal_of_a_part,
    an_atomic_batch,
    an_independent_batch,
)


@pytest.mark.parametrize("prepare", WRITES, ids=lambda prepare: prepare.__name__)
def test_a_writer_killed_before_any_step_leaves_all_or_nothing(prepare: Callable[[], Make]) -> None:
    make = prepare()
    left = []
    for steps in range(STEPS_MAX):
        key = str(uuid7())
        before = picture()
        ended = survives(lambda: send(make, key), steps=steps)  # noqa: B023 - called at once
        found = picture()
        answer, again = send(make, key), send(make, key)
        assert stored(answer.response) == stored(again.response)
        assert again.replayed
        done = picture()
        # A request that was done before it died is answered with what was done, and only then.
        assert found == (done if answer.replayed else before)
        left.append(answer.replayed)
        if ended:
            break
        make = prepare()
    # Nothing of it was there before the commit, and all of it ever after.
    assert left == sorted(left)
    assert left.count(False) >= 5
    assert left.count(True) >= 2
    assert list(ledger_faults()) == []


def test_a_process_that_runs_to_its_end_counts_its_steps() -> None:
    source, target = funded()
    assert not survives(lambda: execute(transfer_command(source, target, 1)), steps=0)
    assert survives(lambda: execute(transfer_command(source, target, 1)), steps=STEPS_MAX)
    assert Account.objects.get(pk=target).posted == 1
