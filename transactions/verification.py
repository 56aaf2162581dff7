"""Prove that the ledger is what its log says: the chain, the heads, and the sum of all money."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import models as django_models
from django.db.models import Sum

from eventstore.aggregates import Aggregate, rebuild
from eventstore.integrity import Fault, log_faults, stream_faults
from eventstore.queries import count_of_type, newest_version
from transactions import ledger, models
from transactions.aggregates import ACCOUNT, TRANSACTION
from transactions.domain.events import AccountOpened, TransactionCreated

BATCH_SIZE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A kind of head row, and how it is rebuilt."""

    aggregate: Aggregate[Any]
    model: type[django_models.Model]
    state: Callable[[Any], Any]
    stream: Callable[[UUID], str]
    first_event: str


HEADS = (
    Head(
        aggregate=ACCOUNT,
        model=models.Account,
        state=ledger.account_state,
        stream=ledger.account_stream,
        first_event=AccountOpened.__name__,
    ),
    Head(
        aggregate=TRANSACTION,
        model=models.Transaction,
        state=ledger.transaction_state,
        stream=ledger.transaction_stream,
        first_event=TransactionCreated.__name__,
    ),
)


def ledger_faults(*, stream: str | None = None) -> Iterator[Fault]:
    """Yield what is broken, the log first; nothing when all is well.

    Args:
        stream: check this stream's versions and head only, and the whole chain.
    """
    yield from log_faults()
    yield from stream_faults(stream=stream)
    for head in HEADS:
        yield from _head_faults(head, stream=stream)
    if stream is None:
        yield from _lost_heads()
        yield from _sum_faults()


def _head_faults(head: Head, *, stream: str | None) -> Iterator[Fault]:
    """Yield a fault for each head row that is not what its events make."""
    rows = head.model._default_manager.order_by("pk")
    if stream is not None:
        if not stream.startswith(f"{head.aggregate.category}-"):
            return
        rows = rows.filter(pk=UUID(stream.partition("-")[2]))
    for row in rows.iterator(chunk_size=BATCH_SIZE):
        name, state = head.stream(row.pk), head.state(row)
        try:
            # From the first event on: a snapshot is itself something that was written.
            rebuilt = rebuild(head.aggregate, name, to_version=state.version, from_snapshot=False)
        except Exception as error:
            yield Fault(subject=name, detail=f"cannot be replayed: {error}")
            continue
        if rebuilt != state:
            detail = f"its head is not what replay makes: {_which(rebuilt, state)}"
            yield Fault(subject=name, detail=detail)
            continue
        newest = newest_version(name)
        # Writes go on meanwhile, so only a head that is still behind now has been left behind.
        row.refresh_from_db()
        if newest > head.state(row).version:
            detail = f"its head is at version {state.version}, its last event at {newest}"
            yield Fault(subject=name, detail=detail)


def _which(rebuilt: Any, state: Any) -> str:
    if rebuilt is None:
        return "it has no events"
    members: Mapping[str, Any] = {name: getattr(state, name) for name in state.__slots__}
    wrong = [name for name, value in members.items() if getattr(rebuilt, name) != value]
    return ", ".join(
        f"{name} is {members[name]!r} and should be {getattr(rebuilt, name)!r}" for name in wrong
    )


def _lost_heads() -> Iterator[Fault]:
    """Yield a fault when there are more or fewer heads than streams that have begun."""
    for head in HEADS:
        before = count_of_type(head.first_event)
        heads = head.model._default_manager.count()
        after = count_of_type(head.first_event)
        if not before <= heads <= after:
            yield Fault(
                subject=f"{head.aggregate.category} heads",
                detail=f"{before} streams have begun, and {heads} heads exist",
            )


def _sum_faults() -> Iterator[Fault]:
    """Yield a fault for each currency whose balances do not sum up to zero."""
    sums = models.Account.objects.values_list("currency").annotate(total=Sum("posted"))
    for currency, total in sums.order_by("currency"):
        if total != 0:
            yield Fault(
                subject=f"the sum of all balances in {currency}",
                detail=f"is {total} minor units instead of zero",
            )
