"""The two kinds of head rows: found and listed, as they are and as they were at an instant."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db import models as django_models
from django.db.models import Q, QuerySet

from eventstore.aggregates import Aggregate, Instant, rebuild, versions_at
from transactions import models
from transactions.aggregates import ACCOUNT, TRANSACTION
from transactions.conditions import Condition, Conditions, JudgedStatus
from transactions.domain.account import Account
from transactions.domain.events import AccountOpened, TransactionCreated
from transactions.domain.transaction import Transaction
from transactions.ledger import account_stream, transaction_stream
from transactions.rows import account_state, transaction_state

SCAN_BATCH_SIZE = 500
# What an event can change, of all that a list may be filtered by. In the past, the rest can be
# asked of today's rows.
CHANGING_FIELDS = frozenset({"status"})

StateT = TypeVar("StateT", Account, Transaction)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head(Generic[StateT]):
    """A kind of head row, and how its state comes from its events.

    Args:
        state: makes the state of the aggregate from a row.
        stream: makes the name of the stream from a primary key.
        first_event: the type of event that begins each stream.
    """

    aggregate: Aggregate[StateT]
    model: type[django_models.Model]
    state: Callable[[Any], StateT]
    stream: Callable[[UUID], str]
    first_event: str


ACCOUNT_HEAD = Head(
    aggregate=ACCOUNT,
    model=models.Account,
    state=account_state,
    stream=account_stream,
    first_event=AccountOpened.__name__,
)
TRANSACTION_HEAD = Head(
    aggregate=TRANSACTION,
    model=models.Transaction,
    state=transaction_state,
    stream=transaction_stream,
    first_event=TransactionCreated.__name__,
)
HEADS: tuple[Head[Any], ...] = (ACCOUNT_HEAD, TRANSACTION_HEAD)


def find(head: Head[StateT], rows: "QuerySet[Any]", *, as_of: Instant | None) -> StateT | None:
    """Return the state of the one row among `rows`, now or at an instant; None without one."""
    found = list(rows[:1])
    states = _states_at(head, found, as_of) if as_of else map(head.state, found)
    return next(iter(states), None)


def newest(
    head: Head[StateT],
    arms: "Sequence[QuerySet[Any]]",
    *,
    after: UUID | None,
    limit: int,
    conditions: Conditions,
    as_of: Instant | None,
) -> list[StateT]:
    """Return up to `limit` states that meet `conditions`, newest first, now or at an instant.

    Args:
        arms: queries whose union is asked for: each walks one index, where an OR cannot.
        after: the id behind which the list begins.
    """
    if as_of is None:
        return [head.state(row) for row in _merge(_where(arms, conditions), after, limit)]
    changing = [
        each
        for each in conditions
        if isinstance(each, Condition | JudgedStatus) and each.field in CHANGING_FIELDS
    ]
    arms = _where(arms, [each for each in conditions if each not in changing])
    if as_of.time is not None:
        arms = [arm.filter(created_at__lte=as_of.time) for arm in arms]
    found: list[StateT] = []
    while len(found) < limit:
        rows = _merge(arms, after, SCAN_BATCH_SIZE)
        for state in _states_at(head, rows, as_of):
            if all(condition.holds_for(state) for condition in changing):
                found.append(state)
            if len(found) == limit:
                break
        if len(rows) < SCAN_BATCH_SIZE:
            break
        after = rows[-1].pk
    return found


def _states_at(head: Head[StateT], rows: Sequence[Any], instant: Instant) -> Iterator[StateT]:
    """Yield the states of `rows` at `instant`, in their order; those not yet begun are left out.

    A head that has not changed since is its own past; only the others are rebuilt.
    """
    streams = {row.pk: head.stream(row.pk) for row in rows}
    versions = versions_at(streams.values(), instant)
    for row in rows:
        version = versions.get(streams[row.pk])
        if version is None:
            continue
        if version == row.version:
            yield head.state(row)
            continue
        state = rebuild(head.aggregate, streams[row.pk], to_version=version)
        if state is not None:
            yield state


def _where(arms: "Sequence[QuerySet[Any]]", conditions: Conditions) -> "list[QuerySet[Any]]":
    wanted = Q()
    for condition in conditions:
        wanted &= condition.as_q()
    return [arm.filter(wanted) for arm in arms]


def _merge(arms: "Sequence[QuerySet[Any]]", after: UUID | None, limit: int) -> list[Any]:
    behind = Q() if after is None else Q(pk__lt=after)
    found = {row.pk: row for arm in arms for row in arm.filter(behind).order_by("-pk")[:limit]}
    return sorted(found.values(), key=lambda row: row.pk, reverse=True)[:limit]
