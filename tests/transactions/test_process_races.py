"""The same request from several processes at once."""

from functools import partial
from uuid import UUID

import pytest

from tests.transactions.processes import in_processes
from tests.transactions.tools import (
    balance,
    claim,
    deposit,
    deposit_command,
    envelope,
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
    # From Python 3.12 on; the children of these tests use nothing that the threads hold.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

PROCESSES = 4


def send(key: str, account: UUID) -> tuple[bytes, bool]:
    """Send a deposit as a client does, with a new id each time; return the answer."""
    outcome = bus.execute(envelope(deposit_command(account, 100), idempotency=claim(key)))
    return stored(outcome.response).body, outcome.replayed


def test_one_key_from_several_processes_is_one_effect_and_the_same_bytes() -> None:
    account = open_account(new_user()).id
    for turn in range(1, 6):
        answers = in_processes([partial(send, f"key {turn}", account)] * PROCESSES)
        assert len({body for body, _ in answers}) == 1
        assert [replayed for _, replayed in answers].count(False) == 1
        assert balance(account) == 100 * turn
        assert TransactionRow.objects.count() == turn
    assert list(ledger_faults()) == []


def test_one_key_for_two_accounts_is_answered_for_the_first_of_them() -> None:
    """No lock on an account keeps the two apart: only the key does."""
    owner = new_user()
    accounts = [open_account(owner).id for _ in range(PROCESSES)]
    for turn in range(1, 6):
        answers = in_processes([partial(send, f"key {turn}", each) for each in accounts])
        assert len({body for body, _ in answers}) == 1
        assert sum(map(balance, accounts)) == 100 * turn
    assert list(ledger_faults()) == []


def test_processes_that_spend_from_one_account_never_overdraw_it() -> None:
    owner = new_user()
    source, target = open_account(owner).id, open_account(owner).id
    deposit(source, 1000)

    def spend() -> list[str]:
        return [transfer(source, target, 70).failure_code for _ in range(8)]

    codes = [code for process in in_processes([spend] * PROCESSES) for code in process]
    assert (codes.count(""), codes.count("insufficient_funds")) == (14, len(codes) - 14)
    assert (balance(source), balance(target)) == (20, 980)
    assert list(ledger_faults()) == []


def round_of_transfers(order: list[UUID]) -> commands.CreateBatch:
    items = tuple(
        commands.BatchItem(wanted=transfer_command(*pair, 1, hold=hold))
        for pair in zip(order, order[1:] + order[:1], strict=True)
        for hold in (False, True)
    )
    return commands.CreateBatch(items=items, atomic=False)


def test_batches_of_processes_in_opposite_orders_all_commit() -> None:
    owner = new_user()
    accounts = [open_account(owner).id for _ in range(6)]
    for account in accounts:
        deposit(account, 100)

    def run(order: list[UUID]) -> list[str]:
        done = [bus.execute(envelope(round_of_transfers(order))).value for _ in range(3)]
        return [outcome.value.status for outcomes in done for outcome in outcomes]

    orders = [
        accounts,
        accounts[::-1],
        accounts[3:] + accounts[:3],
        accounts[2::-1] + accounts[:2:-1],
    ]
    for statuses in in_processes([partial(run, order) for order in orders]):
        assert set(statuses) == {"completed", "held"}
    rows = Account.objects.filter(pk__in=accounts).values_list("posted", "held")
    assert set(rows) == {(100, 3 * len(orders))}
    assert list(ledger_faults()) == []
