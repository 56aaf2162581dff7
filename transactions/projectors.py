"""Events into read models: the entries of accounts."""

from collections.abc import Sequence

from eventstore.projections import Projection
from eventstore.records import Record
from eventstore.store import event_store
from transactions.entries import ENTRY_TYPES, LANE, entry, entry_rows
from transactions.models import Entry


def project_entries(records: Sequence[Record]) -> None:
    """Insert an entry for each debit and credit; one that is there already is left alone."""
    event_of = event_store().event_of
    Entry.objects.bulk_create(
        [entry(record, event_of(record)) for record in records if record.type in ENTRY_TYPES],
        ignore_conflicts=True,
    )


ENTRIES = Projection(name=LANE, model=Entry, types=ENTRY_TYPES, rows=entry_rows)
# What `rebuild_projection` can make again. Notifications are not here: what was sent is sent, and
# the lane that decides on them knows by their rows which events it has seen.
PROJECTIONS = {ENTRIES.name: ENTRIES}
