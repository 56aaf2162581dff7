"""What the ledger can be asked to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NoReturn
from uuid import UUID

from eventstore.errors import InvalidInput, PlatformError
from eventstore.messages import Command, Idempotency
from transactions.domain.money import check_amount, check_currency
from transactions.domain.preconditions import Precondition

TransactionType = Literal["deposit", "transfer", "withdrawal"]
# The accounts that each type names; it names no other.
PARTIES: Mapping[TransactionType, frozenset[str]] = {
    "deposit": frozenset({"destination"}),
    "transfer": frozenset({"source", "destination"}),
    "withdrawal": frozenset({"source"}),
}

HOLD_EXPIRES_IN_S = 604_800
HOLD_EXPIRES_IN_S_MAX = 2_592_000
PRECONDITIONS_MAX = 20
BATCH_ITEMS_MAX = 1000

DEFAULT_LEDGER = "main"


class SameAccount(InvalidInput):
    """Source and destination are one account."""

    code = "same_account"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAccount(Command):
    """Open an account in one currency of one ledger.

    Args:
        id: of the account, UUIDv7.
        owner: the user to whom it will belong.
        overdraft_limit: minor units by which it may go below zero.
    """

    id: UUID
    owner: UUID
    currency: str
    name: str = ""
    ledger: str = DEFAULT_LEDGER
    overdraft_limit: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)

    def validate(self) -> None:
        """Raise `UnknownCurrency` for a currency that is not in ISO 4217."""
        check_currency(self.currency)
        if self.overdraft_limit:
            check_amount(self.overdraft_limit, pointer="/overdraft_limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeAccount(Command):
    """Change what people see of an account; None leaves a member as it is.

    Args:
        expected_version: refuse unless the account is at this version; None accepts any.
    """

    id: UUID
    name: str | None = None
    metadata: dict[str, Any] | None = None
    expected_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeAccount(Command):
    """Refuse debits from now on; credits still arrive."""

    id: UUID
    reason: str = ""
    expected_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfreezeAccount(Command):
    """Allow debits again."""

    id: UUID
    reason: str = ""
    expected_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseAccount(Command):
    """Close an empty account for good."""

    id: UUID
    reason: str = ""
    expected_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTransaction(Command):
    """Move money.

    Args:
        id: of the transaction, UUIDv7.
        type: a `transfer` goes from `source` to `destination`; a `deposit` comes from outside
            to `destination`, and a `withdrawal` goes there from `source`.
        amount: minor units, 1 to 10^15.
        hold: whether the money is only reserved for now.
        expires_in_s: seconds after which reserved money is free again, 1 to 2,592,000.
        preconditions: what must be true of accounts that the caller may see; at most 20.
    """

    id: UUID
    type: TransactionType
    amount: int
    currency: str
    source: UUID | None = None
    destination: UUID | None = None
    description: str = ""
    reference: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    hold: bool = False
    expires_in_s: int = HOLD_EXPIRES_IN_S
    preconditions: tuple[Precondition, ...] = ()

    def validate(self) -> None:
        """Raise `AmountOutOfRange`, `UnknownCurrency`, `SameAccount`, or `InvalidInput`."""
        check_amount(self.amount)
        check_currency(self.currency)
        self._check_parties()
        self._check_hold()
        if self.source is not None and self.source == self.destination:
            detail = "A transfer needs two accounts: source and destination are the same."
            raise SameAccount(
                detail,
                errors=[{"pointer": "/destination", "code": SameAccount.code, "detail": detail}],
            )

    def _check_parties(self) -> None:
        faults = []
        for name, account in (("source", self.source), ("destination", self.destination)):
            if (account is not None) == (name in PARTIES[self.type]):
                continue
            code, verb = ("required", "needs a") if account is None else ("not_allowed", "has no")
            faults.append(
                {"pointer": f"/{name}", "code": code, "detail": f"A {self.type} {verb} {name}."}
            )
        if faults:
            raise InvalidInput("The accounts do not fit the type; see errors.", errors=faults)

    def _check_hold(self) -> None:
        if self.hold and self.source is None:
            _refuse("/hold", "not_allowed", "A deposit has no money of an account to reserve.")
        if not 1 <= self.expires_in_s <= HOLD_EXPIRES_IN_S_MAX:
            detail = f"A hold lasts from 1 to {HOLD_EXPIRES_IN_S_MAX} seconds."
            _refuse("/expires_in", "out_of_range", detail)
        if len(self.preconditions) > PRECONDITIONS_MAX:
            detail = f"At most {PRECONDITIONS_MAX} preconditions are looked at."
            _refuse("/preconditions", "too_many", detail)


def _refuse(pointer: str, code: str, detail: str) -> NoReturn:
    raise InvalidInput(detail, errors=[{"pointer": pointer, "code": code, "detail": detail}])


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchItem:
    """One movement of a batch, or what is wrong with it.

    Args:
        wanted: the command, or the error of an item that makes none.
        idempotency: the item's own claim to one effect.
    """

    wanted: CreateTransaction | PlatformError
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateBatch(Command):
    """Move money many times, in order.

    Args:
        items: 1 to 1,000; each sees what those before it have done.
        atomic: all or nothing; otherwise each item succeeds or fails for itself.
    """

    alone: ClassVar[bool] = True

    items: tuple[BatchItem, ...]
    atomic: bool

    def validate(self) -> None:
        """Raise `InvalidInput` for a batch without items, or of too many."""
        if not 1 <= len(self.items) <= BATCH_ITEMS_MAX:
            detail = f"A batch holds 1 to {BATCH_ITEMS_MAX} transactions."
            _refuse("/transactions", "out_of_range", detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureHold(Command):
    """Take reserved money, once; what is left of it is released.

    Args:
        id: of the transaction that reserved it.
        amount: minor units; None for all of it.
    """

    id: UUID
    amount: int | None = None

    def validate(self) -> None:
        """Raise `AmountOutOfRange`."""
        if self.amount is not None:
            check_amount(self.amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class VoidHold(Command):
    """Release reserved money; `id` is of the transaction that reserved it."""

    id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireHold(Command):
    """Release reserved money whose time is over; nothing happens before that, or twice."""

    id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class ReverseTransaction(Command):
    """Send money back where it came from.

    Args:
        id: of the reversal, UUIDv7: it is a transaction of its own.
        reverses: the transaction that moved the money.
        amount: minor units; None for all that is left.
    """

    id: UUID
    reverses: UUID
    amount: int | None = None
    reason: str = ""

    def validate(self) -> None:
        """Raise `AmountOutOfRange`."""
        if self.amount is not None:
            check_amount(self.amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactAccount(Command):
    """Remove what an account tells of a person; for the command that forgets the person."""

    id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactTransaction(Command):
    """Remove what a transaction tells of a person; for the command that forgets the person."""

    id: UUID
