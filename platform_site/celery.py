"""Celery: the worker that runs the lanes behind the log, and beat, which repeats their wake-ups.

    celery -A platform_site worker        (set REMAP_SIGTERM=SIGQUIT, see below)
    celery -A platform_site beat

# Note [Messages are wake-ups]

A message says "look whether there is work" and carries nothing but a name. The work itself lies
in the database: events without a position, lanes behind the log. So a message that is lost,
doubled, flushed or never sent costs latency, up to the period of beat's next one, and no data.
Four rules follow:

- Every message expires, long before Redis would deliver it again because its visibility timeout
  passed. A message that comes back from the dead is dropped instead of being run beside its
  successor.
- A queue holds `QUEUE_LENGTH_MAX` messages and takes no more: one that waits wakes as well as a
  thousand, and while no worker runs they would fill the broker.
- A task whose process was killed (SIGKILL, out of memory) is sent again, three times at most
  and only while it has not expired, then given up: one that kills its worker cannot do so for
  ever. Celery counts the attempts in the message itself (`task_retry_on_worker_lost`).
- Publishing is tried once and briefly: no request waits for a broker that is away.

A worker is stopped by SIGTERM; with REMAP_SIGTERM=SIGQUIT it lets running tasks finish for
`worker_soft_shutdown_timeout` seconds and puts back what is left, where it would otherwise wait
without a bound.
"""

import gc
import os
from typing import TYPE_CHECKING, Any

from celery import Celery, uuid
from celery.schedules import crontab
from celery.signals import worker_before_create_process
from django.conf import settings
from django.utils.module_loading import import_string
from kombu import Queue

if TYPE_CHECKING:
    from celery.result import AsyncResult

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "platform_site.settings")
# Checks load every view, a quarter of a process that answers no request; `migrate` makes them.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

# The lanes of `transactions.subscriptions.SUBSCRIPTIONS`, which cannot be imported before
# Django has loaded its apps; a test keeps the two equal.
LANES = ("mongodb", "spanner", "entries", "notifications")

SEQUENCE_QUEUE = "sequence"
HOUSEKEEPING_QUEUE = "housekeeping"
QUEUE_OF_TASK = {
    "transactions.tasks.sequence": SEQUENCE_QUEUE,
    "transactions.tasks.sign_tree_head": HOUSEKEEPING_QUEUE,
    "transactions.tasks.expire_holds": HOUSEKEEPING_QUEUE,
    "transactions.tasks.take_snapshots": HOUSEKEEPING_QUEUE,
    "transactions.tasks.purge_idempotency_records": HOUSEKEEPING_QUEUE,
}
LANE_TASK = "transactions.tasks.run_subscription"

SEQUENCE_PERIOD_S = 1.0
LANE_PERIOD_S = 2.0
# A new head must be there within 60 s of new events, also when a message or two are lost.
TREE_HEAD_PERIOD_S = 10.0
# Half of the time within which the money of an expired hold is promised to be free.
EXPIRY_PERIOD_S = 5.0
SNAPSHOTS_PERIOD_S = 60.0
PURGE_EXPIRES_S = 240.0
MESSAGE_EXPIRES_S = 30.0
QUEUE_LENGTH_MAX = 100


def lane_queue(lane: str) -> str:
    """Return the queue of a lane: one each, so that a slow lane delays no other."""
    return f"lane.{lane}"


def route(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], *_: Any, **__: Any
) -> dict[str, str]:
    """Return the queue of one message: that of its lane, or of its task by `QUEUE_OF_TASK`."""
    if name == LANE_TASK:
        return {"queue": lane_queue(kwargs["name"] if "name" in kwargs else args[0])}
    return {"queue": QUEUE_OF_TASK.get(name, HOUSEKEEPING_QUEUE)}


def _every(period_s: float, task: str, *, kwargs: dict[str, str] | None = None) -> dict[str, Any]:
    """Return a line of beat's schedule whose message expires just before the next one."""
    return {
        "task": task,
        "schedule": period_s,
        "kwargs": kwargs or {},
        "options": {"expires": period_s * 0.9},
    }


SCHEDULE: dict[str, dict[str, Any]] = {
    "sequence": _every(SEQUENCE_PERIOD_S, "transactions.tasks.sequence"),
    **{f"lane.{lane}": _every(LANE_PERIOD_S, LANE_TASK, kwargs={"name": lane}) for lane in LANES},
    "sign_tree_head": _every(TREE_HEAD_PERIOD_S, "transactions.tasks.sign_tree_head"),
    "expire_holds": _every(EXPIRY_PERIOD_S, "transactions.tasks.expire_holds"),
    "take_snapshots": _every(SNAPSHOTS_PERIOD_S, "transactions.tasks.take_snapshots"),
    "purge_idempotency_records": {
        "task": "transactions.tasks.purge_idempotency_records",
        "schedule": crontab(hour="3", minute="0"),
        "options": {"expires": PURGE_EXPIRES_S},
    },
}


class WakeUps(Celery):
    """Celery for messages that expire, in queues that have a bound."""

    def send_task(self, name: str, *arguments: Any, **options: Any) -> "AsyncResult[Any]":
        """Send a message unless its queue is full; everything that publishes comes by here."""
        args, kwargs = (*arguments, None, None)[:2]
        queue = route(
            name, args or options.get("args") or (), kwargs or options.get("kwargs") or {}
        )
        if options.get("expires") is None:
            options["expires"] = MESSAGE_EXPIRES_S
        with self.connection_or_acquire() as connection:
            waiting = connection.default_channel.queue_declare(queue=queue["queue"]).message_count
        if waiting >= QUEUE_LENGTH_MAX:
            return self.AsyncResult(uuid())
        return super().send_task(name, *arguments, **options)


app = WakeUps("evenkeel")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.task_queues = [
    Queue(name, routing_key=name)
    for name in (SEQUENCE_QUEUE, *map(lane_queue, LANES), HOUSEKEEPING_QUEUE)
]
app.conf.task_routes = (route,)
app.conf.beat_schedule = SCHEDULE
app.autodiscover_tasks()


@worker_before_create_process.connect
def share_memory_with_children(**_: Any) -> None:
    """Load what every task needs, and exempt it from garbage collection, which would write to it.

    Processes of the pool are forks and share the pages of their parent until one side writes. What
    each loads by itself, each has for itself.
    """
    import_string(settings.EVENTSTORE_SUBSCRIPTIONS)
    gc.collect()
    gc.freeze()
