"""An account: its state, what may be decided about it, and how an event changes it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from eventstore.errors import PlatformError
from eventstore.messages import Event
from transactions.domain.changes import changed
from transactions.domain.events import (
    AccountChanged,
    AccountClosed,
    AccountCredited,
    AccountDebited,
    AccountEvent,
    AccountFrozen,
    AccountOpened,
    AccountRedacted,
    AccountUnfrozen,
    FundsHeld,
    HoldCaptured,
    HoldReleased,
)
from transactions.domain.refusals import Refusal

Status = Literal["open", "frozen", "closed"]

# Of the functions below: raise it when they would make another state of the same events.
CODE_VERSION = 2

Movement = AccountDebited | AccountCredited | FundsHeld | HoldCaptured | HoldReleased


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The state of an account.

    Args:
        owner: None for the account that stands for the outside world, which has no limit.
        overdraft_limit: minor units by which `posted - held` may go below zero.
        posted: minor units that are there.
        held: minor units of these that are reserved.
        version: of the account's stream.
    """

    id: UUID
    owner: UUID | None
    ledger: str
    currency: str
    name: str
    status: Status
    overdraft_limit: int
    posted: int
    held: int
    metadata: dict[str, Any]
    version: int
    created_at: datetime
    updated_at: datetime

    @property
    def is_external(self) -> bool:
        """Whether this account stands for the outside world."""
        return self.owner is None

    @property
    def available(self) -> int:
        """Minor units that may leave."""
        return self.posted - self.held + self.overdraft_limit


class AccountIsClosed(Refusal):
    """The account takes part in nothing any more."""

    code = "account_closed"


class AccountNotEmpty(PlatformError):
    """An account can be closed only at a zero balance and without holds."""

    code = "account_not_empty"


class StaleVersion(PlatformError):
    """The account has changed since the caller read it."""

    code = "stale_version"


def check_not_closed(account: Account) -> None:
    """Raise `AccountIsClosed` for an account that takes part in nothing any more."""
    if account.status == "closed":
        raise AccountIsClosed("The account is closed.")


def change(
    account: Account, *, name: str | None, metadata: dict[str, Any] | None
) -> tuple[AccountChanged, ...]:
    """Decide on a new name and new metadata; no event when nothing would change."""
    new_name = account.name if name is None else name
    new_metadata = account.metadata if metadata is None else metadata
    if (new_name, new_metadata) == (account.name, account.metadata):
        return ()
    return (AccountChanged(account=account.id, name=new_name, metadata=new_metadata),)


def freeze(account: Account, *, reason: str) -> tuple[AccountFrozen, ...]:
    """Decide to freeze; no event when the account is frozen already."""
    check_not_closed(account)
    if account.status == "frozen":
        return ()
    return (AccountFrozen(account=account.id, reason=reason),)


def unfreeze(account: Account, *, reason: str) -> tuple[AccountUnfrozen, ...]:
    """Decide to unfreeze; no event when the account is open already."""
    check_not_closed(account)
    if account.status == "open":
        return ()
    return (AccountUnfrozen(account=account.id, reason=reason),)


def close(account: Account, *, reason: str) -> tuple[AccountClosed, ...]:
    """Decide to close; raise `AccountNotEmpty` while there is money; idempotent."""
    if account.status == "closed":
        return ()
    if account.posted or account.held:
        raise AccountNotEmpty(
            "Only an empty account can be closed: move its money away and settle its holds first."
        )
    return (AccountClosed(account=account.id, reason=reason),)


def evolve(account: Account | None, event: Event, *, version: int, at: datetime) -> Account:
    """Return the account after `event`, the one with `version` in its stream, of the instant `at`.

    Raises:
        ValueError: the event cannot follow this state, so the stream is not what was written.
    """
    if not isinstance(event, AccountEvent):
        raise ValueError(f"{type(event).__name__} is not an event of an account")
    if account is None or isinstance(event, AccountOpened):
        return _opened(account, event, version=version, at=at)
    _check_follows(account, event, version)
    return changed(account, version=version, updated_at=at, **_changes(account, event))


