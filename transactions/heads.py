"""The two kinds of head rows: found and listed, as they are and as they were at an instant."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db import models as django_models
from django.db.models import Q, QuerySet

from eventstore import queries as log
from eventstore.aggregates import Aggregate
from eventstore.past import Instant, states_at, unchanged_since
from transactions import models
from transactions.aggregates import ACCOUNT, TRANSACTION
from transactions.conditions import Condition, Conditions, JudgedStatus
from transactions.domain.account import Account
from transactions.domain.transaction import Transaction
from transactions.ledger import account_stream, transaction_stream
from transactions.rows import (
    account_state,
    load_accounts,
    load_transactions,
    transaction_state,
)

SCAN_BATCH_SIZE_MAX = 500
# A clock that is put back between the making of an id and the first event by no more than this
# hides nothing from the lists of the past.
ID_AHEAD_MAX = timedelta(seconds=1)
_EPOCH = datetime.fromtimestamp(0, UTC)
# What an event can change, of all that a list may be filtered by. In the past, the rest can be
# asked of today's rows.
CHANGING_FIELDS = frozenset({"status"})

StateT = TypeVar("StateT", Account, Transaction)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head(Generic[StateT]):
    """A kind of head row, and how its state comes from its events.

    Args:
        state: makes the state of the aggregate from a row.
        load: reads the states of several rows by their primary keys, faster.
        stream: makes the name of the stream from a primary key.
    """

    aggregate: Aggregate[StateT]
    model: type[django_models.Model]
    state: Callable[[Any], StateT]
    load: Callable[[Iterable[UUID]], list[StateT]]
    stream: Callable[[UUID], str]


ACCOUNT_HEAD = Head(
    aggregate=ACCOUNT,
    model=models.Account,
    state=account_state,
    load=load_accounts,
    stream=account_stream,
)
TRANSACTION_HEAD = Head(
    aggregate=TRANSACTION,
    model=models.Transaction,
    state=transaction_state,
    load=load_transactions,
    stream=transaction_stream,
)
HEADS: tuple[Head[Any], ...] = (ACCOUNT_HEAD, TRANSACTION_HEAD)


def find(head: Head[StateT], rows: "QuerySet[Any]", *, as_of: Instant | None) -> StateT | None:
    """Return the state of the one row among `rows`, now or at an instant; None without one."""
    states = [head.state(row) for row in rows[:1]]
    return next(iter(_states_at(head, states, as_of) if as_of else states), None)


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
    arms = _begun(_where_unchanged(arms, changing, as_of), as_of)
    found: list[StateT] = []
    scanned = limit
    while len(found) < limit:
        keys = _merge_keys(arms, after, scanned)
        states = _states_at(head, head.load(keys), as_of)
        found += [each for each in states if all(some.holds_for(each) for some in changing)]
        if len(keys) < scanned:
            break
        after, scanned = keys[-1], min(scanned * 2, SCAN_BATCH_SIZE_MAX)
    return found[:limit]


def _where_unchanged(
    arms: "Sequence[QuerySet[Any]]", changing: "Conditions", instant: Instant
) -> "Sequence[QuerySet[Any]]":
    """Return `arms` without the rows that were then as they are now, and are not asked for."""
    if instant.time is None:
        return arms
    changed = Q(updated_at__gt=instant.time)
    for condition in changing:
        arms = [arm.filter(changed | condition.as_q()) for arm in arms]
    return arms


def _begun(arms: "Sequence[QuerySet[Any]]", instant: Instant) -> "Sequence[QuerySet[Any]]":
    """Return `arms` without rows that had not begun at `instant`, as far as their ids tell.

    An id holds the time at which it was made, right before the row's first event, and the rows
    are walked in the order of their ids: what is behind the instant is not even looked at.
    """
    time = instant.time
    if time is None:
        if not instant.position:
            return []
        time = log.newest_time(upto=instant.position)
    if time is None:
        return arms
    made_before = _first_id(time, ahead=ID_AHEAD_MAX)
    return [arm.filter(created_at__lte=time, pk__lt=made_before) for arm in arms]


def _first_id(time: datetime, *, ahead: timedelta) -> UUID:
    """Return what no UUIDv7 (RFC 9562, 5.7) made before `time` and `ahead` of it is above."""
    milliseconds = max((time - _EPOCH + ahead) // timedelta(milliseconds=1), 0)
    return UUID(int=milliseconds << 80)


def _states_at(head: Head[StateT], present: Sequence[StateT], instant: Instant) -> Iterator[StateT]:
    """Yield what `present` states were at `instant`, newest id first, if they had begun.

    What has not changed since is its own past; only the others are rebuilt.
    """
    by_stream = {
        head.stream(each.id): each
        for each in sorted(present, key=lambda each: each.id, reverse=True)
        if instant.time is None or each.created_at <= instant.time
    }
    newest = {stream: each.version for stream, each in by_stream.items()}
    if instant.time is None:
        unchanged = unchanged_since(newest, instant)
    else:
        time = instant.time
        unchanged = {stream for stream, each in by_stream.items() if each.updated_at <= time}
    changed = {stream: version for stream, version in newest.items() if stream not in unchanged}
    states = states_at(head.aggregate, changed, instant)
    for stream, state in by_stream.items():
        if stream in unchanged:
            yield state
        elif stream in states:
            yield states[stream]


def _where(arms: "Sequence[QuerySet[Any]]", conditions: Conditions) -> "list[QuerySet[Any]]":
    wanted = Q()
    for condition in conditions:
        wanted &= condition.as_q()
    return [arm.filter(wanted) for arm in arms]


def _merge(arms: "Sequence[QuerySet[Any]]", after: UUID | None, limit: int) -> list[Any]:
    behind = Q() if after is None else Q(pk__lt=after)
    found = {row.pk: row for arm in arms for row in arm.filter(behind).order_by("-pk")[:limit]}
    return sorted(found.values(), key=lambda row: row.pk, reverse=True)[:limit]


def _merge_keys(arms: "Sequence[QuerySet[Any]]", after: UUID | None, limit: int) -> list[UUID]:
    behind = Q() if after is None else Q(pk__lt=after)
    found: set[UUID] = set()
    for arm in arms:
        found.update(arm.filter(behind).order_by("-pk").values_list("pk", flat=True)[:limit])
    return sorted(found, reverse=True)[:limit]
