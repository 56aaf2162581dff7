"""Durable readers of the log: each one a lane of its own.

A subscription reads behind its checkpoint, in batches, under a lease. What it does with a batch
and the move of its checkpoint are one transaction where its effect is in the primary database;
elsewhere the effect must be idempotent, since a batch is handed over again after a crash.

An event that cannot be handled is parked together with what follows it in its stream, and the
other streams flow on. A store that is away parks nothing: the lane stops and tries again later.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from django.db import InterfaceError, OperationalError, transaction
from django.db.models.functions import Now

from eventstore import leases
from eventstore.errors import PlatformError
from eventstore.models import Checkpoint, ParkedEvent
from eventstore.records import Record
from eventstore.store import event_store

DRAIN_S = 5.0


class StoreUnavailable(PlatformError):
    """What the subscription writes to cannot be reached; nothing is wrong with the events."""

    code = "store_unavailable"
    retryable = True


class ParkedEventNotFound(PlatformError):
    """No parked event that is still open has this id."""

    code = "parked_event_not_found"


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

    Returns 0 when another worker holds the lease or the subscription is paused. When what it
    writes to is away, the error is kept on the checkpoint for operators and the lane stops.
    """
    lease = leases.acquire(subscription.name, owner=owner or leases.new_owner())
    if lease is None:
        return 0
    started, begun_at, error = clock(), lease.position, ""
    try:
        while batch := event_store().read_log(
            after=lease.position, limit=subscription.batch_size_max
        ):
            lease = _handle_batch(subscription, lease, batch)
            if clock() - started >= drain_s:
                break
    except leases.LeaseLost:
        return lease.position - begun_at
    except TRANSIENT as cause:
        error = f"{type(cause).__name__}: {cause}"
    leases.release(lease, error=error)
    return lease.position - begun_at


def _handle_batch(
    subscription: Subscription, lease: leases.Lease, batch: Sequence[Record]
) -> leases.Lease:
    """Hand over `batch`; when an event of it is poison, one event at a time."""
    parked = _parked_streams(subscription.name)
    try:
        if parked.isdisjoint(record.stream for record in batch):
            with _unit(subscription, lease):
                subscription.handle(batch)
                return leases.advance(lease, batch[-1].place)
    except (leases.LeaseLost, *TRANSIENT):
        raise
    except Exception:  # noqa: S110 - found and parked below, one event at a time
        pass
    for record in batch:
        lease = _handle_one(subscription, lease, record, parked)
    return lease


def _handle_one(
    subscription: Subscription, lease: leases.Lease, record: Record, parked: set[str]
) -> leases.Lease:
    problem = ""
    if record.stream in parked:
        problem = "An earlier event of this stream is parked."
    else:
        try:
            with _unit(subscription, lease):
                subscription.handle([record])
                return leases.advance(lease, record.place)
        except (leases.LeaseLost, *TRANSIENT):
            raise
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
    with transaction.atomic():
        lease = leases.advance(lease, record.place)
        ParkedEvent.objects.get_or_create(
            subscription=subscription.name,
            position=record.place,
            defaults={"stream": record.stream, "error": problem[:2000], "parked_at": Now()},
        )
    parked.add(record.stream)
    return lease


@contextmanager
def _unit(subscription: Subscription, lease: leases.Lease) -> Iterator[None]:
    """Make effect and checkpoint one transaction, where the effect is in the same database.

    The fence comes first, so that a worker whose lease is gone has no effect at all.
    """
    if not subscription.in_transaction:
        leases.advance(lease, lease.position)
        yield
        return
    with transaction.atomic():
        leases.advance(lease, lease.position)
        yield


def _parked_streams(name: str) -> set[str]:
    return set(
        ParkedEvent.objects.filter(subscription=name, resolution="").values_list(
            "stream", flat=True
        )
    )


def pause(name: str) -> None:
    """Stop the lane: the worker that holds its lease is refused at its next write."""
    Checkpoint.objects.get_or_create(name=name)
    Checkpoint.objects.filter(name=name).update(state=Checkpoint.State.PAUSED, updated_at=Now())


def resume(name: str) -> None:
    """Let the lane run again."""
    Checkpoint.objects.filter(name=name).update(state=Checkpoint.State.RUNNING, updated_at=Now())


def reset(name: str, *, to: int) -> None:
    """Put the checkpoint at the position `to`; whoever works on it loses the lease.

    What lies behind is handled again, which every effect must bear: those in the primary
    database know the events they have seen, and stores write only forward.
    """
    with transaction.atomic():
        row, _ = Checkpoint.objects.select_for_update().get_or_create(name=name)
        row.position = to
        row.epoch += 1
        row.owner, row.lease_expires_at, row.last_error = "", None, ""
        row.save()


def retry_parked(subscription: Subscription, parked_id: int) -> int:
    """Handle a parked event again, and those of its stream behind it; return how many went well.

    Raises:
        ParkedEventNotFound: it is not parked, or an earlier event of its stream still is.
    """
    handled = 0
    for row in _open_of_stream(subscription.name, parked_id):
        record = event_store().read_log(after=row.position - 1, limit=1)[0]
        try:
            with transaction.atomic():
                subscription.handle([record])
                _resolve(row, ParkedEvent.Resolution.RETRIED, "")
        except Exception as error:
            ParkedEvent.objects.filter(pk=row.pk).update(
                error=f"{type(error).__name__}: {error}"[:2000]
            )
            break
        handled += 1
    return handled


def skip_parked(name: str, parked_id: int, *, reason: str) -> None:
    """Give a parked event up for this subscription, with the operator's reason."""
    _resolve(_open_of_stream(name, parked_id)[0], ParkedEvent.Resolution.SKIPPED, reason)


def _open_of_stream(name: str, parked_id: int) -> list[ParkedEvent]:
    row = ParkedEvent.objects.filter(pk=parked_id, subscription=name, resolution="").first()
    if row is None:
        raise ParkedEventNotFound(f"{name} has no open parked event {parked_id}.")
    rows = list(
        ParkedEvent.objects.filter(subscription=name, stream=row.stream, resolution="").order_by(
            "position"
        )
    )
    if rows[0].pk != parked_id:
        raise ParkedEventNotFound(
            f"Event {rows[0].pk} of the same stream comes first: retry or skip that one."
        )
    return rows


def _resolve(row: ParkedEvent, resolution: str, reason: str) -> None:
    ParkedEvent.objects.filter(pk=row.pk).update(
        resolution=resolution, reason=reason, resolved_at=Now()
    )
