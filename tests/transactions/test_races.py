"""Commands of many threads at once, each on a connection of its own."""

from collections import Counter
from functools import partial
from uuid import UUID

import pytest

from eventstore.messages import Outcome
from tests.transactions.tools import (
    balance,
    claim,
    deposit,
    deposit_command,
    envelope,
    execute_many,
    open_account,
    stored,
    transfer,
    transfer_command,
)
from tests.users.tools import at_once, new_user
from transactions.dispatch import commands as bus
from transactions.domain import commands
from transactions.domain.transaction import Transaction
from transactions.ledger import external_account_id
from transactions.models import Account
from transactions.models import Transaction as TransactionRow
from transactions.verification import ledger_faults

pytestmark = pytest.mark.django_db(transaction=True)

THREADS = 32


def execute_with(key: str, command: commands.CreateTransaction) -> Outcome:
    body = [command.source, command.destination, command.amount]
    return bus.execute(envelope(command, idempotency=claim(key, body)))


def test_one_key_from_many_threads_is_one_effect_and_one_answer() -> None:
    account = open_account(new_user()).id
    calls = [
        partial(execute_with, "the same", deposit_command(account, 100)) for _ in range(THREADS)
    ]
    outcomes = at_once(calls)
    assert balance(account) == 100
    assert TransactionRow.objects.count() == 1
    assert len({stored(outcome.response).body for outcome in outcomes}) == 1
    assert [outcome.replayed for outcome in outcomes].count(False) == 1


def test_items_of_batches_with_one_key_are_one_effect_where_no_account_keeps_them_apart() -> None:
    owner = new_user()
    accounts = [open_account(owner).id for _ in range(8)]
    deposit(accounts[0], 1)
    calls = []
    for account in accounts:
        item = commands.BatchItem(
            wanted=deposit_command(account, 100), idempotency=claim("the same")
        )
        batch = commands.CreateBatch(items=(item,), atomic=False)
        calls.append(partial(bus.execute, envelope(batch)))
    answers = [outcome.value[0] for outcome in at_once(calls)]
    assert [answer.replayed for answer in answers].count(False) == 1
    assert len({stored(answer.response).body for answer in answers}) == 1
    assert sum(map(balance, accounts)) == 101
    assert list(ledger_faults()) == []


def test_many_threads_never_overdraw_an_account() -> None:
    owner = new_user()
    source, target = open_account(owner).id, open_account(owner).id
    deposit(source, 1000)

    def spend(amount: int) -> str:
        return transfer(source, target, amount).status

    statuses = Counter(at_once([partial(spend, 100) for _ in range(THREADS)]))
    assert statuses == {"completed": 10, "failed": THREADS - 10}
    assert (balance(source), balance(target)) == (0, 1000)
    assert list(ledger_faults()) == []


def test_a_thousand_opposite_transfers_do_not_block_each_other() -> None:
    owner = new_user()
    left, right = open_account(owner).id, open_account(owner).id
    for account in (left, right):
        deposit(account, 10_000)

    def back_and_forth(source: UUID, target: UUID) -> list[str]:
        return [transfer(source, target, 7).status for _ in range(250)]

    calls = [partial(back_and_forth, left, right), partial(back_and_forth, right, left)] * 2
    statuses = Counter(status for turn in at_once(calls) for status in turn)
    assert statuses == {"completed": 1000}
    assert balance(left) == balance(right) == 10_000
    assert list(ledger_faults()) == []


