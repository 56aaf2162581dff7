"""What travels through the platform: commands, queries, events and their envelopes.

Plain Python; no framework. A command asks for something to be done (`CreateTransaction`), an
event says what was done (`AccountDebited`), a query asks what is known. All are frozen
dataclasses that derive from the empty markers below, so that a type checker can tell them apart.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from eventstore.errors import PlatformError


class Command:
    """A request to do something; exactly one handler serves each type.

    `alone` says that it is large enough to have a transaction of its own.
    """

    __slots__ = ()

    alone: ClassVar[bool] = False

    def validate(self) -> None:
        """Raise `InvalidInput` when the command cannot be right, whatever the state."""


class Query:
    """A request for what is known; it changes nothing."""

    __slots__ = ()


class Event:
    """Something that has happened. Events are never changed and never deleted."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Who asks, within which request, and when.

    Args:
        now: the instant of the request, aware and in UTC.
        actor: the id of the user who asks; None for the system itself.
        scopes: what the caller may do.
        request_id: the id under which the request is logged.
    """

    now: datetime
    actor: UUID | None = None
    scopes: frozenset[str] = frozenset()
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer as it was given, kept so that it can be given again byte for byte."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotency:
    """The claim that a request is to have one effect, however often it is sent.

    Args:
        actor: the user to whom the key belongs.
        method: of the request.
        path: of the request.
        key: what the client chose, 1 to 255 visible ASCII characters.
        fingerprint: SHA-256 (hex) of the canonical JSON of the body.
        present: makes the answer from the handler's result; what it returns is stored in the
            same database transaction as the effect.
    """

    actor: UUID | None
    method: str
    path: str
    key: str
    fingerprint: str
    present: Callable[[Any], Response]


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A command on its way to its handler."""

    command: Command
    context: Context
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one command of a batch: a value, or the error that refused it.

    `response` is set when the command carried an idempotency key; `replayed` says that it was
    stored by an earlier request.
    """

    value: Any = None
    error: PlatformError | None = None
    response: Response | None = None
    replayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Where an event came from.

    Args:
        actor: the id of the user who caused it; None for the system itself.
        correlation_id: the operation to which it belongs, such as the id of a transaction.
        causation_id: the event that caused it; None for the first of an operation.
        request_id: the request in which it was recorded.
    """

    actor: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    request_id: str | None = None
