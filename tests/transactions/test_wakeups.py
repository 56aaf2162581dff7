"""Wake-ups are few, keep nobody waiting, and may fail."""

import logging
import os
import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import current_app

from platform_site.celery import SEQUENCE_QUEUE
from tests.conftest import free_port
from tests.transactions.story import run_process
from tests.transactions.tools import open_account
from tests.users.tools import new_user
from transactions.models import Account
from transactions.wakeups import Waker, wake_sequencer

WAIT_S = 20.0
# How long is looked for what must not come: enough to see it, were it there.
LOOK_S = 0.1


class Sender:
    """Sends nothing: counts, and waits at each call until it is let through."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.allowed = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)

    def __call__(self) -> None:
        """Send."""
        self.begun.release()
        assert self.allowed.acquire(timeout=WAIT_S)
        self.ended.release()


def test_many_wake_ups_become_few_messages_and_the_last_one_is_never_lost() -> None:
    sender = Sender()
    many = Waker(sender, interval_s=0)
    many.wake()
    assert sender.begun.acquire(timeout=WAIT_S)
    # The first message is on its way, and may have been too early for these.
    for _ in range(1000):
        many.wake()
    for _ in range(1001):
        sender.allowed.release()
    assert sender.begun.acquire(timeout=WAIT_S)
    assert sender.ended.acquire(timeout=WAIT_S)
    assert sender.ended.acquire(timeout=WAIT_S)
    assert not sender.begun.acquire(timeout=LOOK_S)


def test_who_wakes_does_not_wait_for_the_message() -> None:
    sender = Sender()
    slow = Waker(sender, interval_s=0)
    slow.wake()
    assert sender.begun.acquire(timeout=WAIT_S)
    for _ in range(100):
        slow.wake()
    # All returned while the first message was still on its way.
    assert not sender.ended.acquire(blocking=False)
    sender.allowed.release(2)
    assert sender.ended.acquire(timeout=WAIT_S)


def test_without_a_wake_up_nothing_is_sent() -> None:
    sender = Sender()
    Waker(sender, interval_s=0)
    assert not sender.begun.acquire(timeout=LOOK_S)


def test_many_threads_at_once_start_one_sender() -> None:
    names: list[str] = []
    sent = threading.Event()

    def send() -> None:
        names.append(threading.current_thread().name)
        sent.set()

    before = threading.active_count()
    crowded = Waker(send, interval_s=0)
    barrier = threading.Barrier(16)

    def wake() -> None:
        barrier.wait(WAIT_S)
        crowded.wake()

    threads = [threading.Thread(target=wake) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert sent.wait(WAIT_S)
    assert threading.active_count() == before + 1
    assert set(names) == {"waker"}


def test_a_message_that_cannot_be_sent_is_logged_and_the_next_one_is_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failed, sent = threading.Event(), threading.Event()

    def send() -> None:
        if not failed.is_set():
            failed.set()
            raise ConnectionRefusedError("nobody listens")
        sent.set()

    waker_that_fails = Waker(send, interval_s=0)
    with caplog.at_level(logging.WARNING, logger="transactions.wakeups"):
        waker_that_fails.wake()
        assert failed.wait(WAIT_S)
        waker_that_fails.wake()
        assert sent.wait(WAIT_S)
    assert "a wake-up was not sent; beat will repeat it" in caplog.text


def test_a_process_that_was_forked_wakes_by_itself() -> None:
    messages, outlet = os.pipe()
    forked = Waker(lambda: os.write(outlet, f"{os.getpid()}\n".encode()), interval_s=0)

    def message() -> int:
        ready, _, _ = select.select([messages], [], [], WAIT_S)
        assert ready, "no message came"
        return int(os.read(messages, 100))

    forked.wake()
    assert message() == os.getpid()
    child = os.fork()
    if child == 0:
        # It must not come back into pytest, whatever happens.
        try:
            forked.wake()
            signal.pause()
        finally:
            os._exit(1)
    try:
        assert message() == child
        forked.wake()
        assert message() == os.getpid()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(messages)


@pytest.fixture
def queue() -> Iterator[Any]:
    """The sequencer's queue in the broker that is in memory, empty."""
    with current_app.connection_for_write() as connection:
        found = connection.SimpleQueue(SEQUENCE_QUEUE)
        found.clear()
        yield found
        found.clear()


def test_the_sequencer_is_what_is_woken(settings: Any, queue: Any) -> None:
    settings.REDIS_URL = "redis://somewhere"
    wake_sequencer()
    message = queue.get(timeout=WAIT_S)
    assert message.headers["task"] == "transactions.tasks.sequence"
    assert queue.qsize() == 0


def test_without_a_broker_nothing_is_sent(settings: Any, queue: Any) -> None:
    settings.REDIS_URL = ""
    wake_sequencer()
    assert queue.qsize() == 0


@pytest.mark.django_db
def test_a_command_wakes_the_sequencer(settings: Any, queue: Any) -> None:
    settings.REDIS_URL = "redis://somewhere"
    open_account(new_user())
    assert queue.get(timeout=WAIT_S).headers["task"] == "transactions.tasks.sequence"


@pytest.mark.django_db(transaction=True)
def test_a_broker_that_is_away_fails_no_command(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    assert run_process("open_accounts_without_a_broker", data_dir=tmp_path, REDIS_URL=url) == 0
    assert Account.objects.count() == 3


def test_a_thread_that_cannot_be_started_fails_no_command_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sender = Sender()
    waker = Waker(sender, interval_s=0)

    def no_more_threads(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as scarce:
        scarce.setattr(threading.Thread, "start", no_more_threads)
        waker.wake()
    waker.wake()
    assert sender.begun.acquire(timeout=WAIT_S)
    sender.allowed.release()
