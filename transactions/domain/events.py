"""What can have happened in the ledger, and the one table under which it is stored.

A field is never renamed, removed or given another meaning: a new schema version gets a new class
and an upcaster from the one before.
"""

from dataclasses import dataclass
from datetime import datetime
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
class FundsHeld(Event):
    """Money of an account is reserved. `held` is all that is reserved afterwards, minor units."""

    account: UUID
    transaction: UUID
    amount: int
    currency: str
    held: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldCaptured(Event):
    """Reserved money left an account. `posted` and `held` are those afterwards, minor units."""

    account: UUID
    transaction: UUID
    amount: int
    currency: str
    posted: int
    held: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldReleased(Event):
    """Reserved money is free again. `held` is all that is reserved afterwards, minor units."""

    account: UUID
    transaction: UUID
    amount: int
    currency: str
    held: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRedacted(Event):
    """What an account told of a person is gone, in the past too; see `eventstore.keyring`."""

    account: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionCreated(Event):
    """Somebody asked for money to be moved.

    Args:
        expires_at: until when the money is reserved, when it is reserved first; else None.
        reverses: the transaction whose money goes back; else None.
    """

    transaction: UUID
    type: str
    source: UUID | None
    destination: UUID | None
    amount: int
    currency: str
    description: str
    reference: str
    metadata: dict[str, Any]
    expires_at: datetime | None
    reverses: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionHeld(Event):
    """The money is reserved, and waits to be captured, voided, or released when its time ends."""

    transaction: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionCaptured(Event):
    """So much of the reserved money is taken, in minor units; the rest is released."""

    transaction: UUID
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionVoided(Event):
    """The reserved money was released because somebody asked for it."""

    transaction: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionExpired(Event):
    """The reserved money was released because its time had come to an end."""

    transaction: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionCompleted(Event):
    """The money has moved."""

    transaction: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionReversed(Event):
    """So much of the money went back by the transaction `reversal`.

    `reversed_amount` is all that has gone back so far, in minor units.
    """

    transaction: UUID
    reversal: UUID
    amount: int
    reversed_amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionFailed(Event):
    """The money has not moved; `code` says why and `detail` tells the person."""

    transaction: UUID
    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionRedacted(Event):
    """What a transaction told of a person is gone, in the past too; see `eventstore.keyring`."""

    transaction: UUID


AccountEvent = (
    AccountOpened
    | AccountChanged
    | AccountFrozen
    | AccountUnfrozen
    | AccountClosed
    | AccountDebited
    | AccountCredited
    | FundsHeld
    | HoldCaptured
    | HoldReleased
    | AccountRedacted
)
TransactionEvent = (
    TransactionCreated
    | TransactionHeld
    | TransactionCaptured
    | TransactionVoided
    | TransactionExpired
    | TransactionCompleted
    | TransactionReversed
    | TransactionFailed
    | TransactionRedacted
)


def _without_hold_and_reversal(data: dict[str, Any]) -> dict[str, Any]:
    """Version 1 of `TransactionCreated` knew neither holds nor reversals."""
    return {**data, "expires_at": None, "reverses": None}


CODEC = Codec(
    events={
        ("AccountOpened", 1): AccountOpened,
        ("AccountChanged", 1): AccountChanged,
        ("AccountFrozen", 1): AccountFrozen,
        ("AccountUnfrozen", 1): AccountUnfrozen,
        ("AccountClosed", 1): AccountClosed,
        ("AccountDebited", 1): AccountDebited,
        ("AccountCredited", 1): AccountCredited,
        ("FundsHeld", 1): FundsHeld,
        ("HoldCaptured", 1): HoldCaptured,
        ("HoldReleased", 1): HoldReleased,
        ("AccountRedacted", 1): AccountRedacted,
        ("TransactionCreated", 2): TransactionCreated,
        ("TransactionHeld", 1): TransactionHeld,
        ("TransactionCaptured", 1): TransactionCaptured,
        ("TransactionVoided", 1): TransactionVoided,
        ("TransactionExpired", 1): TransactionExpired,
        ("TransactionCompleted", 1): TransactionCompleted,
        ("TransactionReversed", 1): TransactionReversed,
        ("TransactionFailed", 1): TransactionFailed,
        ("TransactionRedacted", 1): TransactionRedacted,
    },
    upcasters={("TransactionCreated", 1): _without_hold_and_reversal},
    personal={
        AccountOpened: {"name": "", "metadata": {}},
        AccountChanged: {"name": "", "metadata": {}},
        AccountFrozen: {"reason": ""},
        AccountUnfrozen: {"reason": ""},
        AccountClosed: {"reason": ""},
        TransactionCreated: {"description": "", "reference": "", "metadata": {}},
    },
)
