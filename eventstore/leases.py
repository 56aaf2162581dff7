"""Leases: who may work on a checkpoint now, on the database's clock.

A lease is taken by one UPDATE that succeeds only when it is free or has run out, and raises the
epoch. Every later write names that epoch. A worker that was paused past its lease therefore
changes nothing when it wakes up (Kleppmann, "How to do distributed locking", on fencing tokens).
"""

import os
import socket
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import F, Q
from django.db.models.functions import Now
from uuid_utils.compat import uuid4

from eventstore.errors import PlatformError
from eventstore.models import Checkpoint

LEASE_S = 30


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


def new_owner() -> str:
    """Return a name for this worker that no other one has, and that tells an operator where."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid4().hex[:8]}"


def acquire(name: str, *, owner: str, lease_s: int = LEASE_S) -> Lease | None:
    """Take the lease on the checkpoint `name`; None while another one holds it or it is paused.

    A checkpoint that was never used begins at position 0.
    """
    Checkpoint.objects.get_or_create(name=name)
    free = Q(lease_expires_at__isnull=True) | Q(lease_expires_at__lte=Now())
    taken = Checkpoint.objects.filter(free, name=name, state=Checkpoint.State.RUNNING).update(
        owner=owner,
        epoch=F("epoch") + 1,
        lease_expires_at=Now() + timedelta(seconds=lease_s),
        updated_at=Now(),
    )
    if not taken:
        return None
    row = Checkpoint.objects.filter(name=name, owner=owner).first()
    return Lease(name=name, epoch=row.epoch, position=row.position) if row else None


def advance(lease: Lease, position: int, *, lease_s: int = LEASE_S) -> Lease:
    """Move the checkpoint to `position` and prolong the lease.

    Raises:
        LeaseLost: the epoch has passed on, or the subscription was paused or reset.
    """
    moved = Checkpoint.objects.filter(
        name=lease.name, epoch=lease.epoch, state=Checkpoint.State.RUNNING
    ).update(
        position=position,
        lease_expires_at=Now() + timedelta(seconds=lease_s),
        last_error="",
        updated_at=Now(),
    )
    if not moved:
        raise LeaseLost(f"{lease.name}: the lease of epoch {lease.epoch} is gone.")
    return Lease(name=lease.name, epoch=lease.epoch, position=position)


def release(lease: Lease, *, error: str = "") -> None:
    """Give the lease back at once, so that the next worker need not wait for its end."""
    Checkpoint.objects.filter(name=lease.name, epoch=lease.epoch).update(
        owner="", lease_expires_at=None, last_error=error[:2000], updated_at=Now()
    )
