"""Commands in any order, alone and in batches, against a model of the ledger."""

import tempfile
from collections import defaultdict
from dataclasses import dataclass
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

from eventstore.clock import utc_now
from eventstore.messages import Command, Context, Envelope
from eventstore.reconciliation import reconcile
from tests.transactions.tools import claim, drain, execute_many, stored
from transactions import models
from transactions.aggregates import FOLDS
from transactions.domain import commands
from transactions.ledger import external_account_id
from transactions.stores import STORES
from transactions.verification import ledger_faults
from users.scopes import ALL_SCOPES

pytestmark = pytest.mark.django_db

OWNER = UUID(int=1)
CURRENCIES = ("EUR", "JPY", "KWD")
amounts = st.integers(1, 120)
places = st.integers(0, 30)


@dataclass
class Modelled:
    """What the model knows of an account."""

    currency: str
    limit: int
    posted: int = 0
    status: str = "open"
    version: int = 1


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
        self.accounts: dict[UUID, Modelled] = {}
        self.outside: dict[str, int] = defaultdict(int)
        self.sent: list[Sent] = []
        self.transactions = 0
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
    def begin_with_two_accounts(self) -> None:
        self.run([self.opening("EUR", 0), self.opening("EUR", 50)])

    @rule(currency=st.sampled_from(CURRENCIES), limit=st.sampled_from([0, 0, 75]))
    def open_and_fill_at_once(self, currency: str, limit: int) -> None:
        opening = self.opening(currency, limit)
        self.run([opening, self.deposit(opening.id, 100, currency)])

    @rule(at=places, amount=amounts, wrong_currency=st.booleans())
    def deposit_into(self, at: int, amount: int, wrong_currency: bool) -> None:
        account = self.pick(at)
        currency = "USD" if wrong_currency else self.accounts[account].currency
        self.run([self.deposit(account, amount, currency)], keys=[str(uuid7())])

    @rule(source=places, destination=places, amount=amounts)
    def transfer_between(self, source: int, destination: int, amount: int) -> None:
        command = self.transfer(self.pick(source), self.pick(destination), amount)
        self.run([command], keys=[str(uuid7())])

    @rule(at=places, kind=st.sampled_from(["freeze", "freeze", "unfreeze", "close", "stale"]))
    def change_the_status_of(self, at: int, kind: str) -> None:
        self.run([self.status_command(self.pick(at), kind)])

    @rule(
        steps=st.lists(
            st.tuples(st.sampled_from(["transfer", "deposit", "freeze", "close"]), places, places),
            min_size=2,
            max_size=8,
        ),
        twice=st.booleans(),
    )
    def a_batch(self, steps: list[tuple[str, int, int]], twice: bool) -> None:
        batch: list[Any] = []
        for kind, first, second in steps:
            account = self.pick(first)
            if kind == "transfer":
                batch.append(self.transfer(account, self.pick(second), 40))
            elif kind == "deposit":
                batch.append(self.deposit(account, 30, self.accounts[account].currency))
            else:
                batch.append(self.status_command(account, kind))
        keys: list[str | None] = [
            str(uuid7()) if isinstance(each, commands.CreateTransaction) else None for each in batch
        ]
        if twice:
            # The same key in one batch: the one behind is answered as the one before.
            batch, keys = [*batch, batch[0]], [*keys, keys[0]]
        self.run(batch, keys=keys)

    @precondition(lambda self: self.sent)
    @rule(at=places)
    def send_again(self, at: int) -> None:
        sent = self.sent[at % len(self.sent)]
        [outcome] = execute_many([self.envelope(sent.command, sent.key)])
        assert outcome.replayed
        assert stored(outcome.response).body == sent.body

    @precondition(lambda self: self.sent)
    @rule(at=places)
    def use_a_key_for_something_else(self, at: int) -> None:
        sent = self.sent[at % len(self.sent)]
        other = self.deposit(self.pick(at), 999, "EUR")
        [outcome] = execute_many([self.envelope(other, sent.key)])
        assert outcome.error is not None
        assert outcome.error.code == "idempotency_key_reused"

    @rule()
    def lanes_catch_up(self) -> None:
        drain()

    # The model

    def pick(self, at: int) -> UUID:
        return list(self.accounts)[at % len(self.accounts)]

    def opening(self, currency: str, limit: int) -> commands.OpenAccount:
        command = commands.OpenAccount(
            id=uuid7(), owner=OWNER, currency=currency, overdraft_limit=limit
        )
        self.accounts[command.id] = Modelled(currency=currency, limit=limit)
        return command

    def deposit(self, account: UUID, amount: int, currency: str) -> commands.CreateTransaction:
        return commands.CreateTransaction(
            id=uuid7(), type="deposit", destination=account, amount=amount, currency=currency
        )

    def transfer(self, source: UUID, to: UUID, amount: int) -> commands.CreateTransaction:
        return commands.CreateTransaction(
            id=uuid7(),
            type="transfer",
            source=source,
            destination=to,
            amount=amount,
            currency=self.accounts[source].currency,
        )

    def status_command(self, account: UUID, kind: str) -> Command:
        if kind == "stale":
            version = self.accounts[account].version + 7
            return commands.FreezeAccount(id=account, expected_version=version)
        command = {
            "freeze": commands.FreezeAccount,
            "unfreeze": commands.UnfreezeAccount,
            "close": commands.CloseAccount,
        }[kind]
        return command(id=account)

    def envelope(self, command: Command, key: str | None) -> Envelope:
        # What stays the same when a client sends its request again: all but the new id.
        body = {name: getattr(command, name) for name in ("type", "source", "amount")} if key else 0
        now = Context(now=utc_now(), actor=OWNER, scopes=ALL_SCOPES)
        return Envelope(
            command=command,
            context=now,
            idempotency=claim(key, [body, getattr(command, "destination", None)]) if key else None,
        )

    def run(self, batch: list[Any], *, keys: list[str | None] | None = None) -> None:
        keys = keys or [None] * len(batch)
        seen: dict[str, Any] = {}
        outcomes = execute_many(
            [self.envelope(command, key) for command, key in zip(batch, keys, strict=True)]
        )
        for command, key, outcome in zip(batch, keys, outcomes, strict=True):
            if key in seen:
                assert outcome.replayed or str(outcome.error) == str(seen[key].error)
                continue
            expected = self.expect(command)
            if outcome.error is not None:
                found: str | None = outcome.error.code
            else:
                found = getattr(outcome.value, "failure_code", "") or None
            assert found == expected, command
            if key is not None:
                seen[key] = outcome
                if outcome.response is not None:
                    self.sent.append(Sent(command, key, outcome.response.body))

    def expect(self, command: Any) -> str | None:
        """Change the model; return the code with which the command is refused, or None."""
        if isinstance(command, commands.OpenAccount):
            return None
        if not isinstance(command, commands.CreateTransaction):
            return self.expect_status(self.accounts[command.id], command)
        if command.source == command.destination:
            return "same_account"
        self.transactions += 1
        target = self.accounts[command.destination] if command.destination else None
        assert target is not None
        source = self.accounts[command.source] if command.source else None
        if source is not None:
            refusal = self.expect_debit(source, command.amount)
            if refusal:
                return refusal
        if target.status == "closed":
            return "account_closed"
        if target.currency != command.currency:
            return "currency_mismatch"
        if source is None:
            self.outside[command.currency] -= command.amount
        else:
            source.posted -= command.amount
            source.version += 1
        target.posted += command.amount
        target.version += 1
        return None

    def expect_debit(self, source: Modelled, amount: int) -> str | None:
        if source.status == "closed":
            return "account_closed"
        if source.status == "frozen":
            return "account_frozen"
        return "insufficient_funds" if amount > source.posted + source.limit else None

    def expect_status(self, account: Modelled, command: Any) -> str | None:
        if command.expected_version not in (None, account.version):
            return "stale_version"
        if isinstance(command, commands.CloseAccount):
            if account.status != "closed" and account.posted:
                return "account_not_empty"
            status = "closed"
        elif account.status == "closed":
            return "account_closed"
        else:
            status = "frozen" if isinstance(command, commands.FreezeAccount) else "open"
        account.version += account.status != status
        account.status = status
        return None

    # What must always hold

    @invariant()
    def the_ledger_is_as_the_model_says(self) -> None:
        rows = {row.pk: row for row in models.Account.objects.all()}
        for key, account in self.accounts.items():
            row = rows.pop(key)
            assert (row.posted, row.status, row.version) == (
                account.posted,
                account.status,
                account.version,
            )
            assert row.posted - row.held + row.overdraft_limit >= 0
        assert {row.currency: row.posted for row in rows.values()} == dict(self.outside)
        assert {row.pk for row in rows.values()} == {
            external_account_id(ledger="main", currency=currency) for currency in self.outside
        }

    @invariant()
    def nothing_happened_twice(self) -> None:
        assert models.Transaction.objects.count() == self.transactions

    @invariant()
    def all_money_sums_up_to_zero(self) -> None:
        sums: dict[str, int] = defaultdict(int)
        for currency, posted in models.Account.objects.values_list("currency", "posted"):
            sums[currency] += posted
        assert not any(sums.values())

    def nothing_is_broken_once_all_lanes_are_through(self) -> None:
        assert list(ledger_faults()) == []
        drain()
        assert list(ledger_faults()) == []
        balances: dict[UUID, int] = defaultdict(int)
        sums: dict[str, int] = defaultdict(int)
        for entry in models.Entry.objects.order_by("position"):
            signed = -entry.amount if entry.direction == "debit" else entry.amount
            balances[entry.account] += signed
            sums[entry.currency] += signed
            assert entry.running_balance == balances[entry.account]
        assert not any(sums.values())
        for row in models.Account.objects.all():
            assert balances[row.pk] == row.posted
        for store in STORES.values():
            assert list(reconcile(store(), FOLDS)) == []


def test_any_order_of_commands_keeps_the_ledger_right() -> None:
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
