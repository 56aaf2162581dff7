"""`manage.py take_snapshots`: a replay need not begin at the first event, and says the same."""

from dataclasses import replace
from uuid import UUID

import pytest
from django.db.models import QuerySet

from eventstore import sequencer
from eventstore.aggregates import rebuild
from eventstore.models import Snapshot
from tests.transactions.story import run
from tests.transactions.tools import deposit, deposit_command, envelope, execute_many, open_account
from tests.users.tools import new_user
from transactions.aggregates import ACCOUNT
from transactions.ledger import account_stream, external_account_id

pytestmark = pytest.mark.django_db

COMMAND = "take_snapshots"
DEPOSITS = 1000


@pytest.fixture
def account() -> UUID:
    """An account of 1,001 events: opened, and 1,000 times 0.01 EUR in."""
    opened = open_account(new_user()).id
    execute_many([envelope(deposit_command(opened, 1)) for _ in range(DEPOSITS)])
    sequencer.sequence()
    return opened


def _of_accounts() -> "QuerySet[Snapshot]":
    return Snapshot.objects.filter(stream__startswith="account-")


def test_each_stream_of_a_thousand_events_has_one_once(account: UUID) -> None:
    outside = external_account_id(ledger="main", currency="EUR")
    assert run(COMMAND) == "2 snapshots taken.\n"
    rows = _of_accounts().values_list("stream", "version", "code_version")
    assert set(rows) == {
        (account_stream(each), 1000, ACCOUNT.code_version) for each in (account, outside)
    }
    assert run(COMMAND) == "0 snapshots taken.\n"
    assert _of_accounts().count() == 2


def test_short_streams_have_none() -> None:
    deposit(open_account(new_user()).id, 100)
    sequencer.sequence()
    assert run(COMMAND) == "0 snapshots taken.\n"


def test_a_replay_begins_at_the_snapshot_and_ends_in_the_same_state(account: UUID) -> None:
    stream = account_stream(account)
    before = rebuild(ACCOUNT, stream)
    assert before is not None
    assert (before.posted, before.version) == (1000, 1001)
    run(COMMAND)
    assert rebuild(ACCOUNT, stream) == before
    deposit(account, 5)
    grown = rebuild(ACCOUNT, stream)
    assert grown == rebuild(ACCOUNT, stream, from_snapshot=False)
    assert grown is not None
    assert grown.posted == 1005
    # Only a replay that begins there can see what is written there.
    row = Snapshot.objects.get(stream=stream)
    Snapshot.objects.filter(pk=row.pk).update(
        state=row.state.replace('"name":""', '"name":"forged"')
    )
    assert rebuild(ACCOUNT, stream) == replace(grown, name="forged")


def test_the_ledger_is_whole_as_before(account: UUID) -> None:
    run(COMMAND)
    assert run("verify_events").endswith(": the log is whole.\n")
    # What proves the ledger does not believe a snapshot.
    Snapshot.objects.update(state="{}")
    assert run("verify_events", "--stream", account_stream(account)).endswith(
        ": the log is whole.\n"
    )
