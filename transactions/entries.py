"""The entries of accounts: made of events, and read as they were at an instant.

The lane that projects them may lag, but what is said of the past must not change once the lane
has caught up. So a read of the past takes what the lane has not come to from the log itself.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from eventstore import queries as log
from eventstore.errors import PlatformError
from eventstore.messages import Event
from eventstore.projections import Placed
from eventstore.records import Record
from eventstore.store import event_store
from transactions.conditions import Conditions
from transactions.domain.account import Account
from transactions.domain.events import AccountCredited, AccountDebited, HoldCaptured
from transactions.ledger import account_stream
from transactions.models import Entry

LANE = "entries"
ENTRY_TYPES = frozenset({AccountDebited.__name__, AccountCredited.__name__, HoldCaptured.__name__})
# From when on an answer about the past is final, and so must be complete.
FINAL_AFTER = timedelta(seconds=2)
# Where a page of the newest entries is looked for first.
NEAR_VERSIONS = 1000
_COLUMNS = [column.name for column in Entry._meta.concrete_fields]


class PastNotPlaced(PlatformError):
    """Events of the instant that is asked for wait for their positions; the same soon succeeds."""

    code = "store_unavailable"
    retryable = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPage:
    """Which entries are asked for: so many, behind the position `after`, that meet conditions."""

    limit: int
    after: int | None
    conditions: Conditions


def entry_row(placed: Placed) -> tuple[Any, ...]:
    """Return the entry of a debit or credit, in the order of the model's columns."""
    event = placed.event
    if not isinstance(event, AccountDebited | AccountCredited | HoldCaptured):
        raise TypeError(f"{type(event).__name__} moves no money")
    debited = not isinstance(event, AccountCredited)
    return (
        placed.id,
        event.account,
        event.transaction,
        (Entry.Direction.DEBIT if debited else Entry.Direction.CREDIT).value,
        event.amount,
        event.currency,
        event.posted,
        placed.position,
        placed.occurred_at,
    )


def entry(record: Record, event: Event) -> Entry:
    """Return the entry of a debit or credit."""
    placed = Placed(
        position=record.place, id=record.id, event=event, occurred_at=record.occurred_at
    )
    return Entry(**dict(zip(_COLUMNS, entry_row(placed), strict=True)))


def projected(account: UUID, page: EntryPage) -> "list[Entry]":
    """Return entries as the lane has projected them, newest first."""
    return _projected(account, page)


def entries_at(account: Account, page: EntryPage, *, now: datetime) -> list[Entry]:
    """Return the entries of an account up to its version, newest first.

    Args:
        account: its state at the instant that is asked for.

    Raises:
        PastNotPlaced: one that is final by now cannot be shown yet.
    """
    # Read before the projection: what the lane does meanwhile is found in both.
    reached = log.checkpoints().get(LANE, 0)
    found: dict[int, Entry] = {}
    for each in _behind_the_lane(account, reached, now=now):
        is_behind = page.after is None or each.position < page.after
        if is_behind and all(_holds(condition, each) for condition in page.conditions):
            found[each.position] = each
        if len(found) == page.limit:
            break
    # An account's entries are in the order of its versions, so one look-up bounds them.
    stream = account_stream(account.id)
    last = log.position_of(stream, version=account.version)
    near = log.position_of(stream, version=max(account.version - NEAR_VERSIONS, 1))
    for each in _projected(account.id, page, upto=last, near=near):
        found.setdefault(each.position, each)
    return [found[position] for position in sorted(found, reverse=True)[: page.limit]]


def _projected(
    account: UUID, page: EntryPage, *, upto: int | None = None, near: int | None = None
) -> "list[Entry]":
    """Return entries up to a position; a whole page behind `near` is found without the others."""
    rows = Entry.objects.filter(account=account)
    for condition in page.conditions:
        rows = rows.filter(condition.as_q())
    if page.after is not None:
        rows = rows.filter(position__lt=page.after)
    if upto is not None:
        rows = rows.filter(position__lte=upto)
    if near is not None:
        # Bounded on one side only, MariaDB may walk the index from the present.
        found = list(rows.filter(position__gte=near).order_by("-position")[: page.limit])
        if len(found) == page.limit:
            return found
    return list(rows.order_by("-position")[: page.limit])


def _behind_the_lane(account: Account, reached: int, *, now: datetime) -> Iterator[Entry]:
    """Yield the entries of an account up to its version that the lane has not come to."""
    records = log.newest_of_stream(account_stream(account.id), upto=account.version)
    for record in _until(records, reached):
        if record.position is None:
            if record.occurred_at <= now - FINAL_AFTER:
                raise PastNotPlaced("The log has not placed all events of that time; try again.")
        elif record.type in ENTRY_TYPES:
            yield entry(record, event_store().event_of(record))


def _until(records: Iterable[Record], reached: int) -> Iterator[Record]:
    for record in records:
        if record.position is not None and record.position <= reached:
            return
        yield record


def _holds(condition: Any, each: Entry) -> bool:
    held: bool = condition.holds_for(each)
    return held


def entry_rows(events: Sequence[Placed]) -> list[Sequence[Any]]:
    """Return the entries of debits and credits as rows."""
    return [entry_row(each) for each in events]
