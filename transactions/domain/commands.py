"""What the ledger can be asked to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from eventstore.errors import InvalidInput
from eventstore.messages import Command
from transactions.domain.money import check_amount, check_currency

TransactionType = Literal["deposit", "transfer"]
# The accounts that each type names; it names no other.
PARTIES: Mapping[TransactionType, frozenset[str]] = {
    "deposit": frozenset({"destination"}),
    "transfer": frozenset({"source", "destination"}),
}

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
            to `destination`.
        amount: minor units, 1 to 10^15.
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

    def validate(self) -> None:
        """Raise `AmountOutOfRange`, `UnknownCurrency`, `SameAccount`, or `InvalidInput`."""
        check_amount(self.amount)
        check_currency(self.currency)
        self._check_parties()
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
