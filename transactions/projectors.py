"""Events into read models: the entries of accounts."""

from collections.abc import Sequence
from typing import Any

from eventstore.messages import Event
from eventstore.projections import Placed, Projection
from eventstore.records import Record
from eventstore.store import event_store
from transactions.domain.events import AccountCredited, AccountDebited, HoldCaptured
from transactions.models import Entry

ENTRY_TYPES = frozenset({AccountDebited.__name__, AccountCredited.__name__, HoldCaptured.__name__})
_COLUMNS = [column.name for column in Entry._meta.concrete_fields]


def project_entries(records: Sequence[Record]) -> None:
    """Insert an entry for each debit and credit; one that is there already is left alone."""
    event_of = event_store().event_of
    Entry.objects.bulk_create(
        [entry(record, event_of(record)) for record in records if record.type in ENTRY_TYPES],
        ignore_conflicts=True,
    )


def entry(record: Record, event: Event) -> Entry:
    """Return the entry of a debit or credit."""
    placed = Placed(
        position=record.place, id=record.id, event=event, occurred_at=record.occurred_at
    )
    return Entry(**dict(zip(_COLUMNS, _entry_row(placed), strict=True)))


def entry_rows(events: Sequence[Placed]) -> list[Sequence[Any]]:
    """Return the entries of debits and credits as rows."""
    return [_entry_row(each) for each in events]


def _entry_row(placed: Placed) -> tuple[Any, ...]:
    """Return the columns of an entry, in the order of the model."""
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


ENTRIES = Projection(name="entries", model=Entry, types=ENTRY_TYPES, rows=entry_rows)
# What `rebuild_projection` can make again. Notifications are not here: what was sent is sent, and
# the lane that decides on them knows by their rows which events it has seen.
PROJECTIONS = {ENTRIES.name: ENTRIES}
