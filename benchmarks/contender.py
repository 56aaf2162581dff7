"""A process of its own for each that is measured: its own settings, its own interpreter lock.

    with Contender("benchmarks.product_store:ProductStore", env={"DATABASE_URL": url}) as ours:
        rate = ours.ask("append", writers=8, count=500)

The class that is named is made in the process, which then calls its methods, or those of its
attributes (`store.append`), when it is told to: so contenders can take turns without starting
anew.
"""

import importlib
import multiprocessing
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.common import Skipped, say
from benchmarks.profiling import profiled

ANSWER_TIMEOUT_S = 600.0
STOP_TIMEOUT_S = 10.0
PROFILE = "profile"
_PROCESSES = multiprocessing.get_context("spawn")


class Failed(Exception):
    """A contender's process raised; the message is what it said."""


class Contender:
    """A process that measures when asked.

    Args:
        subject: `module:Class`, made in the process with `arguments`. It raises `Skipped` when it
            cannot run here.
        env: variables of the process, over those of this one.
        log: the file for what the process says; None for this one's.

    Raises:
        Skipped: the contender cannot run here.
        Failed: it could not be built.
    """

    def __init__(
        self,
        subject: str,
        *,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
        **arguments: Any,
    ) -> None:
        say(f"starting {subject.rpartition(':')[2]}")
        self._connection, theirs = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(
            target=_serve, args=(theirs, subject, dict(env or {}), log, arguments)
        )
        self._process.start()
        theirs.close()
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def ask(self, measurement: str, **arguments: Any) -> Any:
        """Return what the measurement returns; raise `Failed` with what it raised."""
        self._connection.send((measurement, arguments))
        return self._answer()

    def profile(self, measurement: str, **arguments: Any) -> str:
        """Return a table of where the time of the measurement goes."""
        self._connection.send((measurement, {**arguments, PROFILE: True}))
        return str(self._answer())

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(STOP_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _answer(self) -> Any:
        if not self._connection.poll(ANSWER_TIMEOUT_S):
            raise Failed(f"no answer within {ANSWER_TIMEOUT_S:.0f} s")
        try:
            state, value = self._connection.recv()
        except EOFError:
            raise Failed("the process died") from None
        if state == "skipped":
            raise Skipped(value)
        if state == "failed":
            raise Failed(value)
        return value


def ask_all(contenders: Sequence[Contender], measurement: str, **arguments: Any) -> list[Any]:
    """Ask several at once, and return what each returns."""
    with ThreadPoolExecutor(len(contenders)) as pool:
        answers = [pool.submit(each.ask, measurement, **arguments) for each in contenders]
        return [answer.result() for answer in answers]


def print_profiles(
    contenders: Mapping[str, Contender], *measurements: tuple[str, Mapping[str, Any]]
) -> None:
    """Print where the time of each measurement goes in each contender."""
    for name, contender in contenders.items():
        for measurement, arguments in measurements:
            print(f"\n== {measurement} on {name}\n")
            print(contender.profile(measurement, **arguments))


def _serve(
    connection: Connection, subject: str, env: dict[str, str], log: Path | None, arguments: Any
) -> None:
    os.environ.update(env)
    if log is not None:
        os.dup2(os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND), 2)
    module, _, name = subject.partition(":")
    made: list[Any] = []

    def make() -> None:
        try:
            made.append(getattr(importlib.import_module(module), name)(**arguments))
        except ImportError as error:
            raise Skipped(f"{error.name} is not installed: make bench installs it") from error

    _reply(connection, make)
    while True:
        try:
            measurement, given = connection.recv()
        except EOFError:
            return
        is_profiled = given.pop(PROFILE, False)
        work = partial(attrgetter(measurement)(made[0]), **given)
        _reply(connection, partial(profiled, work) if is_profiled else work)


def _reply(connection: Connection, work: Callable[[], Any]) -> None:
    try:
        answer = ("done", work())
    except Skipped as error:
        answer = ("skipped", str(error))
    except Exception as error:
        traceback.print_exc()
        answer = ("failed", f"{type(error).__name__}: {error}")
    connection.send(answer)
