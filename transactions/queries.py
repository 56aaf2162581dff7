"""Every read of the ledger.

What the caller may not see is as unknown as what does not exist: a query raises `...NotFound`
for both. Single objects read the heads, and so one's own writes; entries are projected and may
lag. With `as_of`, a state is rebuilt from the events up to that instant.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Q, QuerySet

from eventstore import queries as log
from eventstore.aggregates import Aggregate, Instant, rebuild, versions_at
from eventstore.errors import PlatformError
from eventstore.messages import Context, Query
from eventstore.records import Record
from transactions import models
from transactions.aggregates import ACCOUNT, TRANSACTION
from transactions.conditions import Condition
from transactions.domain.account import Account
from transactions.domain.transaction import Transaction
from transactions.ledger import (
    AccountNotFound,
    account_state,
    account_stream,
    transaction_state,
    transaction_stream,
)
from transactions.stores import AUTHORITY, STORES
from users.scopes import ADMIN

SCAN_BATCH_SIZE = 200

StateT = TypeVar("StateT", Account, Transaction)


class TransactionNotFound(PlatformError):
    """No transaction that the caller may see has this id."""

    code = "transaction_not_found"


class EventNotFound(PlatformError):
    """No event has this id, or it has no position yet."""

    code = "event_not_found"


@dataclass(frozen=True, slots=True, kw_only=True)
class GetAccount(Query):
    """One account, now or at an instant."""

    id: UUID
    as_of: Instant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAccounts(Query):
    """Accounts, newest first, behind the id `after`."""

    limit: int
    after: UUID | None = None
    conditions: tuple[Condition, ...] = ()
    as_of: Instant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEntries(Query):
    """Entries of one account, newest first, behind the position `after`."""

    account: UUID
    limit: int
    after: int | None = None
    conditions: tuple[Condition, ...] = ()
    as_of: Instant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTransaction(Query):
    """One transaction, now or at an instant."""

    id: UUID
    as_of: Instant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTransactions(Query):
    """Transactions, newest first, behind the id `after`; those of one account if it is given."""

    limit: int
    after: UUID | None = None
    account: UUID | None = None
    conditions: tuple[Condition, ...] = ()
    as_of: Instant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetStory(Query):
    """The events of one transaction, by position, behind `after`."""

    transaction: UUID
    limit: int
    after: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEvents(Query):
    """Events of the whole log, by position, behind `after`; `filters` as the log knows them."""

    filters: Mapping[str, str]
    limit: int
    after: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GetEvent(Query):
    """One event of the log."""

    id: UUID


def get_account(query: GetAccount, context: Context) -> Account:
    """Return an account that the caller may see; raise `AccountNotFound`."""
    row = _visible_accounts(context).filter(pk=query.id).first()
    state = _at(ACCOUNT, account_stream(query.id), query.as_of) if query.as_of else None
    if row is None or (query.as_of and state is None):
        raise AccountNotFound(f"No account {query.id} was found.")
    return state or account_state(row)


def list_accounts(query: ListAccounts, context: Context) -> list[Account]:
    """Return accounts that the caller may see, newest first."""
    rows = _visible_accounts(context)
    if query.as_of:
        return _scan(
            ACCOUNT,
            lambda after: [row.pk for row in _newest(rows, after, SCAN_BATCH_SIZE)],
            account_stream,
            query,
        )
    found = _newest(_where(rows, query.conditions), query.after, query.limit)
    return [account_state(row) for row in found]


def list_entries(query: ListEntries, context: Context) -> list[models.Entry]:
    """Return entries of an account that the caller may see; raise `AccountNotFound`."""
    get_account(GetAccount(id=query.account, as_of=query.as_of), context)
    rows = models.Entry.objects.filter(account=query.account)
    rows = _where(rows, query.conditions)
    if query.after is not None:
        rows = rows.filter(position__lt=query.after)
    if query.as_of and query.as_of.time:
        rows = rows.filter(created_at__lte=query.as_of.time)
    if query.as_of and query.as_of.position:
        rows = rows.filter(position__lte=query.as_of.position)
    return list(rows.order_by("-position")[: query.limit])


def get_transaction(query: GetTransaction, context: Context) -> Transaction:
    """Return a transaction that the caller may see; raise `TransactionNotFound`."""
    row = models.Transaction.objects.filter(pk=query.id).filter(_may_see(context)).first()
    state = _at(TRANSACTION, transaction_stream(query.id), query.as_of) if query.as_of else None
    if row is None or (query.as_of and state is None):
        raise TransactionNotFound(f"No transaction {query.id} was found.")
    return state or transaction_state(row)


def list_transactions(query: ListTransactions, context: Context) -> list[Transaction]:
    """Return transactions that the caller may see, newest first."""
    arms = _arms(query, context)
    if query.as_of:
        return _scan(
            TRANSACTION,
            lambda after: [row.pk for row in _merge(arms, after, SCAN_BATCH_SIZE)],
            transaction_stream,
            query,
        )
    wanted = [_where(arm, query.conditions) for arm in arms]
    return [transaction_state(row) for row in _merge(wanted, query.after, query.limit)]


def get_story(query: GetStory, context: Context) -> list[Record]:
    """Return the events of a transaction that the caller may see; raise `TransactionNotFound`."""
    get_transaction(GetTransaction(id=query.transaction), context)
    filters = {"correlation_id": str(query.transaction)}
    return log.list_events(after=query.after, limit=query.limit, filters=filters)


def list_events(query: ListEvents, context: Context) -> list[Record]:  # noqa: ARG001
    """Return events of the log; the API asks for the scope `audit:read`."""
    return log.list_events(after=query.after, limit=query.limit, filters=query.filters)


def get_event(query: GetEvent, context: Context) -> Record:  # noqa: ARG001
    """Return one event; raise `EventNotFound`."""
    record = log.get_event(query.id)
    if record is None:
        raise EventNotFound(f"No event {query.id} was found.")
    return record


def accounts_of_others(accounts: Iterable[UUID], context: Context) -> set[UUID]:
    """Return those of `accounts` that the caller may not see."""
    wanted = set(accounts)
    seen = _visible_accounts(context).filter(pk__in=wanted).values_list("pk", flat=True)
    return wanted - set(seen)


def store_states(transactions: Sequence[UUID]) -> dict[UUID, dict[str, str]]:
    """Return for each transaction what each store knows of it: `confirmed`, `pending`, `failed`."""
    newest = log.newest_positions(str(transaction) for transaction in transactions)
    reached = log.checkpoints()
    streams = {transaction_stream(transaction): transaction for transaction in transactions}
    failed = log.parked_in(STORES, streams)
    states: dict[UUID, dict[str, str]] = {}
    for stream, transaction in streams.items():
        position = newest.get(str(transaction))
        states[transaction] = {AUTHORITY: "confirmed"}
        for store in STORES:
            done = position is not None and reached.get(store, 0) >= position
            state = "confirmed" if done else "pending"
            states[transaction][store] = "failed" if (store, stream) in failed else state
    return states


def _visible_accounts(context: Context) -> "QuerySet[models.Account]":
    rows = models.Account.objects.filter(owner__isnull=False)
    return rows if ADMIN in context.scopes else rows.filter(owner=context.actor)


def _may_see(context: Context) -> Q:
    if ADMIN in context.scopes:
        return Q()
    return Q(source_owner=context.actor) | Q(destination_owner=context.actor)


def _arms(query: ListTransactions, context: Context) -> "list[QuerySet[models.Transaction]]":
    """Return the queries whose union is asked for: each walks one index, where an OR cannot."""
    rows = models.Transaction.objects.all()
    if query.account is not None:
        rows = rows.filter(_may_see(context))
        return [rows.filter(source=query.account), rows.filter(destination=query.account)]
    if ADMIN in context.scopes:
        return [rows]
    return [
        rows.filter(source_owner=context.actor),
        rows.filter(destination_owner=context.actor),
    ]


def _where(rows: "QuerySet[Any]", conditions: Sequence[Condition]) -> "QuerySet[Any]":
    for condition in conditions:
        rows = rows.filter(condition.as_q())
    return rows


def _newest(rows: "QuerySet[Any]", after: UUID | None, limit: int) -> list[Any]:
    if after is not None:
        rows = rows.filter(pk__lt=after)
    return list(rows.order_by("-pk")[:limit])


def _merge(arms: "Sequence[QuerySet[Any]]", after: UUID | None, limit: int) -> list[Any]:
    found = {row.pk: row for arm in arms for row in _newest(arm, after, limit)}
    return sorted(found.values(), key=lambda row: row.pk, reverse=True)[:limit]


def _at(aggregate: Aggregate[StateT], stream: str, instant: Instant) -> StateT | None:
    """Return the state of `stream` at `instant`; None when it had not begun."""
    version = versions_at([stream], instant).get(stream)
    return rebuild(aggregate, stream, to_version=version) if version else None


def _scan(
    aggregate: Aggregate[StateT],
    newest_behind: Any,
    stream_of: Any,
    query: ListAccounts | ListTransactions,
) -> list[StateT]:
    """Return a page of the past: walk the ids, rebuild each state, keep what fits."""
    found: list[StateT] = []
    after = query.after
    while len(found) < query.limit:
        ids = newest_behind(after)
        versions = versions_at(map(stream_of, ids), query.as_of or Instant())
        for stream in map(stream_of, ids):
            if stream not in versions:
                continue
            state = rebuild(aggregate, stream, to_version=versions[stream])
            if state and all(condition.holds_for(state) for condition in query.conditions):
                found.append(state)
        if len(ids) < SCAN_BATCH_SIZE:
            break
        after = ids[-1]
    return found[: query.limit]


QUERIES: Mapping[type[Query], Any] = {
    GetAccount: get_account,
    ListAccounts: list_accounts,
    ListEntries: list_entries,
    GetTransaction: get_transaction,
    ListTransactions: list_transactions,
    GetStory: get_story,
    ListEvents: list_events,
    GetEvent: get_event,
}
