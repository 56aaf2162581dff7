"""Holds whose time is over: found along their index and released, each by a command of its own.

They are judged expired from the first instant on, by every read and every command; this only
frees the money. So it may run late, twice, or several times at once.
"""

import logging
from datetime import datetime
from uuid import UUID

from django.db.models import Q

from eventstore.messages import Context, Envelope
from transactions.dispatch import commands as command_bus
from transactions.domain import commands
from transactions.models import Transaction
from users.scopes import ADMIN

logger = logging.getLogger(__name__)

BATCH_SIZE_MAX = 500
BATCHES_MAX = 100


def expire_holds(
    *, now: datetime, batch_size_max: int = BATCH_SIZE_MAX, batches_max: int = BATCHES_MAX
) -> int:
    """Release the money of every hold whose time is over at `now`; return how many there were.

    One that cannot be released is logged, stops no other one, and is tried again by the next call.

    Args:
        batch_size_max: holds that are released in one transaction.
        batches_max: after which the rest is left to the next call.

    Raises:
        OperationalError, InterfaceError: the database is away.
    """
    released = 0
    after: tuple[datetime, UUID] | None = None
    for _ in range(batches_max):
        due = _due(now, after, limit=batch_size_max)
        released += _release([key for _, key in due], now)
        if len(due) < batch_size_max:
            break
        after = due[-1]
    return released


def _due(
    now: datetime, after: tuple[datetime, UUID] | None, *, limit: int
) -> list[tuple[datetime, UUID]]:
    """Return when holds have expired and their ids, oldest first, behind `after`."""
    rows = Transaction.objects.filter(status="held", expires_at__lte=now)
    if after is not None:
        time, key = after
        # The first condition finds its way by the index, the second one is exact.
        rows = rows.filter(expires_at__gte=time).exclude(Q(expires_at=time, pk__lte=key))
    found = rows.order_by("expires_at", "pk").values_list("expires_at", "pk")[:limit]
    return [(time, key) for time, key in found if time is not None]


def _release(holds: list[UUID], now: datetime) -> int:
    context = Context(now=now, scopes=frozenset({ADMIN}), request_id="expiry")
    outcomes = command_bus.execute_many(
        [Envelope(command=commands.ExpireHold(id=hold), context=context) for hold in holds]
    )
    for hold, outcome in zip(holds, outcomes, strict=True):
        if outcome.error is not None:
            logger.error("hold %s cannot be released: %s", hold, outcome.error.detail)
    return sum(outcome.error is None for outcome in outcomes)
