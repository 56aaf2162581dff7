"""The ledger as a person would keep it, in plain Python: what commands are answered, and why not.

It says what the product must say, and shares no line with it: no events, no locks, no rows.
"""

from collections import defaultdict
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from transactions.domain import commands


class Refused(Exception):
    """The command is refused with this code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class Account:
    """An account of a person, in minor units of its currency."""

    ledger: str
    currency: str
    limit: int
    name: str
    posted: int = 0
    held: int = 0
    status: str = "open"
    version: int = 1

    @property
    def available(self) -> int:
        return self.posted - self.held + self.limit


@dataclass
class Movement:
    """A transaction; `moved` is what went from one side to the other."""

    source: UUID | None
    destination: UUID | None
    amount: int
    currency: str
    description: str
    status: str
    expires_at: datetime | None = None
    captured: int = 0
    reversed: int = 0
    is_reversal: bool = False

    @property
    def moved(self) -> int:
        return self.captured if self.expires_at else self.amount

    def has_expired(self, now: datetime) -> bool:
        return self.status == "held" and self.expires_at is not None and now >= self.expires_at


@dataclass
class Model:
    """All accounts and transactions, and what the outside world owns by ledger and currency."""

    accounts: dict[UUID, Account] = field(default_factory=dict)
    movements: dict[UUID, Movement] = field(default_factory=dict)
    outside: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))

    def answer(self, command: Any, now: datetime) -> str | None:
        """Do what `command` asks for; return the code with which it is refused, or None."""
        try:
            match command:
                case commands.OpenAccount():
                    self.accounts[command.id] = Account(
                        command.ledger, command.currency, command.overdraft_limit, command.name
                    )
                case commands.CreateTransaction():
                    self._create(command, now)
                case commands.CaptureHold():
                    self._capture(command, now)
                case commands.VoidHold():
                    self._release(self._open_hold(command.id, now), "voided")
                case commands.ExpireHold():
                    if self.movements[command.id].has_expired(now):
                        self._release(self.movements[command.id], "expired")
                case commands.ReverseTransaction():
                    self._reverse(command)
                case commands.CreateBatch():
                    self._batch(command, now)
                case commands.RedactAccount():
                    account = self.accounts[command.id]
                    account.version += bool(account.name)
                    account.name = ""
                case commands.RedactTransaction():
                    self.movements[command.id].description = ""
                case _:
                    self._change_status(self.accounts[command.id], command)
        except Refused as refused:
            return refused.code
        return None

    def _batch(self, batch: commands.CreateBatch, now: datetime) -> None:
        before = deepcopy((self.accounts, self.movements, self.outside))
        if any(self.answer(item.wanted, now) for item in batch.items):
            self.accounts, self.movements, self.outside = before
            raise Refused("batch_refused")

    def _create(self, command: commands.CreateTransaction, now: datetime) -> None:
        if command.source == command.destination:
            raise Refused("same_account")
        movement = Movement(
            command.source,
            command.destination,
            command.amount,
            command.currency,
            command.description,
            status="held" if command.hold else "completed",
            expires_at=now + timedelta(seconds=command.expires_in_s) if command.hold else None,
        )
        self.movements[command.id] = movement
        try:
            if not all(self._is_met(wanted) for wanted in command.preconditions):
                raise Refused("precondition_failed")
            self._check(movement)
        except Refused:
            movement.status = "failed"
            raise
        if command.hold:
            self._account(movement.source).held += movement.amount
            self._account(movement.source).version += 1
        else:
            self._move(movement, movement.amount)

    def _is_met(self, wanted: Any) -> bool:
        account = self.accounts[wanted.account]
        if wanted.kind == "version":
            return bool(account.version == wanted.value)
        value = account.available if wanted.kind == "available_gte" else account.posted
        if wanted.kind == "posted_lte":
            return bool(value <= wanted.value)
        return bool(value >= wanted.value)

    def _check(self, movement: Movement) -> None:
        """Refuse a movement: for its ledgers, then its source, then its destination.

        Money that is only reserved is refused for its destination first.
        """
        source = self.accounts[movement.source] if movement.source else None
        destination = self.accounts[movement.destination] if movement.destination else None
        if source and destination and source.ledger != destination.ledger:
            raise Refused("ledger_mismatch")
        sides = [(source, True), (destination, False)]
        for account, sends in sides if movement.status != "held" else reversed(sides):
            if account is None:
                continue
            if account.status == "closed":
                raise Refused("account_closed")
            if account.currency != movement.currency:
                raise Refused("currency_mismatch")
            if sends and account.status == "frozen":
                raise Refused("account_frozen")
            if sends and movement.amount > account.available:
                raise Refused("insufficient_funds")

    def _move(self, movement: Movement, amount: int) -> None:
        for account, change in ((movement.source, -amount), (movement.destination, amount)):
            if account is None:
                other = self._account(movement.source or movement.destination)
                self.outside[other.ledger, other.currency] += change
            else:
                self.accounts[account].posted += change
                self.accounts[account].version += 1

    def _account(self, account: UUID | None) -> Account:
        assert account is not None
        return self.accounts[account]

    def _open_hold(self, key: UUID, now: datetime) -> Movement:
        movement = self.movements[key]
        if movement.expires_at is None or movement.status == "failed":
            raise Refused("not_a_hold")
        if movement.status in {"completed", "reversed"}:
            raise Refused("already_captured")
        if movement.status == "voided":
            raise Refused("already_voided")
        if movement.status == "expired" or movement.has_expired(now):
            raise Refused("hold_expired")
        return movement

    def _capture(self, command: commands.CaptureHold, now: datetime) -> None:
        movement = self._open_hold(command.id, now)
        amount = movement.amount if command.amount is None else command.amount
        if amount > movement.amount:
            raise Refused("capture_exceeds_hold")
        source = self._account(movement.source)
        if source.status == "frozen":
            raise Refused("account_frozen")
        if movement.destination and self.accounts[movement.destination].status == "closed":
            raise Refused("account_closed")
        movement.status, movement.captured = "completed", amount
        source.held -= movement.amount
        source.version += amount != movement.amount
        self._move(movement, amount)

    def _release(self, movement: Movement, status: str) -> None:
        movement.status = status
        self._account(movement.source).held -= movement.amount
        self._account(movement.source).version += 1

    def _reverse(self, command: commands.ReverseTransaction) -> None:
        original = self.movements[command.reverses]
        if original.status not in {"completed", "reversed"} or original.is_reversal:
            raise Refused("not_reversible")
        left = original.moved - original.reversed
        amount = left if command.amount is None else command.amount
        if not 1 <= amount <= left:
            raise Refused("reversal_exceeds_original")
        back = Movement(
            original.destination,
            original.source,
            amount,
            original.currency,
            command.reason,
            status="completed",
            is_reversal=True,
        )
        self.movements[command.id] = back
        try:
            self._check(back)
        except Refused:
            back.status = "failed"
            raise
        self._move(back, amount)
        original.reversed += amount
        if original.reversed == original.moved:
            original.status = "reversed"

    def _change_status(self, account: Account, command: Any) -> None:
        if command.expected_version not in (None, account.version):
            raise Refused("stale_version")
        if isinstance(command, commands.CloseAccount):
            if account.status != "closed" and (account.posted or account.held):
                raise Refused("account_not_empty")
            status = "closed"
        elif account.status == "closed":
            raise Refused("account_closed")
        else:
            status = "frozen" if isinstance(command, commands.FreezeAccount) else "open"
        account.version += account.status != status
        account.status = status
