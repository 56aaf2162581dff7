"""Events into read models: the entries of accounts."""

from collections.abc import Sequence

from eventstore.messages import Event
from eventstore.records import Record
from eventstore.store import event_store
from transactions.domain.events import AccountCredited, AccountDebited, HoldCaptured
from transactions.models import Entry

ENTRY_TYPES = frozenset({AccountDebited.__name__, AccountCredited.__name__, HoldCaptured.__name__})


def project_entries(records: Sequence[Record]) -> None:
    """Insert an entry for each debit and credit; one that is there already is left alone."""
    event_of = event_store().event_of
    Entry.objects.bulk_create(
        [entry(record, event_of(record)) for record in records if record.type in ENTRY_TYPES],
        ignore_conflicts=True,
    )


def entry(record: Record, event: Event) -> Entry:
    """Return the entry of a debit or credit."""
    if not isinstance(event, AccountDebited | AccountCredited | HoldCaptured):
        raise TypeError(f"{type(event).__name__} moves no money")
    debited = not isinstance(event, AccountCredited)
    return Entry(
        id=record.id,
        account=event.account,
        transaction=event.transaction,
        direction=Entry.Direction.DEBIT if debited else Entry.Direction.CREDIT,
        amount=event.amount,
        currency=event.currency,
        running_balance=event.posted,
        position=record.place,
        created_at=record.occurred_at,
    )
