"""Wake the lanes after a commit, without keeping the request waiting.

A wake-up carries nothing and may be lost: every lane finds its own work, and beat repeats the
wake-ups. So requests only set a flag; one thread a process sends the message, at most one every
20 ms however many commits there were, and a broker that is away costs nobody anything.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence

from celery import current_app
from django.conf import settings

from eventstore.bus import Execute
from eventstore.messages import Envelope, Outcome

logger = logging.getLogger(__name__)

INTERVAL_S = 0.02


class Waker:
    """Calls `send` in a thread of its own, soon after `wake` and not too often.

    Args:
        send: sends the wake-up; what it raises is logged and forgotten.
        interval_s: the shortest time between two calls.
    """

    def __init__(self, send: Callable[[], object], *, interval_s: float = INTERVAL_S) -> None:
        self._send = send
        self._interval_s = interval_s
        self._begin()
        # A fork copies neither the thread nor, reliably, the locks: each process has its own.
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._due = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Ask for a wake-up; returns at once, and never fails: the command has committed."""
        self._due.set()
        if self._thread is None:
            try:
                self._start()
            except RuntimeError:
                logger.warning("no thread for wake-ups; beat repeats them", exc_info=True)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="waker", daemon=True)
                thread.start()
                # Only now: one that could not be started is tried again at the next wake-up.
                self._thread = thread

    def _run(self) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            try:
                self._send()
            except Exception:
                logger.warning("a wake-up was not sent; beat will repeat it", exc_info=True)
            time.sleep(self._interval_s)


def wake_sequencer() -> None:
    """Send the wake-up of the sequencer, which wakes the lanes; raise what the broker raises."""
    # Without a broker there is no worker either, and nobody to wake.
    if settings.REDIS_URL:
        current_app.send_task("transactions.tasks.sequence")


waker = Waker(wake_sequencer)


def wake_lanes(proceed: Execute) -> Execute:
    """Wake the sequencer once a batch has committed."""

    def execute(batch: Sequence[Envelope]) -> list[Outcome]:
        outcomes = proceed(batch)
        waker.wake()
        return outcomes

    return execute
