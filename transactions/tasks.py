"""Celery tasks, one call each. They are wake-ups: what there is to do stands in the database."""

from celery import shared_task

from eventstore import aggregates, config, sequencer, subscriptions, tree_heads
from eventstore.clock import utc_now
from eventstore.middleware import idempotency
from transactions import expiry, mailer
from transactions.aggregates import AGGREGATES


@shared_task
def sequence() -> int:
    """Give committed events their positions, and wake every lane when there were any."""
    placed = sequencer.sequence()
    if placed:
        for subscription in config.subscriptions():
            run_subscription.delay(name=subscription.name)
    return placed


@shared_task
def run_subscription(name: str) -> int:
    """Let one lane catch up; the lane of notifications then sends what it has decided on."""
    lane = {subscription.name: subscription for subscription in config.subscriptions()}[name]
    handled = subscriptions.run(lane)
    if name == "notifications":
        mailer.send_notifications()
    return handled


@shared_task
def sign_tree_head() -> int:
    """Sign for the events that are new; return how many the head covers, 0 without a new one."""
    head = tree_heads.sign()
    return head.tree_size if head else 0


@shared_task
def expire_holds() -> int:
    """Release the money of holds whose time is over."""
    return expiry.expire_holds(now=utc_now())


@shared_task
def take_snapshots() -> int:
    """Take a snapshot of each stream that has grown by 1,000 events since its last one."""
    return aggregates.take_snapshots(AGGREGATES)


@shared_task
def purge_idempotency_records() -> int:
    """Delete idempotency records that are older than 30 days."""
    return idempotency.purge()
