"""Celery's worker as the demo runs it: killed processes, a broker that goes and comes back."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import redis
from celery import Celery
from kombu.exceptions import OperationalError

from eventstore import config
from platform_site import env
from platform_site.celery import (
    HOUSEKEEPING_QUEUE,
    LANE_TASK,
    LANES,
    MESSAGE_EXPIRES_S,
    QUEUE_LENGTH_MAX,
    QUEUE_OF_TASK,
    SCHEDULE,
    WakeUps,
    app,
    lane_queue,
)
from platform_site.demo import processes
from platform_site.supervisor import Supervisor
from tests.system.tools import eventually

pytestmark = pytest.mark.system


@dataclass(frozen=True, slots=True)
class Worker:
    """A running worker with the tasks of `tests.system.worker_app`, and its broker."""

    supervisor: Supervisor
    broker_url: str
    folder: Path

    def send(self, task: str, path: Path) -> None:
        """Publish a message once."""
        with Celery(broker=self.broker_url, set_as_current=False) as client:
            client.send_task(task, args=[str(path)], queue=HOUSEKEEPING_QUEUE, retry=False)


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("worker")
    supervisor = Supervisor(on_change=lambda _: None, say=lambda _: None)
    try:
        environment = env.for_child(DATA_DIR=str(folder))
        valkey = processes.valkey(folder, env=environment)
        supervisor.start(valkey.child)
        supervisor.wait_until_ready("valkey", timeout_s=30)
        child = processes.worker(
            folder, env={**environment, "REDIS_URL": valkey.url}, broker_url=valkey.url
        )
        app_name = {"platform_site": "tests.system.worker_app"}
        supervisor.start(replace(child, argv=[app_name.get(word, word) for word in child.argv]))
        supervisor.wait_until_ready("worker", timeout_s=60)
        yield Worker(supervisor, valkey.url, folder)
    finally:
        supervisor.stop()


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_a_task_that_kills_its_process_is_given_up_after_three_more_attempts(
    worker: Worker, tmp_path: Path
) -> None:
    died, noted = tmp_path / "died", tmp_path / "noted"
    worker.send("tests.die", died)
    eventually(lambda: lines(died) == 4, what="four attempts")
    log = worker.folder / "logs" / "worker.log"
    eventually(lambda: "Task handler raised error" in log.read_text(), what="giving up")
    worker.send("tests.note", noted)
    eventually(lambda: lines(noted) == 1, what="a worker that goes on")
    assert lines(died) == 4


def test_a_worker_goes_on_after_its_broker_was_killed(worker: Worker, tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    os.kill(worker.supervisor.pids()["valkey"], signal.SIGKILL)

    def works() -> bool:
        try:
            worker.send("tests.note", noted)
        except OperationalError:
            return False
        return lines(noted) > 0

    eventually(works, what="a message that is worked on", timeout_s=30)


def test_a_worker_goes_on_after_its_broker_was_flushed(worker: Worker, tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    with redis.Redis.from_url(worker.broker_url) as client:
        client.flushall()
    worker.send("tests.note", noted)
    eventually(lambda: lines(noted) == 1, what="a message that is worked on")


def test_every_lane_has_a_queue_and_is_woken_by_the_clock() -> None:
    assert set(LANES) == {subscription.name for subscription in config.subscriptions()}
    assert {f"lane.{lane}" for lane in LANES} <= {queue.name for queue in app.conf.task_queues}
    woken = {line["kwargs"]["name"] for line in SCHEDULE.values() if line["task"] == LANE_TASK}
    assert woken == set(LANES)


def test_every_task_has_a_queue_and_the_clock_names_only_tasks_that_exist() -> None:
    app.loader.import_default_modules()
    ours = {name for name in app.tasks if name.startswith("transactions.")}
    assert ours == {LANE_TASK, *QUEUE_OF_TASK}
    assert {line["task"] for line in SCHEDULE.values()} <= ours


def test_a_queue_that_nobody_reads_stays_short_and_its_messages_expire(
    worker: Worker,
) -> None:
    client = WakeUps(broker=worker.broker_url, set_as_current=False)
    queue = lane_queue("nobody")
    with client, redis.Redis.from_url(worker.broker_url) as broker:
        for _ in range(QUEUE_LENGTH_MAX + 20):
            client.send_task(LANE_TASK, kwargs={"name": "nobody"}, queue=queue)
        waiting = broker.lrange(queue, 0, -1)
    assert len(waiting) == QUEUE_LENGTH_MAX
    assert all(json.loads(message)["headers"]["expires"] for message in waiting)


def test_every_message_expires_before_the_broker_would_deliver_it_again() -> None:
    visibility_timeout_s = app.conf.broker_transport_options["visibility_timeout"]
    expiries = [line["options"]["expires"] for line in SCHEDULE.values()]
    assert all(0 < expires < visibility_timeout_s for expires in [*expiries, MESSAGE_EXPIRES_S])
    assert app.conf.task_time_limit < visibility_timeout_s
