"""Parked events: what a lane could not handle, and what stands behind that in its stream."""

from collections.abc import Sequence

from django.db.models import QuerySet

from eventstore.errors import PlatformError
from eventstore.models import ParkedEvent
from eventstore.records import Record
from eventstore.sql import DatabaseNow


class ParkedEventNotFound(PlatformError):
    """No parked event that is still open has this id, or another one of its stream comes first."""

    code = "parked_event_not_found"


def open_of(subscription: str) -> QuerySet[ParkedEvent]:
    """Return what is parked in the lane and neither retried nor skipped, in global order."""
    return ParkedEvent.objects.filter(subscription=subscription, resolution="").order_by("position")


def streams_of(subscription: str, records: Sequence[Record]) -> set[str]:
    """Return the streams of `records` of which an event is parked in the lane."""
    streams = {record.stream for record in records}
    return set(open_of(subscription).filter(stream__in=streams).values_list("stream", flat=True))


def park(subscription: str, records: Sequence[Record], *, error: str) -> None:
    """Park `records`, inside the caller's transaction.

    One that is parked already keeps its error; one that was resolved before the lane was reset
    is open again.
    """
    if not records:
        return
    known = ParkedEvent.objects.filter(
        subscription=subscription, position__in=[record.place for record in records]
    )
    known.exclude(resolution="").update(
        resolution="", reason="", resolved_at=None, error=error, parked_at=DatabaseNow()
    )
    there = set(known.values_list("position", flat=True))
    ParkedEvent.objects.bulk_create(
        ParkedEvent(
            subscription=subscription,
            position=record.place,
            stream=record.stream,
            error=error,
            parked_at=DatabaseNow(),
        )
        for record in records
        if record.place not in there
    )


def first_of_its_stream(subscription: str, parked_id: int) -> ParkedEvent:
    """Return the parked event `parked_id`, which must be the first open one of its stream.

    Raises:
        ParkedEventNotFound: it is not parked, or an earlier event of its stream still is.
    """
    row = open_of(subscription).filter(pk=parked_id).first()
    if row is None:
        raise ParkedEventNotFound(f"{subscription} has no open parked event {parked_id}.")
    first = open_of(subscription).filter(stream=row.stream).first() or row
    if first.pk != row.pk:
        raise ParkedEventNotFound(
            f"Event {first.pk} of the same stream comes first: retry or skip that one."
        )
    return row


def resolve(row: ParkedEvent, resolution: ParkedEvent.Resolution, *, reason: str = "") -> None:
    """Close a parked event; of two who try at once, one is refused.

    Raises:
        ParkedEventNotFound: somebody else has resolved it meanwhile.
    """
    resolved = (
        open_of(row.subscription)
        .filter(pk=row.pk)
        .update(resolution=resolution, reason=reason, resolved_at=DatabaseNow())
    )
    if not resolved:
        raise ParkedEventNotFound(f"The parked event {row.pk} has been dealt with meanwhile.")
