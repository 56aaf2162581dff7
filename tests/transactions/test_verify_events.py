"""`manage.py verify_events`: all is well, or the first thing that was changed is named."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import msgspec
import pytest
from django.db import connection
from django.db.models import F

from eventstore import integrity, sequencer, tree_heads
from eventstore.aggregates import rebuild
from eventstore.integrity import Fault
from eventstore.models import Checkpoint
from eventstore.models import Event as EventRow
from eventstore.store import event_store
from tests.transactions.story import Story, run, run_and_fail, tell
from tests.transactions.tools import deposit, open_account, transfer
from tests.users.tools import new_user
from transactions import verification
from transactions.aggregates import ACCOUNT, TRANSACTION
from transactions.domain.events import AccountCredited, TransactionVoided
from transactions.ledger import external_account_id
from transactions.models import Account, Transaction
from transactions.verification import ledger_faults

pytestmark = pytest.mark.django_db

COMMAND = "verify_events"
NOBODY = UUID("00000000-0000-7000-8000-000000000001")


@pytest.fixture
def story() -> Story:
    """A ledger of ten places that nobody has touched."""
    return tell()


def head() -> int:
    """Return how many events the story has."""
    return EventRow.objects.count()


def test_a_ledger_that_nobody_touched_is_whole(story: Story) -> None:
    assert run(COMMAND) == f"Verified {head()} positions: the log is whole.\n"
    assert list(ledger_faults()) == []


def test_holds_are_no_fault(story: Story) -> None:
    for _ in range(2):
        transfer(story.source, story.destination, 50, hold=True)
    assert list(ledger_faults()) == []


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_streams_that_are_longer_than_a_batch_are_replayed_whole(
    story: Story, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(integrity, "BATCH_SIZE", batch)
    assert list(ledger_faults()) == []
    source(story).update(posted=F("posted") + 1)
    assert story.source_stream in [fault.subject for fault in ledger_faults()]


def test_an_empty_ledger_is_whole() -> None:
    assert run(COMMAND) == "Verified 0 positions: the log is whole.\n"


def test_a_program_is_told_the_same(story: Story) -> None:
    assert json.loads(run(COMMAND, "--json")) == {
        "ok": True,
        "events": head(),
        "unsequenced": 0,
        "first_fault": None,
    }


def test_events_that_wait_for_their_position_are_counted(story: Story) -> None:
    before = head()
    deposit(story.source, 5)
    waiting = head() - before
    assert run(COMMAND) == (
        f"Verified {before} positions, {waiting} more wait for theirs: the log is whole.\n"
    )
    assert json.loads(run(COMMAND, "--json"))["unsequenced"] == waiting


def event_of(story: Story, version: int) -> Any:
    return EventRow.objects.filter(stream=story.source_stream, version=version)


def source(story: Story) -> Any:
    return Account.objects.filter(pk=story.source)


def change_data(story: Story) -> None:
    data = event_of(story, 2).get().data
    event_of(story, 2).update(data=data.replace('"amount":1000', '"amount":1001'))


def lose_an_event(story: Story) -> None:
    event_of(story, 2).delete()


def lose_the_last_events(story: Story) -> None:
    EventRow.objects.filter(position__gt=head() - 2).delete()


def forge_a_head(story: Story) -> None:
    row = source(story).get()
    row.pk = NOBODY
    row.save()


def cut_off_the_end(_: Story) -> None:
    """Cut the log, with the sequencer to match, after it was signed for."""
    tree_heads.sign()
    kept = head() - 2
    EventRow.objects.filter(position__gt=kept).delete()
    Checkpoint.objects.filter(name=sequencer.NAME).update(position=kept)


def release_a_hold_silently(story: Story) -> None:
    """Reserve 2.00 EUR, and have the hold's transaction forget it, with an event to match."""
    held = transfer(story.source, story.destination, 200, hold=True)
    stream = f"transaction-{held.id}"
    event_store().save_events(
        stream, [TransactionVoided(transaction=held.id)], expected_version=held.version
    )
    sequencer.sequence()
    state = rebuild(TRANSACTION, stream)
    assert state is not None
    Transaction.objects.filter(pk=held.id).update(
        status=state.status,
        version=state.version,
        updated_at=state.updated_at,
        completed_at=state.completed_at,
    )


