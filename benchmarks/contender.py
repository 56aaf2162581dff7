"""A process of its own for each that is measured: its own settings, its own interpreter lock.

    with Contender("benchmarks.product:store", env={"DATABASE_URL": url}) as ours:
        rate = ours.ask("append", count=500)

The function that is named builds what is needed and returns its measurements by name; the
process then waits for orders, so that contenders can take turns without starting anew.
"""

import importlib
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from benchmarks.common import Skipped

ANSWER_TIMEOUT_S = 600.0
STOP_TIMEOUT_S = 10.0
_PROCESSES = multiprocessing.get_context("spawn")


class Failed(Exception):
    """A contender's process raised; the message is what it said."""


class Contender:
    """A process that measures when asked.

    Args:
        build: `module:function`; called in the process with `arguments`, it returns a function
            for each measurement. It raises `Skipped` when it cannot run here.
        env: variables of the process, over those of this one.

    Raises:
        Skipped: the contender cannot run here.
        Failed: it could not be built.
    """

    def __init__(
        self, build: str, *, env: Mapping[str, str] | None = None, **arguments: Any
    ) -> None:
        self._connection, theirs = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(
            target=_serve, args=(theirs, build, dict(env or {}), arguments), daemon=False
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


def _serve(connection: Connection, build: str, env: dict[str, str], arguments: Any) -> None:
    os.environ.update(env)
    module, _, function = build.partition(":")
    measurements: dict[str, Any] = {}

    def prepare() -> None:
        try:
            measurements.update(getattr(importlib.import_module(module), function)(**arguments))
        except ImportError as error:
            raise Skipped(f"{error.name} is not installed: make bench installs it") from error

    _reply(connection, prepare)
    while True:
        try:
            name, given = connection.recv()
        except EOFError:
            return
        _reply(connection, lambda: measurements[name](**given))  # noqa: B023 - called at once


def _reply(connection: Connection, work: Any) -> None:
    try:
        answer = ("done", work())
    except Skipped as error:
        answer = ("skipped", str(error))
    except Exception as error:
        answer = ("failed", f"{type(error).__name__}: {error}")
    connection.send(answer)