def test_one_hot_account_comes_to_the_exact_balance() -> None:
    """Deposits, payments in both directions and refusals of 32 threads, 8 each."""
    owner = new_user()
    hot = open_account(owner, overdraft_limit=200).id
    others = [open_account(owner).id for _ in range(THREADS)]
    deposit(hot, 1000)
    execute_many([envelope(deposit_command(other, 50)) for other in others])

    def all_at_the_hot_one(other: UUID) -> list[tuple[int, str]]:
        done = []
        for turn in range(2):
            done += [
                (20, deposit(hot, 20).failure_code),
                (-170, transfer(hot, other, 170).failure_code),
                (5, transfer(other, hot, 5).failure_code),
                (0, transfer(hot, other, 10**9 + turn).failure_code),
            ]
        return done

    calls = [partial(all_at_the_hot_one, other) for other in others]
    moves = [move for thread in at_once(calls) for move in thread]
    codes = Counter(code for _, code in moves)
    assert set(codes) == {"", "insufficient_funds"}
    # 64 are beyond everybody's means, and of the payments of 170 there is money for some.
    assert 64 < codes["insufficient_funds"] < 64 + 64
    assert balance(hot) == 1000 + sum(amount for amount, code in moves if not code)
    # Whoever is refused may be followed by deposits, so only the limit itself holds in any order.
    assert balance(hot) >= -200
    assert list(ledger_faults()) == []


def test_an_overdraft_limit_is_never_passed_by_transfers_and_holds_at_once() -> None:
    owner = new_user()
    source, target = open_account(owner, overdraft_limit=500).id, open_account(owner).id
    deposit(source, 500)

    def spend(hold: bool) -> str:
        return transfer(source, target, 100, hold=hold).status

    calls = [partial(spend, bool(index % 2)) for index in range(THREADS)]
    statuses = Counter(at_once(calls))
    assert statuses["failed"] == THREADS - 10
    row = Account.objects.get(pk=source)
    assert (row.posted, row.held) == (
        500 - 100 * statuses["completed"],
        100 * statuses["held"],
    )
    assert row.posted - row.held == -500
    assert list(ledger_faults()) == []


def test_batches_that_lock_the_same_accounts_in_other_orders_all_commit() -> None:
    owner = new_user()
    accounts = [open_account(owner).id for _ in range(6)]
    for account in accounts:
        deposit(account, 1000)

    def run(order: list[UUID]) -> list[Outcome]:
        pairs = zip(order, order[1:] + order[:1], strict=True)
        return bus.execute_many([envelope(transfer_command(*pair, 1)) for pair in pairs])

    turned = [accounts[turn:] + accounts[:turn] for turn in range(6)]
    outcomes = at_once([partial(run, order) for order in turned + [o[::-1] for o in turned]])
    assert {outcome.value.status for batch in outcomes for outcome in batch} == {"completed"}
    assert {balance(account) for account in accounts} == {1000}
    assert list(ledger_faults()) == []


def test_the_account_of_the_outside_world_is_opened_once() -> None:
    accounts = [open_account(new_user(), currency="ISK").id for _ in range(8)]

    def fill(account: UUID) -> Transaction:
        return deposit(account, 5, currency="ISK")

    assert {each.status for each in at_once([partial(fill, each) for each in accounts])} == {
        "completed"
    }
    [outside] = Account.objects.filter(owner=None, currency="ISK")
    assert outside.pk == external_account_id(ledger="main", currency="ISK")
    assert (outside.posted, outside.version) == (-40, 9)
    assert list(ledger_faults()) == []


def test_closing_and_depositing_at_once_leave_no_money_on_a_closed_account() -> None:
    owner = new_user()
    for _ in range(5):
        account = open_account(owner).id
        close = envelope(commands.CloseAccount(id=account))
        fill = envelope(deposit_command(account, 1))
        at_once([partial(bus.execute_many, [each]) for each in (close, fill)])
        row = Account.objects.get(pk=account)
        assert (row.status, row.posted) in {("closed", 0), ("open", 1)}
    assert list(ledger_faults()) == []


def test_of_two_changes_of_one_version_one_is_stale() -> None:
    owner = new_user()
    account = open_account(owner)
    changes = [
        commands.ChangeAccount(id=account.id, name=name, expected_version=1)
        for name in ("one", "two", "three", "four")
    ]
    outcomes = at_once([partial(bus.execute_many, [envelope(each)]) for each in changes])
    codes = Counter(outcome.error.code if outcome.error else None for [outcome] in outcomes)
    assert codes == {None: 1, "stale_version": 3}
    assert Account.objects.get(pk=account.id).version == 2
