"""Commands in any order, alone and in batches, against a model of the ledger."""

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.test.utils import override_settings
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from uuid_utils.compat import uuid7

from eventstore.bus import CommandBus
from eventstore.clock import utc_now
from eventstore.messages import Command, Context, Envelope, Outcome
from eventstore.middleware.durable import durable
from eventstore.middleware.idempotency import idempotency
from eventstore.middleware.validation import validation
from eventstore.reconciliation import reconcile
from tests.transactions.model import Model
from tests.transactions.tools import claim, drain, stored
from transactions import models
from transactions.aggregates import FOLDS
from transactions.domain import commands
from transactions.domain.preconditions import KINDS, Kind, Precondition
from transactions.handlers import HANDLERS
from transactions.ledger import Ledger, external_account_id
from transactions.locks import begin
from transactions.stores import STORES
from transactions.verification import ledger_faults
from users.scopes import ALL_SCOPES

pytestmark = pytest.mark.django_db

# Ledger and currency; most accounts are of one kind, so that most movements are possible.
KINDS_OF_ACCOUNTS = (
    ("main", "EUR"), ("main", "EUR"), ("main", "EUR"), ("main", "JPY"), ("savings", "EUR"),
)  # fmt: skip
EXPIRES_IN_S = (5, 60)
amounts = st.integers(1, 120)
parts = st.none() | st.integers(1, 80)
places = st.integers(0, 30)
moves = st.tuples(
    st.sampled_from(["deposit", "transfer", "transfer", "withdrawal", "hold", "hold outside"]),
    places,
    places,
    amounts,
)
changes = st.tuples(
    st.sampled_from(["freeze", "unfreeze", "close", "capture", "void", "reverse", "redact"]),
    places,
    places,
    parts,
)


@dataclass(frozen=True)
class Sent:
    """A command with an Idempotency-Key, and what was answered."""

    command: commands.CreateTransaction
    key: str
    body: bytes