def credit_without_a_debit(story: Story) -> None:
    """Append 0.05 EUR out of nowhere, as only a bug of the product could, with a head to match."""
    event = AccountCredited(
        account=story.source, transaction=story.deposit, amount=5, currency="EUR", posted=705
    )
    event_store().save_events(story.source_stream, [event], expected_version=3)
    sequencer.sequence()
    state = rebuild(ACCOUNT, story.source_stream)
    assert state is not None
    source(story).update(posted=705, version=4, updated_at=state.updated_at)


# Each kind of damage, and the sentence that names it; S stands for the payer's account.
DAMAGE: dict[str, tuple[Callable[[Story], object], str]] = {
    "a balance": (
        lambda story: source(story).update(posted=F("posted") + 1),
        r"account-S: its head is not what replay makes: posted is 701 and should be 700",
    ),
    "a balance, and another one to match": (
        lambda story: (
            source(story).update(posted=F("posted") + 1),
            Account.objects.filter(pk=story.destination).update(posted=F("posted") - 1),
        ),
        r"account-S: its head is not what replay makes: posted is 701 and should be 700",
    ),
    "a version": (
        lambda story: source(story).update(version=F("version") + 1),
        r"account-S: its head is not what replay makes: version is 4 and should be 3",
    ),
    "a version that was put back": (
        lambda story: source(story).update(version=F("version") - 1),
        r"account-S: its head is not what replay makes: version is 2 and should be 3",
    ),
    "an owner": (
        lambda story: source(story).update(owner=NOBODY),
        rf"account-S: its head .*: owner is UUID\('{NOBODY}'\) and should be UUID\('.*'\)",
    ),
    "metadata": (
        lambda story: source(story).update(metadata={"vip": True}),
        r"account-S: its head is not what replay makes: metadata is {'vip': True} and should be {}",
    ),
    "the outside world": (
        lambda _: Account.objects.filter(
            pk=external_account_id(ledger="main", currency="EUR")
        ).update(posted=0),
        r"account-.*: its head is not what replay makes: posted is 0 and should be -1000",
    ),
    "the amount of a transaction": (
        lambda story: Transaction.objects.filter(pk=story.transfer).update(amount=1),
        r"transaction-.*: its head is not what replay makes: amount is 1 and should be 300",
    ),
    "the outcome of a transaction": (
        # With the reason left in place, the database itself would refuse it.
        lambda story: Transaction.objects.filter(pk=story.refused).update(
            status="completed", failure_code=""
        ),
        r"transaction-.*: .*: status is 'completed' and should be 'failed', failure_code is .*",
    ),
    "a lost account": (lambda story: source(story).delete(), r"account-S: it has no head"),
    "a lost transaction": (
        lambda story: Transaction.objects.filter(pk=story.transfer).delete(),
        r"transaction-.*: it has no head",
    ),
    "an account that was made up": (
        forge_a_head,
        rf"account-{NOBODY}: it has a head, but no events",
    ),
    "a byte of an event": (
        change_data,
        r"event \S+ \(position \d+, account-S v2\): its hash does not match what it says",
    ),
    "the actor of an event": (
        lambda story: event_of(story, 3).update(actor=str(NOBODY)),
        r"event \S+ \(position \d+, account-S v3\): its hash does not match what it says",
    ),
    "a lost event": (lose_an_event, r"position \d+: is missing; next is event .*"),
    "the lost end of the log": (
        lose_the_last_events,
        r"position \d+: the log ends here, but \d+ positions were given out",
    ),
    "the end of the log, and the sequencer": (
        cut_off_the_end,
        r"the tree head of \d+ events: covers more than the \d+ events of the log",
    ),
    "a hold that is open for the account alone": (
        release_a_hold_silently,
        r"account-S: 200 minor units are held, but its open holds sum up to 0",
    ),
    "positions that were never given out": (
        lambda _: Checkpoint.objects.filter(name=sequencer.NAME).update(position=3),
        r"position \d+: has an event, but only 3 positions were given out",
    ),
    "money out of nowhere": (
        credit_without_a_debit,
        r"the sum of all balances in EUR of the ledger main: is 5 minor units instead of zero",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_whatever_was_changed_is_named(story: Story, damage: str) -> None:
    do, pattern = DAMAGE[damage]
    do(story)
    written, sentence = run_and_fail(COMMAND)
    assert re.fullmatch(pattern.replace("account-S", story.source_stream), sentence), sentence
    assert written == "", "nothing may say that all is well"
    written, sentence = run_and_fail(COMMAND, "--json")
    answer = json.loads(written)
    assert answer["ok"] is False
    assert f"{answer['first_fault']['subject']}: {answer['first_fault']['detail']}" == sentence


def test_an_event_that_waits_for_its_position_and_is_lost_is_missed(story: Story) -> None:
    deposit(story.source, 5)
    event_of(story, 4).delete()
    _, sentence = run_and_fail(COMMAND)
    assert "version is 4 and should be 3" in sentence


def test_a_snapshot_that_was_forged_does_not_hide_a_forged_balance(story: Story) -> None:
    state = rebuild(ACCOUNT, story.source_stream)
    assert state is not None
    forged = {**msgspec.to_builtins(state), "posted": 999_999}
    event_store().create_snapshot(
        story.source_stream,
        version=3,
        state=forged,
        code_version=ACCOUNT.code_version,
        now=state.updated_at,
    )
    source(story).update(posted=999_999)
    _, sentence = run_and_fail(COMMAND)
    assert "posted is 999999 and should be 700" in sentence


def test_all_that_is_broken_can_be_listed(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "BATCH_SIZE", 1)
    source(story).update(posted=F("posted") + 1)
    Account.objects.filter(pk=story.destination).delete()
    Transaction.objects.filter(pk=story.transfer).delete()
    assert {(fault.subject, fault.detail) for fault in ledger_faults()} == {
        (
            story.source_stream,
            "its head is not what replay makes: posted is 701 and should be 700",
        ),
        (f"account-{story.destination}", "it has no head"),
        (f"transaction-{story.transfer}", "it has no head"),
        (
            "the sum of all balances in EUR of the ledger main",
            "is -299 minor units instead of zero",
        ),
    }


def test_one_stream_can_be_checked(story: Story) -> None:
    Account.objects.filter(pk=story.destination).update(posted=F("posted") + 1)
    for stream in (story.source_stream, f"transaction-{story.transfer}"):
        assert "the log is whole" in run(COMMAND, "--stream", stream)
    _, sentence = run_and_fail(COMMAND, "--stream", f"account-{story.destination}")
    assert sentence.startswith(f"account-{story.destination}: its head is not what replay makes")


def test_with_one_stream_the_whole_chain_is_checked(story: Story) -> None:
    change_data(story)
    _, sentence = run_and_fail(COMMAND, "--stream", f"transaction-{story.transfer}")
    assert "its hash does not match what it says" in sentence


def test_one_stream_that_has_lost_its_head_is_named(story: Story) -> None:
    source(story).delete()
    _, sentence = run_and_fail(COMMAND, "--stream", story.source_stream)
    assert sentence == f"{story.source_stream}: it has no head"


@pytest.mark.parametrize(
    "stream",
    [
        "account",
        "account-",
        "account-17",
        "account-x'; DROP TABLE eventstore_event; --",
        f"account-{NOBODY}",
        f"order-{NOBODY}",
        "",
        "\u00fc" * 100,
    ],
)
def test_a_stream_that_does_not_exist_is_named_and_nothing_else(story: Story, stream: str) -> None:
    _, sentence = run_and_fail(COMMAND, "--stream", stream)
    assert sentence == f"{stream}: there is no such stream"


@pytest.mark.parametrize("batch", [1, 500])
def test_it_may_run_while_money_moves(
    story: Story, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(verification, "BATCH_SIZE", batch)
    monkeypatch.setattr(integrity, "BATCH_SIZE", 2 * batch)
    moving, moves = [False], [0]

    def move() -> None:
        deposit(story.source, 10)
        transfer(story.source, story.destination, 7)
        transfer(story.source, story.destination, 1, hold=True)
        open_account(new_user())
        if moves[0] % 3 == 0:
            sequencer.sequence()
            tree_heads.sign()
        moves[0] += 1

    def move_first(
        execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Mapping[str, Any]
    ) -> Any:
        """Move money in front of every statement of the command."""
        if not moving[0] and moves[0] < 40:
            moving[0] = True
            move()
            moving[0] = False
        return execute(sql, params, many, context)

    faults: list[Fault] = []
    with connection.execute_wrapper(move_first):
        faults.extend(ledger_faults())
    assert faults == []
    assert moves[0] > 10
    sequencer.sequence()
    run(COMMAND)
