"""Commands of one web process that share their commits are as exact as each alone."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from eventstore.models import Event
from tests.transactions.tools import (
    balance,
    claim,
    deposit,
    envelope,
    open_account,
    stored,
    transfer_command,
)
from tests.users.tools import at_once, new_user
from transactions.dispatch import commands as bus
from transactions.domain import commands
from transactions.models import Transaction as TransactionRow
from transactions.verification import ledger_faults

pytestmark = pytest.mark.django_db(transaction=True)

THREADS = 24


@pytest.fixture(autouse=True)
def _coalesced() -> Iterator[None]:
    """Let commands share commits as `platform_site.wsgi` does, and put it back."""
    bus.coalesce(batch_size_max=8)
    yield
    bus.coalesce(batch_size_max=1)


def move(source: UUID, target: UUID, amount: int, *, key: str | None = None) -> tuple[str, bytes]:
    command = transfer_command(source, target, amount)
    idempotency = claim(key, amount) if key else None
    try:
        outcome = bus.execute(envelope(command, idempotency=idempotency))
    except Exception as error:
        return type(error).__name__, b""
    body = stored(outcome.response).body if key else b""
    return (outcome.value.status if outcome.value else "replayed"), body


def test_each_gets_its_own_answer_and_the_money_is_exact() -> None:
    owner = new_user()
    source, target = open_account(owner).id, open_account(owner).id
    deposit(source, 1000)
    statuses = Counter(status for status, _ in at_once([partial(move, source, target, 100)] * 24))
    assert statuses == {"completed": 10, "failed": 14}
    assert (balance(source), balance(target)) == (0, 1000)
    assert list(ledger_faults()) == []


def test_one_that_names_an_unknown_account_fails_alone() -> None:
    owner = new_user()
    source, target = open_account(owner).id, open_account(owner).id
    deposit(source, 1000)
    calls = [partial(move, source, target, 10)] * 12 + [partial(move, uuid7(), target, 10)] * 12
    statuses = Counter(status for status, _ in at_once(calls))
    assert statuses == {"completed": 12, "AccountNotFound": 12}
    assert TransactionRow.objects.filter(source=source).count() == 12


def test_one_key_within_and_across_shared_commits_is_one_effect() -> None:
    owner = new_user()
    source, target = open_account(owner).id, open_account(owner).id
    deposit(source, 1000)
    answers = at_once([partial(move, source, target, 100, key="once")] * THREADS)
    assert Counter(status for status, _ in answers) == {"completed": 1, "replayed": THREADS - 1}
    assert len({body for _, body in answers}) == 1
    assert balance(target) == 100


def test_a_command_that_breaks_unexpectedly_takes_nobody_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner = new_user()
    source, target = open_account(owner).id, open_account(owner).id
    deposit(source, 1000)
    # A text that no column takes, which the API would have refused.
    broken = commands.CreateTransaction(
        id=uuid7(),
        type="transfer",
        source=source,
        destination=target,
        amount=10,
        currency="EUR",
        reference="\ud800",
    )

    def break_() -> tuple[str, bytes]:
        try:
            bus.execute(envelope(broken))
        except Exception as error:
            return type(error).__name__, b""
        return "completed", b""

    calls = [partial(move, source, target, 10)] * 12 + [break_] * 4
    statuses = Counter(status for status, _ in at_once(calls))
    assert statuses["completed"] == 12
    assert sum(statuses.values()) == 16
    assert balance(target) == 120
    assert Event.objects.filter(stream=f"transaction-{broken.id}").count() == 0
    assert list(ledger_faults()) == []
