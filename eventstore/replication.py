"""Write the log into the stores that follow it.

Each store is a lane of its own (`eventstore.subscriptions`), so that a slow or broken one delays
neither the others nor a request. A batch is written as it is; the documents are folded forward
from what the store itself has, and rebuilt from the log where it has lost something.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eventstore.records import Record
from eventstore.store import event_store
from eventstore.stores import Document, Store

# Makes the next body of a document from the one before (None at first) and a record.
Fold = Callable[[dict[str, Any] | None, Record], dict[str, Any]]
Folds = Mapping[str, Fold]


def category(stream: str) -> str:
    """Return what kind of stream this is: `account` of `account-<id>`."""
    return stream.partition("-")[0]


def replicate(store: Store, folds: Folds, records: Sequence[Record]) -> None:
    """Write `records` and the documents that they change into `store`; safe to repeat.

    Args:
        folds: by category of stream; a stream of no category here has no document.

    Raises:
        StoreUnavailable: nothing is wrong with the records; try again later.
        UnknownEvent: the code does not know one of the events.
    """
    store.write_events(records)
    changed = [record for record in records if category(record.stream) in folds]
    documents = store.read_documents({record.stream for record in changed})
    touched: dict[str, Document] = {}
    for record in changed:
        document = touched.get(record.stream) or documents.get(record.stream)
        version = document.version if document else 0
        if record.version <= version:
            continue
        if record.version == version + 1:
            touched[record.stream] = _fold(folds, document, record)
        else:
            touched[record.stream] = fold_stream(folds, record.stream, to_version=record.version)
    if touched:
        store.write_documents(list(touched.values()))


def _fold(folds: Folds, document: Document | None, record: Record) -> Document:
    body = folds[category(record.stream)](document.body if document else None, record)
    return Document(stream=record.stream, version=record.version, body=body)


def fold_stream(folds: Folds, stream: str, *, to_version: int) -> Document:
    """Return the document of `stream` at `to_version`, from the log alone."""
    document: Document | None = None
    for record in event_store().get_events(stream, to_version=to_version):
        document = _fold(folds, document, record)
    if document is None:
        raise ValueError(f"{stream} has no events")
    return document
