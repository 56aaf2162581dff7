"""The stores that follow the log, by the names under which the API shows them."""

from collections.abc import Callable, Mapping

from django.conf import settings

from eventstore.stores import Store
from eventstore.stores.sqlite import SQLiteStore


def document_store() -> Store:
    """Return the document store: an SQLite file in MongoDB's place."""
    return SQLiteStore(name="mongodb", path=settings.DOCUMENT_STORE_FILE)


def global_store() -> Store:
    """Return the global store: an SQLite file in Spanner's place."""
    return SQLiteStore(name="spanner", path=settings.GLOBAL_STORE_FILE)


AUTHORITY = "mysql"
STORES: Mapping[str, Callable[[], Store]] = {"mongodb": document_store, "spanner": global_store}
