"""Every read of the log and of its readers, for the API, the health page and the metrics."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Count, Max, Min, Q

from eventstore import config, leases, marks
from eventstore.clock import utc_now
from eventstore.models import Checkpoint, Event, ParkedEvent
from eventstore.past import Instant
from eventstore.records import Record
from eventstore.rows import to_record
from eventstore.sequencer import NAME as SEQUENCER

# What a list of events may be filtered by, and the column that it is.
FILTERS: Mapping[str, str] = {
    "stream": "stream",
    "type": "type",
    "actor": "actor",
    "correlation_id": "correlation_id",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStatus:
    """How the log stands: its newest position, and what has no position yet."""

    head: int
    unsequenced: int
    oldest_unsequenced_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStatus:
    """How far one subscription has come.

    Args:
        head: the newest position of the log.
        lag_events: positions between the checkpoint and the head.
        lag_s: the age of the first event behind the checkpoint, in seconds; 0 without one.
        state: `running`, `paused` or `failing` (what it writes to is away).
        parked: open parked events.
    """

    name: str
    position: int
    head: int
    lag_events: int
    lag_s: float
    state: str
    parked: int
    last_error: str


def log_status(*, now: datetime | None = None) -> LogStatus:
    """Return how the log stands."""
    now = now or utc_now()
    waiting = Event.objects.filter(position__isnull=True)
    oldest = waiting.order_by("row").values_list("occurred_at", flat=True).first()
    return LogStatus(
        head=head(),
        unsequenced=waiting.count() if oldest else 0,
        oldest_unsequenced_s=_age_s(oldest, now),
    )


def head() -> int:
    """Return the newest position of the log; 0 when it is empty."""
    return leases.position_of(SEQUENCER)


def newest_time(*, upto: int) -> datetime | None:
    """Return the newest instant among the events up to a position, as `eventstore.marks` does."""
    return marks.newest_time(upto=upto, head=head())


def lane_status(*, now: datetime | None = None) -> list[LaneStatus]:
    """Return how far every subscription of the product has come, in the order of its table."""
    now = now or utc_now()
    head = log_status(now=now).head
    rows = {row.name: row for row in Checkpoint.objects.all()}
    parked = dict(
        ParkedEvent.objects.filter(resolution="")
        .values_list("subscription")
        .annotate(number=Count("pk"))
    )
    lanes = []
    for subscription in config.subscriptions():
        row = rows.get(subscription.name) or Checkpoint(name=subscription.name)
        state = row.state
        if state == Checkpoint.State.RUNNING and row.last_error:
            state = "failing"
        lanes.append(
            LaneStatus(
                name=row.name,
                position=row.position,
                head=head,
                lag_events=max(head - row.position, 0),
                lag_s=lag_s(row.position, now=now),
                state=str(state),
                parked=parked.get(row.name, 0),
                last_error=row.last_error,
            )
        )
    return lanes


def checkpoints() -> dict[str, int]:
    """Return the position of every reader of the log, by name."""
    return dict(Checkpoint.objects.values_list("name", "position"))


def lag_s(position: int, *, now: datetime) -> float:
    """Return the age in seconds of the first event behind `position`; 0 without one."""
    first = (
        Event.objects.filter(position__gt=position)
        .order_by("position")
        .values_list("occurred_at", flat=True)
        .first()
    )
    return _age_s(first, now)


def _age_s(instant: datetime | None, now: datetime) -> float:
    return max((now - instant).total_seconds(), 0.0) if instant else 0.0


def list_events(*, after: int, limit: int, filters: Mapping[str, str]) -> list[Record]:
    """Return up to `limit` records behind the position `after` that match all `filters`.

    Args:
        filters: names of `FILTERS` to values.
    """
    rows = Event.objects.filter(position__gt=after)
    for name, value in filters.items():
        rows = rows.filter(**{FILTERS[name]: value})
    return [to_record(row) for row in rows.order_by("position")[:limit]]


def time_of(position: int) -> datetime | None:
    """Return the instant of the event at `position`; None where there is none."""
    times = Event.objects.filter(position=position).values_list("occurred_at", flat=True)
    return times.first()


def position_of(stream: str, *, version: int) -> int | None:
    """Return the position of one event; None before it has one, and without such an event."""
    found = Event.objects.filter(stream=stream, version=version)
    return found.values_list("position", flat=True).first()


def newest_of_stream(stream: str, *, upto: int, batch_size: int = 100) -> Iterator[Record]:
    """Yield the records of a stream from the version `upto` down, placed or not, in batches."""
    while upto > 0:
        # Bounded on both sides: else MariaDB may walk the index from the newest version.
        first = max(upto - batch_size + 1, 1)
        rows = Event.objects.filter(stream=stream, version__gte=first, version__lte=upto)
        yield from map(to_record, rows.order_by("-version"))
        upto = first - 1


def get_event(event_id: UUID) -> Record | None:
    """Return the record with this id once it has its position."""
    row = Event.objects.filter(id=event_id, position__isnull=False).first()
    return to_record(row) if row else None


def newest_positions(
    correlation_ids: Iterable[str], *, instant: Instant | None = None
) -> dict[str, int]:
    """Return the newest position of each operation; one that has an event without is absent.

    Args:
        instant: as if nothing had happened after it.
    """
    rows = (
        Event.objects.filter(_up_to(instant), correlation_id__in=set(correlation_ids))
        .values_list("correlation_id")
        .annotate(newest=Max("position"), all=Count("row"), placed=Count("position"))
    )
    return {name: newest for name, newest, all_, placed in rows if name and all_ == placed}


def parked_in(subscriptions: Iterable[str], streams: Iterable[str]) -> dict[tuple[str, str], int]:
    """Return the first position parked of each (subscription, stream) that has any."""
    rows = ParkedEvent.objects.filter(
        subscription__in=set(subscriptions), stream__in=set(streams), resolution=""
    )
    firsts = rows.values_list("subscription", "stream").annotate(first=Min("position"))
    return {(subscription, stream): first for subscription, stream, first in firsts}


def _up_to(instant: Instant | None) -> Q:
    if instant is None:
        return Q()
    if instant.position is not None:
        return Q(position__lte=instant.position)
    return Q(occurred_at__lte=instant.time)


def newest_version(stream: str) -> int:
    """Return the version of the last event of `stream`; 0 without one."""
    newest = Event.objects.filter(stream=stream).aggregate(newest=Max("version"))["newest"]
    return newest or 0
