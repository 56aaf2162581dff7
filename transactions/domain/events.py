"""What can have happened in the ledger, and the one table under which it is stored.

A field is never renamed, removed or given another meaning: a new schema version gets a new class
and an upcaster from the one before.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from eventstore.codec import Codec
from eventstore.messages import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountOpened(Event):
    """An account exists. `owner` is null for the account that stands for the outside world."""

    account: UUID
    owner: UUID | None
    ledger: str
    currency: str
    name: str
    overdraft_limit: int
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChanged(Event):
    """Name and metadata of an account are these now."""

    account: UUID
    name: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFrozen(Event):
    """An account refuses debits."""

    account: UUID
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountUnfrozen(Event):
    """An account allows debits again."""

    account: UUID
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountClosed(Event):
    """An account takes part in nothing any more."""

    account: UUID
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountDebited(Event):
    """Money left an account. `posted` is its balance afterwards, in minor units."""

    account: UUID
    transaction: UUID
    amount: int
    currency: str
    posted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountCredited(Event):
    """Money arrived on an account. `posted` is its balance afterwards, in minor units."""

    account: UUID
    transaction: UUID
    amount: int
    currency: str
    posted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionCreated(Event):
    """Somebody asked for money to be moved."""

    transaction: UUID
    type: str
    source: UUID | None
    destination: UUID | None
    amount: int
    currency: str
    description: str
    reference: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionCompleted(Event):
    """The money has moved."""

    transaction: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionFailed(Event):
    """The money has not moved; `code` says why and `detail` tells the person."""

    transaction: UUID
    code: str
    detail: str


AccountEvent = (
    AccountOpened
    | AccountChanged
    | AccountFrozen
    | AccountUnfrozen
    | AccountClosed
    | AccountDebited
    | AccountCredited
)
TransactionEvent = TransactionCreated | TransactionCompleted | TransactionFailed

CODEC = Codec(
    events={
        ("AccountOpened", 1): AccountOpened,
        ("AccountChanged", 1): AccountChanged,
        ("AccountFrozen", 1): AccountFrozen,
        ("AccountUnfrozen", 1): AccountUnfrozen,
        ("AccountClosed", 1): AccountClosed,
        ("AccountDebited", 1): AccountDebited,
        ("AccountCredited", 1): AccountCredited,
        ("TransactionCreated", 1): TransactionCreated,
        ("TransactionCompleted", 1): TransactionCompleted,
        ("TransactionFailed", 1): TransactionFailed,
    },
    upcasters={},
)
