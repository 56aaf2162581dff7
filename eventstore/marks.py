"""Marks in the log: the newest instant among all events up to a position, every 1,000 positions.

Clocks of machines differ, so a later position may have an earlier instant. Whoever asks what had
begun at a position needs an instant that nothing before it is behind; from the nearest mark on,
it is found by looking at few events. Marks are kept as the snapshots of a stream `log`, which
nothing is appended to, and may be missing: what they save is only time.
"""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Max

from eventstore import leases
from eventstore.clock import format_time, utc_now
from eventstore.models import Event
from eventstore.sequencer import NAME as SEQUENCER
from eventstore.store import event_store

STREAM = "log"
CODE_VERSION = 1
MARK_EVERY_EVENTS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The newest instant among the events up to `position`; None when there are none."""

    position: int
    newest_time: datetime | None


def mark_before(position: int) -> Mark:
    """Return the nearest mark at `position` or before it."""
    found = event_store().get_latest_snapshot(
        STREAM, code_version=CODE_VERSION, to_version=position
    )
    if found is None:
        return Mark(position=0, newest_time=None)
    time = datetime.fromisoformat(found.state["newest_time"])
    return Mark(position=found.version, newest_time=time)


def newest_time(*, upto: int, head: int) -> datetime | None:
    """Return the newest instant among the events up to the position `upto`.

    Args:
        head: the newest position of the log.

    Returns:
        None without events, and when the way from the nearest mark is longer than the one to
        the end of the log, which then is the shorter one for whoever asks.
    """
    mark = mark_before(upto)
    if upto - mark.position > head - upto + MARK_EVERY_EVENTS:
        return None
    return _newest_time(mark, upto)


def _newest_time(mark: Mark, upto: int) -> datetime | None:
    behind = Event.objects.filter(position__gt=mark.position, position__lte=upto)
    found = behind.aggregate(newest=Max("occurred_at"))["newest"]
    return max((each for each in (found, mark.newest_time) if each), default=None)


def mark_log(*, every_events: int = MARK_EVERY_EVENTS) -> int:
    """Make the marks that are missing, one at a time in the log's order; return how many."""
    lease = leases.acquire(f"marks-{CODE_VERSION}-{every_events}", owner=leases.new_owner())
    if lease is None:
        return 0
    made = 0
    try:
        mark, head = mark_before(lease.position), leases.position_of(SEQUENCER)
        while mark.position + every_events <= head:
            position = mark.position + every_events
            mark = Mark(position=position, newest_time=_newest_time(mark, position))
            if mark.newest_time is None:
                break
            event_store().create_snapshot(
                STREAM,
                version=position,
                state={"newest_time": format_time(mark.newest_time)},
                code_version=CODE_VERSION,
                now=utc_now(),
            )
            lease = leases.advance(lease, position)
            made += 1
    except leases.LeaseLost:
        return made
    finally:
        leases.release(lease)
    return made
