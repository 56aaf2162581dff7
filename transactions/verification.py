"""Prove that the ledger is what its log says: the chain, the heads, and the sums of all money."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any
from uuid import UUID

from django.db.models import Sum

from eventstore.errors import PlatformError
from eventstore.integrity import Fault, begun, log_faults, stream_batches, stream_faults
from eventstore.records import Record
from eventstore.replication import category
from eventstore.store import event_store
from transactions import models
from transactions.heads import HEADS, Head
from transactions.rows import load_accounts, load_transactions

BATCH_SIZE = 500

# By category: returns the states that head rows with these ids hold.
LOADERS: Mapping[str, Callable[[Iterable[UUID]], Sequence[Any]]] = {
    "account": load_accounts,
    "transaction": load_transactions,
}

Progress = Callable[[int], None]


def ledger_checks(
    *, stream: str | None = None, on_progress: Progress = lambda _: None
) -> list[tuple[str, Iterator[Fault]]]:
    """Return every check, the log's own first: what it looks at, and the faults that it finds.

    A check does its work while its faults are read.

    Args:
        stream: check this stream's versions and head only, and the whole chain.
        on_progress: told now and then how many events a check has read.
    """
    checks = [
        ("the chain of hashes and the tree heads", log_faults(on_progress=on_progress)),
        ("the versions of streams", stream_faults(stream=stream)),
    ]
    if stream is not None:
        return [*checks, (f"the head of {stream}", _stream_head_faults(stream))]
    for head in HEADS:
        kind = head.aggregate.category
        checks += [
            (f"{kind} heads", _head_faults(head, on_progress)),
            (f"{kind} heads without events", _made_up_heads(head)),
        ]
    return [
        *checks,
        ("the sums of balances", _sum_faults()),
        ("the sums of holds", _held_faults()),
    ]


def ledger_faults(*, stream: str | None = None) -> Iterator[Fault]:
    """Return what is broken, as `ledger_checks` finds it; nothing when all is well."""
    return chain.from_iterable(faults for _, faults in ledger_checks(stream=stream))


@dataclass(slots=True)
class _Replayed:
    """What the events of a stream make, read so far.

    Args:
        error: why they make nothing; what comes behind is passed over.
    """

    state: Any = None
    error: str = ""

    def add(self, head: Head[Any], records: Iterator[Record] | Sequence[Record]) -> None:
        """Apply the next records of the stream.

        From the first event on, never from a snapshot: that is itself something that was written.
        """
        for record in records:
            if self.error:
                return
            try:
                self.state = head.aggregate.apply(self.state, record)
            except (PlatformError, ValueError) as error:
                self.error = f"cannot be replayed: {error}"


def _head_faults(head: Head[Any], on_progress: Progress) -> Iterator[Fault]:
    """Yield a fault for each stream whose head is not what its events make, or is not there."""
    streams: dict[str, _Replayed] = {}
    read = 0
    for batch in stream_batches(head.aggregate.category):
        for record in batch:
            streams.setdefault(record.stream, _Replayed()).add(head, (record,))
        # The last stream may go on in the next batch.
        last = batch[-1].stream
        open_stream = {last: streams.pop(last)}
        yield from _compare(head, streams)
        streams = open_stream
        read += len(batch)
        on_progress(read)
    yield from _compare(head, streams)


def _compare(head: Head[Any], streams: Mapping[str, _Replayed]) -> Iterator[Fault]:
    """Yield a fault for each of `streams` whose head row is not its replayed state.

    The rows are read behind the events, in whose transactions they change: they are never older.
    """
    prefix = f"{head.aggregate.category}-"
    keys = {name: _key(name.removeprefix(prefix)) for name in streams}
    load = LOADERS[head.aggregate.category]
    states = {state.id: state for state in load(key for key in keys.values() if key)}
    for name, replayed in streams.items():
        state = states.get(keys[name])
        if state is None:
            yield Fault(subject=name, detail="it has no head")
        else:
            yield from _head_fault(head, name, state, replayed)


def _key(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _head_fault(head: Head[Any], name: str, state: Any, replayed: _Replayed) -> Iterator[Fault]:
    if replayed.state is not None and replayed.state.version < state.version:
        # Writes go on meanwhile: only a head that these events do not explain is wrong.
        first = replayed.state.version + 1
        behind = event_store().get_events(name, from_version=first, to_version=state.version)
        replayed.add(head, behind)
    if replayed.error:
        yield Fault(subject=name, detail=replayed.error)
    elif replayed.state != state:
        detail = f"its head is not what replay makes: {_difference(replayed.state, state)}"
        yield Fault(subject=name, detail=detail)


def _stream_head_faults(stream: str) -> Iterator[Fault]:
    """Check the head of one stream, which must exist."""
    kinds = {head.aggregate.category: head for head in HEADS}
    head, replayed = kinds.get(category(stream)), _Replayed()
    if head is None or not begun([stream]):
        yield Fault(subject=stream, detail="there is no such stream")
        return
    replayed.add(head, event_store().get_events(stream))
    yield from _compare(head, {stream: replayed})


def _difference(replayed: Any, state: Any) -> str:
    return ", ".join(
        f"{name} is {getattr(state, name)!r} and should be {getattr(replayed, name)!r}"
        for name in state.__slots__
        if getattr(state, name) != getattr(replayed, name)
    )


def _made_up_heads(head: Head[Any]) -> Iterator[Fault]:
    """Yield a fault for each head row of which no event tells."""
    keys = head.model._default_manager.order_by("pk").values_list("pk", flat=True)
    batch = list(keys[:BATCH_SIZE])
    while batch:
        streams = [head.stream(key) for key in batch]
        there = begun(streams)
        for name in streams:
            if name not in there:
                yield Fault(subject=name, detail="it has a head, but no events")
        batch = list(keys.filter(pk__gt=batch[-1])[:BATCH_SIZE])


def _sum_faults() -> Iterator[Fault]:
    """Yield a fault for each ledger and currency whose balances do not sum up to zero."""
    sums = models.Account.objects.values_list("ledger", "currency").annotate(total=Sum("posted"))
    for ledger, currency, total in sums.order_by("ledger", "currency"):
        if total != 0:
            yield Fault(
                subject=f"the sum of all balances in {currency} of the ledger {ledger}",
                detail=f"is {total} minor units instead of zero",
            )


def _held_faults() -> Iterator[Fault]:
    """Yield a fault for each account whose `held` is not the sum of its open holds.

    Both are read by one statement, so that what is written meanwhile changes neither alone.
    """
    # By hand: a subquery for each account, as the ORM makes it, reads all open holds every time.
    accounts, transactions = models.Account._meta.db_table, models.Transaction._meta.db_table
    found = models.Account.objects.raw(
        "SELECT account.id, account.held, COALESCE(holds.total, 0) AS open_holds"  # noqa: S608
        f" FROM {accounts} AS account LEFT JOIN (SELECT source, SUM(amount) AS total"
        f" FROM {transactions} WHERE status = 'held' GROUP BY source) AS holds"
        " ON holds.source = account.id WHERE account.held <> COALESCE(holds.total, 0)"
        f" ORDER BY account.id LIMIT {BATCH_SIZE}"
    )
    for row in found:
        total = row.open_holds  # type: ignore[attr-defined]
        yield Fault(
            subject=f"account-{row.pk}",
            detail=f"{row.held} minor units are held, but its open holds sum up to {total}",
        )
