"""The unit of work of a batch: what is staged, and forgotten when a command raises."""

from datetime import timedelta
from uuid import UUID

import pytest

from eventstore.clock import utc_now
from eventstore.models import Event
from tests.transactions.tools import context, deposit, deposit_command, envelope, open_account
from tests.users.tools import new_user
from transactions.domain import commands
from transactions.domain.events import (
    AccountCredited,
    AccountFrozen,
    AccountOpened,
    TransactionCreated,
)
from transactions.ledger import Ledger, external_account_id
from transactions.locks import begin
from transactions.models import Account, Transaction

pytestmark = pytest.mark.django_db

NEW, TRANSACTION = UUID(int=1), UUID(int=2)


class Refused(Exception):
    """A command changes its mind after it has staged something."""


def opened(account: UUID) -> AccountOpened:
    return AccountOpened(
        account=account,
        owner=UUID(int=9),
        ledger="main",
        currency="EUR",
        name="",
        overdraft_limit=0,
        metadata={},
    )


def credited(account: UUID, posted: int) -> AccountCredited:
    return AccountCredited(
        account=account, transaction=TRANSACTION, amount=5, currency="EUR", posted=posted
    )


def record(ledger: Ledger, *events: AccountOpened | AccountCredited | AccountFrozen) -> None:
    ledger.record(*events, context=context(), correlation_id=NEW)


def locked(*accounts: UUID) -> Ledger:
    return begin([envelope(commands.FreezeAccount(id=account)) for account in accounts])


def stage_and_raise(ledger: Ledger, account: UUID) -> None:
    created = TransactionCreated(
        transaction=TRANSACTION,
        type="deposit",
        source=None,
        destination=account,
        amount=5,
        currency="EUR",
        description="",
        reference="",
        metadata={},
        expires_at=None,
        reverses=None,
    )
    with ledger.savepoint():
        record(ledger, credited(account, 10), credited(account, 15), opened(NEW))
        record(ledger, credited(NEW, 5))
        ledger.record(created, context=context(), correlation_id=TRANSACTION)
        raise Refused


def test_what_a_command_staged_is_forgotten_when_it_raises() -> None:
    account = open_account(new_user()).id
    ledger = locked(account)
    record(ledger, credited(account, 5))
    kept = (dict(ledger.accounts), dict(ledger.transactions))
    with pytest.raises(Refused):
        stage_and_raise(ledger, account)
    assert (ledger.accounts, ledger.transactions) == kept
    record(ledger, credited(account, 10))
    ledger.flush()
    assert Account.objects.get(pk=account).posted == 10
    assert not Transaction.objects.exists()
    rows = Event.objects.order_by("row").values_list("stream", "version")
    assert list(rows) == [(f"account-{account}", version) for version in (1, 2, 3)]


def test_what_did_not_change_is_not_written() -> None:
    first, second = open_account(new_user()).id, open_account(new_user()).id
    ledger = locked(first, second)
    record(ledger, AccountFrozen(account=first, reason=""))
    Account.objects.filter(pk=second).update(name="written by nobody")
    ledger.flush()
    assert Account.objects.get(pk=first).status == "frozen"
    assert Account.objects.get(pk=second).name == "written by nobody"


def test_time_within_a_stream_never_runs_backwards() -> None:
    account = open_account(new_user()).id
    ahead = utc_now() + timedelta(hours=1)
    Account.objects.filter(pk=account).update(updated_at=ahead)
    ledger = locked(account)
    record(ledger, AccountFrozen(account=account, reason=""), opened(NEW))
    assert ledger.accounts[account].updated_at == ahead
    assert ledger.accounts[NEW].updated_at == ledger.now < ahead


def test_the_outside_world_is_locked_for_an_account_that_the_same_batch_opens() -> None:
    owner = new_user()
    deposit(open_account(owner).id, 1)
    opening = commands.OpenAccount(id=NEW, owner=owner.pk, currency="EUR")
    filling = deposit_command(NEW, 1)
    assert begin([envelope(opening), envelope(filling)]).accounts.keys() == {
        external_account_id(ledger="main", currency="EUR")
    }
    assert begin([envelope(opening)]).accounts == {}


def test_the_id_of_the_outside_world_is_a_uuid_of_its_ledger_and_currency() -> None:
    ids = {
        external_account_id(ledger=ledger, currency=currency)
        for ledger in ("main", "other")
        for currency in ("EUR", "USD")
    }
    assert len(ids) == 4
    assert {(each.version, each.variant, each.int >> 80) for each in ids} == {
        (7, "specified in RFC 4122", 0)
    }
    # It is stored: another way of computing it would open a second outside world.
    assert external_account_id(ledger="main", currency="EUR") == UUID(
        "00000000-0000-74d1-922d-65166dea76c8"
    )