class LedgerMachine(RuleBasedStateMachine):
    """Every outcome is as the model says; what must always hold is looked at after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        # Another one each time: a key of theirs is remembered for longer than an example takes.
        self.owner = uuid7()
        self.sent: list[Sent] = []
        self.now = utc_now()
        self.bus = CommandBus(
            handlers=HANDLERS, begin=self.begin, middleware=(validation, durable, idempotency)
        )
        self.folder = tempfile.TemporaryDirectory()
        self.settings = override_settings(
            DOCUMENT_STORE_FILE=Path(self.folder.name) / "document.sqlite3",
            GLOBAL_STORE_FILE=Path(self.folder.name) / "global.sqlite3",
        )
        self.settings.enable()
        # What Django's TestCase does for each test is done here for each example.
        self.atomic: Any = transaction.atomic()
        setattr(self.atomic, "_from_testcase", True)  # noqa: B010
        self.atomic.__enter__()

    def begin(self, batch: Sequence[Envelope]) -> Ledger:
        """Begin as the product does, at the instant of this machine's clock."""
        ledger = begin(batch)
        ledger.now = self.now
        return ledger

    def teardown(self) -> None:
        try:
            self.nothing_is_broken_once_all_lanes_are_through()
        finally:
            transaction.set_rollback(True)
            self.atomic.__exit__(None, None, None)
            self.settings.disable()
            self.folder.cleanup()

    # Steps

    @initialize()
    def begin_with_three_accounts(self) -> None:
        opened = [self.opening("main", "EUR", limit) for limit in (0, 50, 0)]
        self.run(opened)
        self.run([self.move("deposit", each.id, each.id, 100) for each in opened[:2]])

    @rule(kind=st.sampled_from(KINDS_OF_ACCOUNTS), limit=st.sampled_from([0, 0, 75]))
    def open_and_fill_at_once(self, kind: tuple[str, str], limit: int) -> None:
        opening = self.opening(*kind, limit)
        filling = commands.CreateTransaction(
            id=uuid7(), type="deposit", destination=opening.id, amount=100, currency=kind[1]
        )
        self.run([opening, filling])

    @rule(wanted=moves, wrong_currency=st.sampled_from([False, False, False, True]))
    def move_money(self, wanted: tuple[str, int, int, int], wrong_currency: bool) -> None:
        kind, first, second, amount = wanted
        command = self.move(kind, self.account(first), self.account(second), amount)
        if wrong_currency:
            command = replace(command, currency="USD")
        self.run([command], keys=[str(uuid7())])

    @rule(wanted=moves, at=places, kind=st.sampled_from(KINDS), off=st.integers(-1, 1))
    def move_money_if(
        self, wanted: tuple[str, int, int, int], at: int, kind: Kind, off: int
    ) -> None:
        """Under a condition that is just met, or just not."""
        account = self.account(at)
        value = getattr(self.model.accounts[account], kind.split("_")[0]) + off
        name, first, second, amount = wanted
        command = replace(
            self.move(name, self.account(first), self.account(second), amount),
            preconditions=(Precondition(account=account, kind=kind, value=value),),
        )
        self.run([command], keys=[str(uuid7())])

    @rule(wanted=changes)
    def change(self, wanted: tuple[str, int, int, int | None]) -> None:
        self.run([self.changing(*wanted)])

    @precondition(lambda self: self.open_holds())
    @rule(at=places, amount=parts, kind=st.sampled_from(["capture", "capture", "void"]))
    def settle_an_open_hold(self, at: int, amount: int | None, kind: str) -> None:
        key = self.open_holds()[at % len(self.open_holds())]
        settling = commands.CaptureHold(id=key, amount=amount)
        self.run([commands.VoidHold(id=key) if kind == "void" else settling])

    @precondition(lambda self: self.moved())
    @rule(at=places, amount=parts)
    def send_money_back(self, at: int, amount: int | None) -> None:
        key = self.moved()[at % len(self.moved())]
        self.run([commands.ReverseTransaction(id=uuid7(), reverses=key, amount=amount)])

    @rule(at=places)
    def freeze_a_version_that_is_gone(self, at: int) -> None:
        account = self.account(at)
        version = self.model.accounts[account].version - 1
        self.run([commands.FreezeAccount(id=account, expected_version=version)])

    @rule(seconds=st.sampled_from([1, *EXPIRES_IN_S]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.model.movements)
    @rule(at=places)
    def expire(self, at: int) -> None:
        """Ask for one transaction, due or not, and then for all that are due, twice."""
        due = [key for key, each in self.model.movements.items() if each.has_expired(self.now)]
        self.run([commands.ExpireHold(id=key) for key in [self.movement(at), *due, *due]])

    @rule(wanted=st.lists(moves | changes, min_size=2, max_size=8), twice=st.booleans())
    def several_commands_in_one_transaction(self, wanted: list[Any], twice: bool) -> None:
        batch = [self.any_command(each) for each in wanted]
        keys = [
            str(uuid7()) if isinstance(each, commands.CreateTransaction) else None for each in batch
        ]
        # The API gives each reversal an id of its own: without a key none comes twice.
        if twice and not isinstance(batch[0], commands.ReverseTransaction):
            # The same key in one batch: the one behind is answered as the one before.
            batch, keys = [*batch, batch[0]], [*keys, keys[0]]
        self.run(batch, keys=keys)

    @rule(wanted=st.lists(moves, min_size=1, max_size=6), atomic=st.booleans())
    def a_batch(self, wanted: list[tuple[str, int, int, int]], atomic: bool) -> None:
        items = [
            commands.BatchItem(wanted=self.move(kind, self.account(at), self.account(to), amount))
            for kind, at, to, amount in wanted
        ]
        # What one request cannot ask for is refused before the batch is made of the rest.
        items = [each for each in items if _has_two_sides(each.wanted)]
        if not items:
            return
        batch = commands.CreateBatch(items=tuple(items), atomic=atomic)
        [outcome] = self.bus.execute_many([self.envelope(batch, None)])
        if atomic:
            assert _code(batch, outcome) == self.model.answer(batch, self.now)
        else:
            expected = [self.model.answer(item.wanted, self.now) for item in items]
            assert [_code(items[0].wanted, each) for each in outcome.value] == expected

    @precondition(lambda self: self.sent)
    @rule(at=places)
    def send_again(self, at: int) -> None:
        sent = self.sent[at % len(self.sent)]
        [outcome] = self.bus.execute_many([self.envelope(sent.command, sent.key)])
        assert outcome.replayed
        assert stored(outcome.response).body == sent.body

    @precondition(lambda self: self.sent)
    @rule(at=places)
    def use_a_key_for_something_else(self, at: int) -> None:
        sent = self.sent[at % len(self.sent)]
        other = self.move("deposit", self.account(at), self.account(at), 999)
        [outcome] = self.bus.execute_many([self.envelope(other, sent.key)])
        assert _code(other, outcome) == "idempotency_key_reused"

    @rule()
    def lanes_catch_up(self) -> None:
        drain()
        assert list(ledger_faults()) == []

    # Commands

    def account(self, at: int) -> UUID:
        return list(self.model.accounts)[at % len(self.model.accounts)]

    def movement(self, at: int) -> UUID:
        """Return one of the last transactions, of which most can still be settled or reversed."""
        return list(self.model.movements)[-(at % min(6, len(self.model.movements))) - 1]

    def open_holds(self) -> list[UUID]:
        return [key for key, each in self.model.movements.items() if each.status == "held"]

    def moved(self) -> list[UUID]:
        """Return the transactions of which something can still be sent back."""
        return [
            key
            for key, each in self.model.movements.items()
            if each.status == "completed" and not each.is_reversal
        ]

    def opening(self, ledger: str, currency: str, limit: int) -> commands.OpenAccount:
        return commands.OpenAccount(
            id=uuid7(),
            owner=self.owner,
            ledger=ledger,
            currency=currency,
            overdraft_limit=limit,
            name="Rent",
        )

    def move(
        self, kind: str, source: UUID, destination: UUID, amount: int
    ) -> commands.CreateTransaction:
        known = self.model.accounts.get(source)
        wanted = commands.CreateTransaction(
            id=uuid7(),
            type="transfer",
            source=source,
            destination=destination,
            amount=amount,
            currency=known.currency if known else "EUR",
            description=f"{kind} {amount}",
            expires_in_s=EXPIRES_IN_S[amount % 2],
            hold=kind.startswith("hold"),
        )
        if kind == "deposit":
            return replace(wanted, type="deposit", source=None, destination=source)
        if kind in {"withdrawal", "hold outside"}:
            return replace(wanted, type="withdrawal", destination=None)
        return wanted

    def any_command(self, wanted: tuple[str, int, int, Any]) -> Command:
        kind, first, second, amount = wanted
        if kind in {"deposit", "transfer", "withdrawal", "hold", "hold outside"}:
            return self.move(kind, self.account(first), self.account(second), amount)
        return self.changing(kind, first, second, amount)

    def changing(self, kind: str, first: int, second: int, amount: int | None) -> Command:
        account, movement = self.account(first), self.movement(second)
        match kind:
            case "freeze":
                return commands.FreezeAccount(id=account)
            case "unfreeze":
                return commands.UnfreezeAccount(id=account)
            case "close":
                return commands.CloseAccount(id=account)
            case "capture":
                return commands.CaptureHold(id=movement, amount=amount)
            case "void":
                return commands.VoidHold(id=movement)
            case "reverse":
                return commands.ReverseTransaction(id=uuid7(), reverses=movement, amount=amount)
        if first % 2:
            return commands.RedactAccount(id=account)
        return commands.RedactTransaction(id=movement)

    def envelope(self, command: Command, key: str | None) -> Envelope:
        # What stays the same when a client sends its request again: all but the new id.
        body = {name: getattr(command, name) for name in ("type", "source", "amount")} if key else 0
        return Envelope(
            command=command,
            context=Context(now=self.now, actor=self.owner, scopes=ALL_SCOPES),
            idempotency=claim(key, [body, getattr(command, "destination", None)]) if key else None,
        )

    def run(self, batch: list[Any], *, keys: Sequence[str | None] | None = None) -> None:
        keys = keys or [None] * len(batch)
        seen: dict[str, Outcome] = {}
        outcomes = self.bus.execute_many(
            [self.envelope(command, key) for command, key in zip(batch, keys, strict=True)]
        )
        for command, key, outcome in zip(batch, keys, outcomes, strict=True):
            if key in seen:
                assert outcome.replayed or str(outcome.error) == str(seen[key].error)
                continue
            assert _code(command, outcome) == self.model.answer(command, self.now), command
            if key is not None:
                seen[key] = outcome
                if outcome.response is not None:
                    self.sent.append(Sent(command, key, outcome.response.body))

    # What must always hold

    @invariant()
    def accounts_are_as_the_model_says(self) -> None:
        rows = {row.pk: row for row in models.Account.objects.all()}
        for key, account in self.model.accounts.items():
            row = rows.pop(key)
            assert (row.posted, row.held, row.status, row.version, row.name) == (
                account.posted,
                account.held,
                account.status,
                account.version,
                account.name,
            )
            assert row.posted - row.held + row.overdraft_limit >= 0
        assert {row.pk: (row.posted, row.held) for row in rows.values()} == {
            external_account_id(ledger=ledger, currency=currency): (posted, 0)
            for (ledger, currency), posted in self.model.outside.items()
        }

    @invariant()
    def transactions_are_as_the_model_says_and_none_is_there_twice(self) -> None:
        names = ("status", "amount", "captured_amount", "reversed_amount", "description")
        rows = models.Transaction.objects.values_list("pk", *names)
        assert {key: tuple(row) for key, *row in rows} == {
            key: (each.status, each.amount, each.captured, each.reversed, each.description)
            for key, each in self.model.movements.items()
        }

    @invariant()
    def what_is_held_is_what_open_holds_reserve(self) -> None:
        held: dict[UUID | None, int] = defaultdict(int)
        for source, amount in models.Transaction.objects.filter(status="held").values_list(
            "source", "amount"
        ):
            held[source] += amount
        rows = models.Account.objects.exclude(held=0).values_list("pk", "held")
        assert dict(rows) == held

    @invariant()
    def all_money_of_a_ledger_sums_up_to_zero(self) -> None:
        sums: dict[tuple[str, str], int] = defaultdict(int)
        for row in models.Account.objects.all():
            sums[row.ledger, row.currency] += row.posted
        assert not any(sums.values())

    def nothing_is_broken_once_all_lanes_are_through(self) -> None:
        assert list(ledger_faults()) == []
        drain()
        assert list(ledger_faults()) == []
        balances: dict[UUID, int] = defaultdict(int)
        for entry in models.Entry.objects.order_by("position"):
            balances[entry.account] += -entry.amount if entry.direction == "debit" else entry.amount
            assert entry.running_balance == balances[entry.account]
        for row in models.Account.objects.all():
            assert balances[row.pk] == row.posted
        for store in STORES.values():
            assert list(reconcile(store(), FOLDS)) == []


def _code(command: Any, outcome: Outcome) -> str | None:
    """Return the code with which `command` was refused, recorded or not; None if it was done."""
    if outcome.error is not None:
        return outcome.error.code
    if isinstance(command, commands.CreateTransaction | commands.ReverseTransaction):
        return outcome.value.failure_code or None
    return None


def _has_two_sides(wanted: Any) -> bool:
    return bool(wanted.source != wanted.destination)


def test_any_order_of_commands_keeps_the_ledger_right() -> None:
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=20,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
