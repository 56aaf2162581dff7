"""Everything that follows the log: the table of this product's lanes."""

from collections.abc import Sequence

from eventstore.records import Record
from eventstore.replication import replicate
from eventstore.subscriptions import Subscription
from transactions.aggregates import FOLDS
from transactions.notifications import notify
from transactions.projectors import project_entries
from transactions.stores import document_store, global_store


def replicate_to_document_store(records: Sequence[Record]) -> None:
    """Write events and documents into the document store."""
    replicate(document_store(), FOLDS, records)


def replicate_to_global_store(records: Sequence[Record]) -> None:
    """Write events and documents into the global store."""
    replicate(global_store(), FOLDS, records)


SUBSCRIPTIONS = (
    Subscription(
        name="mongodb",
        handle=replicate_to_document_store,
        in_transaction=False,
        description="Writes events and documents into the document store.",
    ),
    Subscription(
        name="spanner",
        handle=replicate_to_global_store,
        in_transaction=False,
        description="Writes events and documents into the global store.",
    ),
    Subscription(
        name="entries",
        handle=project_entries,
        in_transaction=True,
        description="Projects debits and credits into the entries of accounts.",
    ),
    Subscription(
        name="notifications",
        handle=notify,
        in_transaction=True,
        batch_size_max=100,
        description="Decides who is to be told of what, by e-mail.",
    ),
)
