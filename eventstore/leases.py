"""Leases: who may work on a checkpoint now, on the database's clock.

A lease is taken by one UPDATE that succeeds only when it is free or has run out, and raises the
epoch. Every later write names that epoch. A worker that was paused past its lease therefore
changes nothing when it wakes up (Kleppmann, "How to do distributed locking", on fencing tokens).
"""

import os
import socket
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q
from uuid_utils.compat import uuid4

from eventstore.errors import PlatformError
from eventstore.models import Checkpoint
from eventstore.sql import DatabaseNow

# A lane whose worker was killed stands still for so long, and must be back within 30 s.
LEASE_S = 20
ERROR_LENGTH_MAX = 2000


class LeaseLost(PlatformError):
    """Another worker holds the lease now; what this one was doing must not be written."""

    code = "lease_lost"
    retryable = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to move the checkpoint `name`, until it is taken over."""

    name: str
    epoch: int
    position: int


def position_of(name: str) -> int:
    """Return how far the reader `name` has come; 0 for one that has never run."""
    found = Checkpoint.objects.filter(name=name).values_list("position", flat=True)
    return found.first() or 0


def new_owner() -> str:
    """Return a name for this worker that no other one has, and that tells an operator where."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid4().hex[:8]}"


def acquire(name: str, *, owner: str, lease_s: int = LEASE_S) -> Lease | None:
    """Take the lease on the checkpoint `name`; None while another one holds it or it is paused.

    A checkpoint that was never used begins at position 0.
    """
    free = Q(lease_expires_at__isnull=True) | Q(lease_expires_at__lte=DatabaseNow())
    usable = Checkpoint.objects.filter(free, name=name, state=Checkpoint.State.RUNNING)
    # A look without a lock first: its holder may have locked the row for the length of a batch,
    # and workers that come by meanwhile must not queue up behind it.
    if not usable.exists():
        _, is_new = Checkpoint.objects.get_or_create(name=name)
        if not is_new:
            return None
    with transaction.atomic():
        taken = usable.update(
            owner=owner,
            epoch=F("epoch") + 1,
            lease_expires_at=DatabaseNow() + timedelta(seconds=lease_s),
            updated_at=DatabaseNow(),
        )
        if not taken:
            return None
        # The row is locked until the commit, so this is the epoch that was just made.
        row = Checkpoint.objects.get(name=name)
    return Lease(name=name, epoch=row.epoch, position=row.position)


def take_over(name: str, *, owner: str, lease_s: int = LEASE_S) -> Lease:
    """Take the lease on `name` from whoever holds it, paused or not.

    The holder is refused at its next write; a transaction of its that has passed the fence is
    waited for. Only `confirm` and `release` are for such a lease: it is not for moving on.
    """
    Checkpoint.objects.get_or_create(name=name)
    with transaction.atomic():
        Checkpoint.objects.filter(name=name).update(
            owner=owner,
            epoch=F("epoch") + 1,
            lease_expires_at=DatabaseNow() + timedelta(seconds=lease_s),
            updated_at=DatabaseNow(),
        )
        row = Checkpoint.objects.get(name=name)
    return Lease(name=name, epoch=row.epoch, position=row.position)


def confirm(lease: Lease, *, lease_s: int = LEASE_S) -> None:
    """Prolong a lease that was taken over; raise `LeaseLost` when it has been lost since."""
    held = Checkpoint.objects.filter(name=lease.name, epoch=lease.epoch, position=lease.position)
    if not held.update(lease_expires_at=DatabaseNow() + timedelta(seconds=lease_s)):
        raise LeaseLost(f"{lease.name}: the lease of epoch {lease.epoch} is gone.")


def renew(lease: Lease, *, lease_s: int = LEASE_S) -> None:
    """Prolong the lease without moving the checkpoint: the fence in front of an effect.

    In a transaction this locks the checkpoint's row, so that whoever takes over waits for the
    commit.

    Raises:
        LeaseLost: the epoch has passed on, or the subscription was paused or reset.
    """
    _write(lease, lease_s=lease_s)


def advance(lease: Lease, position: int, *, lease_s: int = LEASE_S) -> Lease:
    """Move the checkpoint to `position`, prolong the lease, and forget the last error.

    Raises:
        LeaseLost: the epoch has passed on, or the subscription was paused or reset.
    """
    _write(lease, lease_s=lease_s, position=position, last_error="")
    return replace(lease, position=position)


def _write(lease: Lease, *, lease_s: int, **changes: Any) -> None:
    written = Checkpoint.objects.filter(
        name=lease.name, epoch=lease.epoch, state=Checkpoint.State.RUNNING
    ).update(
        lease_expires_at=DatabaseNow() + timedelta(seconds=lease_s),
        updated_at=DatabaseNow(),
        **changes,
    )
    if not written:
        raise LeaseLost(f"{lease.name}: the lease of epoch {lease.epoch} is gone.")


def release(lease: Lease, *, error: str = "") -> None:
    """Give the lease back at once, so that the next worker need not wait for its end.

    Does nothing when the lease has passed to another.

    Args:
        error: why the work stopped, kept for operators; none when it came to its end.
    """
    Checkpoint.objects.filter(name=lease.name, epoch=lease.epoch).update(
        owner="",
        lease_expires_at=None,
        last_error=error[:ERROR_LENGTH_MAX],
        updated_at=DatabaseNow(),
    )
