"""Run the example: `python story.py`, after `python manage.py migrate`."""

import os
from threading import Barrier, Thread
from uuid import uuid4

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
django.setup()

import msgspec
from django.db import connection
from library import (
    BOOK,
    FOLDS,
    SHELF,
    SUBSCRIPTIONS,
    AlreadyLent,
    BookAcquired,
    BookReturned,
    lend,
)

from eventstore import erasure, keyring, subscriptions
from eventstore.aggregates import rebuild
from eventstore.clock import utc_now
from eventstore.integrity import log_faults
from eventstore.reconciliation import reconcile
from eventstore.records import Record
from eventstore.sequencer import sequence
from eventstore.store import ConcurrencyConflict, event_store


def main() -> None:
    """Tell the story of one book."""
    store, book, ada = event_store(), f"book-{uuid4()}", uuid4()

    print("save_events: expected_version 0, since the stream must not exist yet")
    store.save_events(book, [BookAcquired(title="Middlemarch")], expected_version=0)
    try:
        store.save_events(book, [BookAcquired(title="Twice")], expected_version=0)
    except ConcurrencyConflict as conflict:
        print(f"  a second writer is refused: {conflict.detail}")

    print(f"two readers want it at once: {lend_at_once(book)}")
    store.save_events(book, [BookReturned()], expected_version=2)
    lend(book, reader="Ada", reader_id=ada, until="2026-03-01")

    print("get_events(from_version=3):")
    for record in store.get_events(book, from_version=3):
        print(f"  v{record.version} {store.event_of(record)}")

    state = rebuild(BOOK, book)
    assert state is not None
    store.create_snapshot(
        book,
        version=state.version,
        state=msgspec.to_builtins(state),
        code_version=BOOK.code_version,
        now=utc_now(),
    )
    latest = store.get_latest_snapshot(book, code_version=BOOK.code_version)
    assert latest is not None
    print(f"get_latest_snapshot: version {latest.version}, {latest.state}")

    print(f"the sequencer gave {sequence()} events their position")
    seen: list[Record] = []
    last = store.replay_events(seen.append)
    print(f"replay_events: {len(seen)} events up to position {last}, in one order for everybody")
    for lane in SUBSCRIPTIONS:
        print(f"the lane {lane.name} has followed {subscriptions.run(lane)} events")
    print(f"  its document: {SHELF.read_documents([book])[book].body}")

    store.save_events(book, [BookReturned()], expected_version=4)
    keyring.forget(ada)
    # What was made from opened events is the product's to empty: here, the snapshot. The lane's
    # document forgets with the next event that it follows.
    erasure.drop_snapshots([book])
    sequence()
    subscriptions.run(SUBSCRIPTIONS[0])
    lent = [record for record in store.get_events(book) if record.type == "BookLent"][-1]
    print(f"Ada is forgotten: {store.event_of(lent)}")
    print(f"the shelf agrees with the log: {list(reconcile(SHELF, FOLDS)) == []}")
    print(f"and the chain of hashes is whole: {list(log_faults()) == []}")


def lend_at_once(book: str) -> str:
    """Let two readers ask for one book in two threads; say how it went."""
    went: list[str] = []
    start = Barrier(2)

    def ask(reader: str) -> None:
        start.wait()
        try:
            lend(book, reader=reader, reader_id=uuid4(), until="2026-02-01")
            went.append("lent")
        except AlreadyLent:
            went.append("refused")
        finally:
            connection.close()

    threads = [Thread(target=ask, args=(reader,)) for reader in ("Ada", "Ben")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ", ".join(sorted(went))


if __name__ == "__main__":
    main()
