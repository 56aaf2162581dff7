"""The command bus and the query bus.

A single command is a batch of one: `execute_many` is the only way in which anything is written.
Around the handlers lies a chain of middleware, listed in one place by the product; each takes
the rest of the chain and returns a function of the same form:

    def middleware(proceed: Execute) -> Execute:
        def execute(batch):
            ...before...
            outcomes = proceed(batch)
            ...after...
            return outcomes
        return execute

Three signals tell others what happens: `command_executing`, `command_executed` and
`command_failed`. They are for observers; nothing that must happen may hang on them.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from django.db import InterfaceError, OperationalError
from django.dispatch import Signal

from eventstore.coalescing import Coalescer
from eventstore.errors import PlatformError
from eventstore.messages import Command, Context, Envelope, Outcome, Query
from eventstore.store import ConcurrencyConflict

logger = logging.getLogger(__name__)

BATCH_SIZE_MAX = 1000

# Sent with `envelope`, and once it is done with `outcome`, after the commit.
command_executing = Signal()
command_executed = Signal()
# Sent with `envelope` and `error`: refused, or an unexpected exception.
command_failed = Signal()

ResultT = TypeVar("ResultT")
Execute = Callable[[Sequence[Envelope]], list[Outcome]]
Middleware = Callable[[Execute], Execute]


class UnitOfWork(Protocol):
    """What a batch has locked and what it will write; the product's own."""

    def savepoint(self) -> AbstractContextManager[None]:
        """Drop, in memory, what a command staged when it raises."""

    def flush(self) -> None:
        """Write everything that was staged, in as few statements as there are tables."""


Handler = Callable[[Any, Any, Context], Any]


class NoHandler(TypeError):
    """A command or query was dispatched that no handler serves."""


class CommandBus:
    """Takes commands to their handlers, in batches.

    Args:
        handlers: one function a type of command: `handler(command, unit, context)`. It raises a
            `PlatformError` to refuse; what it staged is then dropped.
        begin: opens the unit of work for a batch: locks and loads what its commands need.
        middleware: outermost first.
    """

    def __init__(
        self,
        *,
        handlers: Mapping[type[Command], Handler],
        begin: Callable[[Sequence[Envelope]], UnitOfWork],
        middleware: Sequence[Middleware] = (),
    ) -> None:
        self._handlers = handlers
        self._begin = begin
        execute: Execute = self._decide_and_write
        for wrap in reversed(middleware):
            execute = wrap(execute)
        self._execute = execute
        self._coalescer: Coalescer | None = None

    def coalesce(self, *, batch_size_max: int) -> None:
        """Let single commands of concurrent threads share transactions from now on.

        Args:
            batch_size_max: how many at most; 1 for each one alone.
        """
        self._coalescer = (
            Coalescer(self.execute_many, batch_size_max=batch_size_max)
            if batch_size_max > 1
            else None
        )

    def execute(self, envelope: Envelope) -> Outcome:
        """Execute one command; raise its error if it was refused."""
        if self._coalescer is not None and not envelope.command.alone:
            outcome = self._coalescer.execute(envelope)
        else:
            outcome = self.execute_many([envelope])[0]
        if outcome.error is not None:
            raise outcome.error
        return outcome

    def execute_many(self, batch: Sequence[Envelope]) -> list[Outcome]:
        """Execute up to 1,000 commands in one transaction; return an outcome each, in order.

        A command that is refused touches no other one. When a command fails unexpectedly,
        nothing of the transaction stands, and each command is executed alone instead, so that
        only the faulty one fails. When the database is away, each would fail for itself, and
        is not tried.

        Raises:
            NoHandler: before anything has run.
            OperationalError, InterfaceError: the database is away.
            Exception: an unexpected one, from a batch of one.
        """
        if len(batch) > BATCH_SIZE_MAX:
            raise ValueError(f"a batch holds at most {BATCH_SIZE_MAX} commands")
        for envelope in batch:
            if type(envelope.command) not in self._handlers:
                raise NoHandler(f"no handler for {type(envelope.command).__name__}")
        for envelope in batch:
            command_executing.send_robust(sender=type(envelope.command), envelope=envelope)
        try:
            outcomes = self._execute(batch)
        except Exception as error:
            if len(batch) == 1 or isinstance(error, OperationalError | InterfaceError):
                for envelope in batch:
                    _tell_failed(envelope, error)
                raise
            logger.warning("a batch of %d failed; executing each alone", len(batch), exc_info=True)
            return [self._execute_alone(envelope) for envelope in batch]
        for envelope, outcome in zip(batch, outcomes, strict=True):
            _tell(envelope, outcome)
        return outcomes

    def _execute_alone(self, envelope: Envelope) -> Outcome:
        try:
            outcome = self._execute([envelope])[0]
        except PlatformError as error:
            outcome = Outcome(error=error)
        except Exception as error:
            logger.exception("%s failed", type(envelope.command).__name__)
            failure = CommandFailed("The command failed unexpectedly.")
            failure.__cause__ = error
            outcome = Outcome(error=failure)
        _tell(envelope, outcome)
        return outcome

    def _decide_and_write(self, batch: Sequence[Envelope]) -> list[Outcome]:
        """Lock, decide in memory, write once: the innermost link of the chain."""
        unit = self._begin(batch)
        outcomes = []
        for envelope in batch:
            handler = self._handlers[type(envelope.command)]
            try:
                with unit.savepoint():
                    value = handler(envelope.command, unit, envelope.context)
                outcomes.append(Outcome(value=value))
            except ConcurrencyConflict:
                # No refusal: somebody else was faster, and the whole batch is decided anew.
                raise
            except PlatformError as error:
                outcomes.append(Outcome(error=error))
        unit.flush()
        return outcomes


class CommandFailed(PlatformError):
    """A member of a batch failed in a way that nobody expected; the log has the details."""

    code = "internal_error"


def _tell(envelope: Envelope, outcome: Outcome) -> None:
    if outcome.error is not None:
        _tell_failed(envelope, outcome.error)
        return
    command_executed.send_robust(sender=type(envelope.command), envelope=envelope, outcome=outcome)


def _tell_failed(envelope: Envelope, error: Exception) -> None:
    command_failed.send_robust(sender=type(envelope.command), envelope=envelope, error=error)


class QueryBus:
    """Takes queries to the functions that answer them.

    Args:
        handlers: one function a type of query: `handler(query, context)`.
    """

    def __init__(self, *, handlers: Mapping[type[Query], Callable[[Any, Context], Any]]) -> None:
        self._handlers = handlers

    def ask(self, query: Query, context: Context) -> Any:
        """Answer `query`; raise `NoHandler` when no function is known for it."""
        try:
            handler = self._handlers[type(query)]
        except KeyError:
            raise NoHandler(f"no handler for {type(query).__name__}") from None
        return handler(query, context)
