"""Who may work on a checkpoint: leases on the database's clock, fenced by their epoch."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from django.db import transaction
from django.utils import timezone

from eventstore import clock, leases, subscriptions
from eventstore.leases import Lease, LeaseLost
from eventstore.models import Checkpoint
from eventstore.sql import DatabaseNow
from tests.eventstore.tools import expire_lease, in_threads

pytestmark = pytest.mark.django_db


def taken(name: str = "lane", owner: str = "worker-1") -> Lease:
    lease = leases.acquire(name, owner=owner)
    assert lease is not None
    return lease


def row(name: str = "lane") -> Checkpoint:
    return Checkpoint.objects.get(name=name)


def test_a_checkpoint_that_was_never_used_begins_at_0() -> None:
    lease = taken()
    assert (lease.position, lease.epoch) == (0, 1)
    assert row().owner == "worker-1"


def test_a_lease_is_taken_once() -> None:
    taken()
    assert leases.acquire("lane", owner="worker-2") is None
    assert leases.acquire("lane", owner="worker-1") is None
    assert row().epoch == 1


def test_each_checkpoint_has_a_lease_of_its_own() -> None:
    taken("lane")
    taken("another lane")


def test_a_lease_that_is_given_back_is_free_at_once_and_keeps_its_position() -> None:
    leases.release(leases.advance(taken(), 7))
    lease = taken(owner="worker-2")
    assert (lease.position, lease.epoch) == (7, 2)


def test_a_lease_that_has_run_out_is_taken_over() -> None:
    taken()
    expire_lease("lane")
    assert taken(owner="worker-2").epoch == 2
    assert row().owner == "worker-2"


def test_a_late_worker_is_refused_and_changes_nothing() -> None:
    late = taken()
    expire_lease("lane")
    now = leases.advance(taken(owner="worker-2"), 5)
    with pytest.raises(LeaseLost, match="epoch 1"):
        leases.advance(late, 9)
    with pytest.raises(LeaseLost):
        leases.renew(late)
    leases.release(late, error="too late")
    assert (row().position, row().owner, row().last_error) == (5, "worker-2", "")
    assert row().lease_expires_at is not None
    leases.advance(now, 6)


def test_a_slow_worker_goes_on_while_nobody_has_taken_over() -> None:
    lease = taken()
    expire_lease("lane")
    leases.advance(lease, 3)
    assert leases.acquire("lane", owner="worker-2") is None


def test_every_write_prolongs_the_lease() -> None:
    lease = taken()
    for write in (leases.renew, partial(leases.advance, position=1)):
        expire_lease("lane")
        write(lease)
        assert leases.acquire("lane", owner="worker-2") is None


def test_a_renewed_lease_leaves_position_and_error_as_they_are() -> None:
    leases.release(leases.advance(taken(), 4), error="the store is away")
    lease = taken()
    leases.renew(lease)
    assert (row().position, row().last_error) == (4, "the store is away")
    leases.advance(lease, 5)
    assert (row().position, row().last_error) == (5, "")


def test_a_paused_checkpoint_is_taken_by_nobody_and_its_holder_is_refused() -> None:
    lease = taken()
    subscriptions.pause("lane")
    assert leases.acquire("lane", owner="worker-2") is None
    with pytest.raises(LeaseLost):
        leases.advance(lease, 9)
    subscriptions.resume("lane")
    with pytest.raises(LeaseLost):
        leases.advance(lease, 9)
    assert taken(owner="worker-2").position == 0


def test_two_workers_of_one_name_never_share_an_epoch() -> None:
    first = taken(owner="same")
    expire_lease("lane")
    second = taken(owner="same")
    with pytest.raises(LeaseLost):
        leases.renew(first)
    leases.renew(second)


def test_names_of_workers_differ() -> None:
    assert leases.new_owner() != leases.new_owner()


@pytest.mark.parametrize("skew", [timedelta(days=1), timedelta(days=-1)])
def test_the_clock_of_a_worker_does_not_matter(
    monkeypatch: pytest.MonkeyPatch, skew: timedelta
) -> None:
    def wrong() -> datetime:
        return datetime.now(UTC) + skew

    monkeypatch.setattr(timezone, "now", wrong)
    monkeypatch.setattr(clock, "utc_now", wrong)
    taken()
    assert leases.acquire("lane", owner="worker-2") is None
    in_time = Checkpoint.objects.filter(
        lease_expires_at__gt=DatabaseNow() + timedelta(seconds=leases.LEASE_S - 5),
        lease_expires_at__lte=DatabaseNow() + timedelta(seconds=leases.LEASE_S),
    )
    assert in_time.exists()
    expire_lease("lane")
    taken(owner="worker-2")


def test_times_on_the_clock_of_the_database_are_utc() -> None:
    taken()
    updated_at = row().updated_at
    assert updated_at is not None
    assert abs(updated_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_the_lane_of_a_killed_worker_is_free_again_within_30_seconds() -> None:
    assert leases.LEASE_S < 30
    taken()
    expires_at = row().lease_expires_at
    assert expires_at is not None
    assert expires_at < datetime.now(UTC) + timedelta(seconds=30)


@pytest.mark.django_db(transaction=True)
def test_of_eight_workers_at_once_one_has_the_lease() -> None:
    for number in range(3):
        name = f"lane-{number}"
        results = in_threads(
            *(partial(leases.acquire, name, owner=f"worker-{index}") for index in range(8))
        )
        held = [result for result in results if isinstance(result, Lease)]
        assert len(held) == 1, results
        assert results.count(None) == 7, results
        assert row(name).epoch == 1


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_comes_by_does_not_wait_for_the_one_who_is_in_a_transaction() -> None:
    lease = taken()
    with transaction.atomic():
        leases.renew(lease)
        assert in_threads(partial(leases.acquire, "lane", owner="worker-2")) == [None]
