"""Durable readers of the log: each one a lane of its own.

A subscription reads behind its checkpoint, in batches, under a lease. What it does with a batch
and the move of its checkpoint are one transaction where its effect is in the primary database;
elsewhere the effect must be idempotent, since a batch is handed over again after a crash.

An event that cannot be handled is parked together with what follows it in its stream, and the
other streams flow on. A store that is away parks nothing: the lane stops and tries again later.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F

from eventstore import leases, parked
from eventstore.errors import InvalidInput
from eventstore.models import Checkpoint, ParkedEvent
from eventstore.records import Record
from eventstore.sequencer import NAME as SEQUENCER
from eventstore.sql import DatabaseNow
from eventstore.store import event_store
from eventstore.stores import StoreUnavailable

logger = logging.getLogger(__name__)

DRAIN_S = 5.0
BEHIND_A_PARKED_EVENT = "An earlier event of this stream is parked."


# Errors of the outside world: the same batch may succeed a moment later.
TRANSIENT = (StoreUnavailable, OperationalError, InterfaceError, ConnectionError, TimeoutError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A reader of the log.

    Args:
        name: of the lane and of its checkpoint.
        handle: takes a batch of records in global order, each with a position.
        in_transaction: the effect of `handle` is in the primary database, and commits together
            with the checkpoint. Otherwise `handle` must be idempotent.
        batch_size_max: records handed over at a time.
        description: one sentence for operators.
    """

    name: str
    handle: Callable[[Sequence[Record]], None]
    in_transaction: bool
    batch_size_max: int = 500
    description: str = ""


def run(
    subscription: Subscription,
    *,
    owner: str | None = None,
    drain_s: float = DRAIN_S,
    clock: Callable[[], float] = monotonic,
) -> int:
    """Handle what is behind the checkpoint, for at most about `drain_s`; return how many events.

    Returns 0 when there is nothing to do, when another worker holds the lease, and when the
    subscription is paused. When what it writes to is away, the error is kept on the checkpoint
    for operators and the lane stops.
    """
    # A look first: a lane that has caught up writes nothing, however often it is woken.
    if not event_store().read_log(after=_position(subscription.name), limit=1):
        return 0
    lease = leases.acquire(subscription.name, owner=owner or leases.new_owner())
    if lease is None:
        return 0
    position, ends_at, error = lease.position, clock() + drain_s, ""
    try:
        for moved in _handle_log(subscription, lease):
            position = moved.position
            if clock() >= ends_at:
                break
    except leases.LeaseLost:
        logger.warning("%s: the lease was taken over, or the lane stopped", subscription.name)
    except TRANSIENT as cause:
        error = _describe(cause)
    except Exception as cause:
        error = _describe(cause)
        raise
    finally:
        leases.release(lease, error=error)
    return position - lease.position


def _position(name: str) -> int:
    return Checkpoint.objects.filter(name=name).values_list("position", flat=True).first() or 0


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[: leases.ERROR_LENGTH_MAX]


def _handle_log(subscription: Subscription, lease: leases.Lease) -> Iterator[leases.Lease]:
    """Hand over batch after batch; yield the lease after every commit."""
    while batch := event_store().read_log(after=lease.position, limit=subscription.batch_size_max):
        stuck = parked.streams_of(subscription.name, batch)
        moved = _hand_over_whole(subscription, lease, batch, stuck)
        if moved is not None:
            lease = moved
            yield lease
            continue
        for record in batch:
            lease = _handle_one(subscription, lease, record, stuck)
            yield lease


def _hand_over_whole(
    subscription: Subscription, lease: leases.Lease, batch: Sequence[Record], stuck: set[str]
) -> leases.Lease | None:
    """Hand over all of `batch` at once; None when something in it is poison."""
    try:
        return _hand_over(subscription, lease, batch, stuck)
    except (leases.LeaseLost, *TRANSIENT):
        raise
    except Exception:
        logger.info("%s: a batch failed; one event at a time", subscription.name, exc_info=True)
        return None


def _hand_over(
    subscription: Subscription, lease: leases.Lease, records: Sequence[Record], stuck: set[str]
) -> leases.Lease:
    """Handle `records`, park those of `stuck` streams, and move the checkpoint behind them."""
    flowing = [record for record in records if record.stream not in stuck]
    with _unit(subscription, lease):
        if flowing:
            subscription.handle(flowing)
        with transaction.atomic():
            waiting = [record for record in records if record.stream in stuck]
            parked.park(subscription.name, waiting, error=BEHIND_A_PARKED_EVENT)
            return leases.advance(lease, records[-1].place)