def _changes(account: Account, event: AccountEvent) -> dict[str, Any]:
    """Return what `event` makes of the members that it changes."""
    match event:
        case AccountDebited():
            return _balances(account, event, posted=-event.amount)
        case AccountCredited():
            return _balances(account, event, posted=event.amount)
        case FundsHeld():
            return _balances(account, event, held=event.amount)
        case HoldCaptured():
            return _balances(account, event, posted=-event.amount, held=-event.amount)
        case HoldReleased():
            return _balances(account, event, held=-event.amount)
        case AccountChanged():
            return {"name": event.name, "metadata": event.metadata}
        case AccountRedacted():
            return {"name": "", "metadata": {}}
        case AccountFrozen():
            return {"status": "frozen"}
        case AccountUnfrozen():
            return {"status": "open"}
        case AccountClosed():
            return {"status": "closed"}
        case AccountOpened():
            raise ValueError(f"account {account.id} is opened twice")


_BALANCES = ("posted", "held")
# Of the events of each set, the last one tells what all before it have made.
LAST_OF = (
    frozenset({"AccountDebited", "AccountCredited", "HoldCaptured"}),
    frozenset({"FundsHeld", "HoldCaptured", "HoldReleased"}),
)


def settle(account: Account | None, event: Event, *, version: int, at: datetime) -> Account:
    """Return the account after `event`, taking for granted what the event says of its balances.

    Events before it that are made up for by later ones, see `LAST_OF`, may have been left out.
    """
    if account is not None and isinstance(event, Movement):
        said = {name: getattr(event, name) for name in _BALANCES if hasattr(event, name)}
        return changed(account, version=version, updated_at=at, **said)
    before = changed(account, version=version - 1) if account else None
    return evolve(before, event, version=version, at=at)


def _opened(account: Account | None, event: AccountEvent, *, version: int, at: datetime) -> Account:
    if account is not None or not isinstance(event, AccountOpened) or version != 1:
        raise ValueError(
            f"{type(event).__name__} as v{version} of account {event.account}:"
            " AccountOpened is the first event, and only the first"
        )
    return Account(
        id=event.account,
        owner=event.owner,
        ledger=event.ledger,
        currency=event.currency,
        name=event.name,
        status="open",
        overdraft_limit=event.overdraft_limit,
        posted=0,
        held=0,
        metadata=event.metadata,
        version=version,
        created_at=at,
        updated_at=at,
    )


def _check_follows(account: Account, event: AccountEvent, version: int) -> None:
    if event.account != account.id or version != account.version + 1:
        raise ValueError(
            f"{type(event).__name__} as v{version} of account {event.account}"
            f" behind v{account.version} of {account.id}"
        )
    if account.status == "closed" and not isinstance(event, AccountChanged | AccountRedacted):
        raise ValueError(
            f"{type(event).__name__} as v{version} of account {account.id}, which is closed"
        )


def _balances(
    account: Account, event: Movement, *, posted: int = 0, held: int = 0
) -> dict[str, Any]:
    """Return both balances after they changed by so much, which must be what the event says."""
    balances = {"posted": account.posted + posted, "held": account.held + held}
    said = (
        getattr(event, "posted", balances["posted"]),
        getattr(event, "held", balances["held"]),
        event.currency,
    )
    is_possible = event.amount >= 1 and balances["held"] >= 0
    if not is_possible or said != (balances["posted"], balances["held"], account.currency):
        raise ValueError(
            f"account {account.id} v{account.version}: {type(event).__name__} of {event.amount}"
            f" {event.currency} behind {account.posted} posted and {account.held} held"
            f" {account.currency} does not make {said[0]} and {said[1]}"
        )
    return balances
