"""A process with a shared breaker, importable by the processes that run it."""

import multiprocessing
import os
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from resilience import BreakerConfig, BreakerOpen, BreakerState, CircuitBreaker, Listener
from resilience.redis_store import connect
from resilience.shared_breakers import SharedBreakers

BOUND_S = 60.0
NAME = "ledger"


class _Reporter(Listener):
    """Sends each new state with the moment, on the machine's one monotonic clock."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def on_transition(self, name: str, old: BreakerState, new: BreakerState) -> None:
        self._connection.send((new.value, time.monotonic()))


def serve(connection: Connection, url: str, prefix: str, reset_s: float) -> None:
    """Do what the other end says, until it says nothing more."""
    breaker = CircuitBreaker(
        NAME, BreakerConfig(reset_s=reset_s), listeners=[_Reporter(connection)]
    )
    with connect(url, timeout_s=5.0) as client, SharedBreakers(client, [breaker], prefix=prefix):
        connection.send(("ready", time.monotonic()))
        while (order := connection.recv()) != "stop":
            match order:
                case "trip":
                    for permit in [breaker.acquire() for _ in range(10)]:
                        permit.failure()
                case "call":
                    try:
                        breaker.call(os.getpid)
                        connection.send(("passed", time.monotonic()))
                    except BreakerOpen:
                        connection.send(("refused", time.monotonic()))
                case "reset":
                    breaker.reset()


@dataclass
class Worker:
    """This end of a process that runs `serve`."""

    process: BaseProcess
    connection: Connection

    def order(self, word: str) -> None:
        """Tell the process what to do."""
        self.connection.send(word)

    def hears(self, word: str) -> float:
        """Wait for the process to report `word` next, and return when that was."""
        assert self.connection.poll(BOUND_S), f"no {word} within {BOUND_S} s"
        heard, moment_s = self.connection.recv()
        assert heard == word
        return float(moment_s)

    def kill(self) -> None:
        """End the process with SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.join(BOUND_S)
        self.connection.close()


def spawn(url: str, prefix: str, *, reset_s: float) -> Worker:
    """Start a process that runs `serve`, and return at once."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, url, prefix, reset_s), daemon=True)
    process.start()
    there.close()
    return Worker(process, here)
