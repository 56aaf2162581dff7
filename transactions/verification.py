"""Prove that the ledger is what its log says: the chain, the heads, and the sum of all money."""

from collections.abc import Iterator
from itertools import chain
from typing import Any
from uuid import UUID

from django.db.models import Sum

from eventstore import queries as log
from eventstore.aggregates import rebuild
from eventstore.errors import PlatformError
from eventstore.integrity import Fault, log_faults, stream_faults
from eventstore.replication import category
from transactions import models
from transactions.heads import HEADS, Head

BATCH_SIZE = 500


def ledger_checks(*, stream: str | None = None) -> list[tuple[str, Iterator[Fault]]]:
    """Return every check, the log's own first: what it looks at, and the faults that it finds.

    A check does its work while its faults are read.

    Args:
        stream: check this stream's versions and head only, and the whole chain.
    """
    checks = [
        ("the chain of hashes", log_faults()),
        ("the versions of streams", stream_faults(stream=stream)),
    ]
    if stream is not None:
        return [*checks, (f"the head of {stream}", _stream_head_faults(stream))]
    for head in HEADS:
        name = f"{head.aggregate.category} heads"
        checks += [(name, _head_faults(head)), (f"lost {name}", _lost_heads(head))]
    return [*checks, ("the sums of balances", _sum_faults())]


def ledger_faults(*, stream: str | None = None) -> Iterator[Fault]:
    """Return what is broken, as `ledger_checks` finds it; nothing when all is well."""
    return chain.from_iterable(faults for _, faults in ledger_checks(stream=stream))


def _stream_head_faults(stream: str) -> Iterator[Fault]:
    """Check the head of one stream, which must exist."""
    kinds = {head.aggregate.category: head for head in HEADS}
    head, row = kinds.get(category(stream)), None
    if head is not None and log.newest_version(stream):
        key = UUID(stream.removeprefix(f"{head.aggregate.category}-"))
        row = head.model._default_manager.filter(pk=key).first()
    if head is None or row is None:
        detail = "it has no head" if log.newest_version(stream) else "there is no such stream"
        yield Fault(subject=stream, detail=detail)
        return
    yield from _head_fault(head, row)


def _head_faults(head: Head[Any]) -> Iterator[Fault]:
    """Yield a fault for each head row that is not what its events make."""
    rows = head.model._default_manager.order_by("pk")
    batch = list(rows[:BATCH_SIZE])
    while batch:
        for row in batch:
            yield from _head_fault(head, row)
        batch = list(rows.filter(pk__gt=batch[-1].pk)[:BATCH_SIZE])


def _head_fault(head: Head[Any], row: Any) -> Iterator[Fault]:
    name, state = head.stream(row.pk), head.state(row)
    try:
        # From the first event on: a snapshot is itself something that was written.
        replayed = rebuild(head.aggregate, name, from_snapshot=False)
        if replayed is not None and replayed.version > state.version:
            # Writes go on meanwhile: only a head that still lacks these events is wrong.
            row.refresh_from_db()
            state = head.state(row)
            if state.version > replayed.version:
                replayed = rebuild(
                    head.aggregate, name, to_version=state.version, from_snapshot=False
                )
    except (PlatformError, ValueError) as error:
        yield Fault(subject=name, detail=f"cannot be replayed: {error}")
        return
    if replayed is None:
        yield Fault(subject=name, detail="it has a head, but no events")
    elif replayed != state:
        detail = f"its head is not what replay makes: {_difference(replayed, state)}"
        yield Fault(subject=name, detail=detail)


def _difference(replayed: Any, state: Any) -> str:
    return ", ".join(
        f"{name} is {getattr(state, name)!r} and should be {getattr(replayed, name)!r}"
        for name in state.__slots__
        if getattr(state, name) != getattr(replayed, name)
    )


def _lost_heads(head: Head[Any]) -> Iterator[Fault]:
    """Yield a fault for each stream that has begun and has no head row."""
    after = 0
    filters = {"type": head.first_event}
    while batch := log.list_events(after=after, limit=BATCH_SIZE, filters=filters):
        streams = {
            UUID(record.stream.removeprefix(f"{head.aggregate.category}-")): record.stream
            for record in batch
        }
        there = head.model._default_manager.filter(pk__in=streams).values_list("pk", flat=True)
        for key in sorted(streams.keys() - set(there)):
            yield Fault(subject=streams[key], detail="it has no head")
        after = batch[-1].place


def _sum_faults() -> Iterator[Fault]:
    """Yield a fault for each currency whose balances do not sum up to zero."""
    sums = models.Account.objects.values_list("currency").annotate(total=Sum("posted"))
    for currency, total in sums.order_by("currency"):
        if total != 0:
            yield Fault(
                subject=f"the sum of all balances in {currency}",
                detail=f"is {total} minor units instead of zero",
            )
