"""Children of the tests' process, on the tests' database: killed at a chosen step, or many at once.

A fork takes milliseconds where a new Python takes a second, so that each step of a write can have
a child of its own. Connections do not survive a fork: they are closed before.
"""

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import connection, connections

T = TypeVar("T")


class _Steps:
    """Counts what is said to the database, and kills this process before one of the steps."""

    def __init__(self, last: int) -> None:
        self.left = last

    def __call__(self) -> None:
        """Count a step, or die of it."""
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1

    def before_statement(self, execute: Any, sql: str, *rest: Any) -> Any:
        """Count a statement; Django's hook `execute_wrapper`."""
        self()
        return execute(sql, *rest)

    def around(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Count what the driver is told without a statement, before it and after it."""

        def told(*arguments: Any) -> Any:
            self()
            result = method(*arguments)
            self()
            return result

        return told


@contextmanager
def _killed_after(steps: int) -> Iterator[None]:
    count = _Steps(steps)
    wrapped: Any = connection
    for name in ("_commit", "_rollback", "_set_autocommit"):
        setattr(wrapped, name, count.around(getattr(wrapped, name)))
    with connection.execute_wrapper(count.before_statement):
        yield


def survives(write: Callable[[], object], *, steps: int) -> bool:
    """Run `write` in a child that is killed (SIGKILL) once it has taken so many steps.

    A step is a statement, or BEGIN or COMMIT; what is behind a commit is a step of its own.

    Returns:
        whether the child came to its end before.
    """

    def run() -> None:
        with _killed_after(steps):
            write()

    child, _ = _fork(run)
    code = _exit_code(child)
    assert code in {0, -signal.SIGKILL}, code
    return code == 0


def in_processes(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Run `calls` in processes that start together; return their results in order."""
    start, release = os.pipe()

    def waiting(call: Callable[[], T]) -> Callable[[], T]:
        def run() -> T:
            os.close(release)
            # Reads the end of the pipe as soon as the parent has closed it, as all others do.
            os.read(start, 1)
            return call()

        return run

    children = [_fork(waiting(call)) for call in calls]
    os.close(start)
    os.close(release)
    results = []
    for child, answer in children:
        with os.fdopen(answer, "rb") as pipe:
            results.append(pipe.read())
        assert _exit_code(child) == 0
    return [pickle.loads(result) for result in results]


def _fork(call: Callable[[], object]) -> tuple[int, int]:
    """Run `call` in a child; return its process id and the pipe on which its result arrives."""
    connections.close_all()
    answer, back = os.pipe()
    child = os.fork()
    if child:
        os.close(back)
        return child, answer
    try:
        with os.fdopen(back, "wb") as pipe:
            pipe.write(pickle.dumps(call()))
        os._exit(0)
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
        os._exit(1)


def _exit_code(child: int) -> int:
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