@contextmanager
def _unit(subscription: Subscription, lease: leases.Lease) -> Iterator[None]:
    """Make effect and checkpoint one transaction, where the effect is in the same database.

    The fence comes first, so that a worker whose lease is gone has no effect at all.
    """
    if not subscription.in_transaction:
        leases.renew(lease)
        yield
        return
    with transaction.atomic():
        leases.renew(lease)
        yield


def _handle_one(
    subscription: Subscription, lease: leases.Lease, record: Record, stuck: set[str]
) -> leases.Lease:
    """Handle one record, or park it, and then its stream is one of `stuck`."""
    try:
        return _hand_over(subscription, lease, [record], stuck)
    except (leases.LeaseLost, *TRANSIENT):
        raise
    except Exception as error:
        logger.warning("%s: event %s is parked", subscription.name, record.id, exc_info=True)
        problem = _describe(error)
    with transaction.atomic():
        lease = leases.advance(lease, record.place)
        parked.park(subscription.name, [record], error=problem)
    stuck.add(record.stream)
    return lease


def pause(name: str) -> None:
    """Stop the lane: the worker that holds its lease is refused at its next write."""
    Checkpoint.objects.get_or_create(name=name)
    _take_away(name, state=Checkpoint.State.PAUSED)


def resume(name: str) -> None:
    """Let the lane run again."""
    Checkpoint.objects.filter(name=name).update(
        state=Checkpoint.State.RUNNING, updated_at=DatabaseNow()
    )


def reset(name: str, *, to: int) -> None:
    """Put the checkpoint at the position `to`; whoever works on it loses the lease.

    What lies behind is handled again, which every effect must bear: those in the primary
    database know the events they have seen, and stores write only forward.

    Raises:
        InvalidInput: the log has no such position, and the lane would skip what is yet to come.
    """
    head = _position(SEQUENCER)
    if not 0 <= to <= head:
        detail = f"A lane can be put at the positions 0 to {head}; 0 begins with the first event."
        raise InvalidInput(
            detail, errors=[{"parameter": "to", "code": "out_of_range", "detail": detail}]
        )
    Checkpoint.objects.get_or_create(name=name)
    _take_away(name, position=to, last_error="")


def _take_away(name: str, **changes: str | int) -> None:
    """Change a checkpoint and take it away from whoever holds its lease."""
    Checkpoint.objects.filter(name=name).update(
        epoch=F("epoch") + 1,
        owner="",
        lease_expires_at=None,
        updated_at=DatabaseNow(),
        **changes,
    )


def retry_parked(subscription: Subscription, parked_id: int) -> int:
    """Handle a parked event again, and those of its stream behind it; return how many went well.

    It stops at the first that fails again, which then says why.

    Raises:
        ParkedEventNotFound: it is not parked, or an earlier event of its stream still is.
    """
    row: ParkedEvent | None = parked.first_of_its_stream(subscription.name, parked_id)
    handled = 0
    while row is not None and _retry(subscription, row):
        handled += 1
        row = parked.open_of(subscription.name).filter(stream=row.stream).first()
    return handled


def _retry(subscription: Subscription, row: ParkedEvent) -> bool:
    try:
        with transaction.atomic():
            # Claimed first: of two operators who retry it at once, the second finds it resolved.
            parked.resolve(row, ParkedEvent.Resolution.RETRIED)
            subscription.handle([event_store().read_at(row.position)])
    except parked.ParkedEventNotFound:
        return False
    except Exception as error:
        parked.open_of(subscription.name).filter(pk=row.pk).update(error=_describe(error))
        return False
    return True


def skip_parked(name: str, parked_id: int, *, reason: str) -> None:
    """Give a parked event up for this subscription, with the operator's reason.

    Those of its stream behind it stay parked until they are retried.

    Raises:
        InvalidInput: the reason is blank.
        ParkedEventNotFound: it is not parked, or an earlier event of its stream still is.
    """
    if not reason.strip():
        detail = "Say for what reason the event is given up."
        raise InvalidInput(
            detail, errors=[{"parameter": "reason", "code": "blank", "detail": detail}]
        )
    row = parked.first_of_its_stream(name, parked_id)
    parked.resolve(row, ParkedEvent.Resolution.SKIPPED, reason=reason)
