"""Every read of the ledger.

What the caller may not see is as unknown as what does not exist: a query raises `...NotFound`
for both. Single objects read the heads, and so one's own writes; entries are projected and may
lag. With `as_of`, a state is rebuilt from the events up to that instant. A hold whose time is over
at the instant of a read has expired, whether or not that is recorded already.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from eventstore import queries as log
from eventstore.errors import PlatformError
from eventstore.messages import Context, Query
from eventstore.past import Instant
from eventstore.records import Record
from transactions import models
from transactions.conditions import Condition, Conditions, JudgedStatus
from transactions.domain.account import Account
from transactions.domain.transaction import Transaction
from transactions.entries import EntryPage, entries_at, projected
from transactions.heads import ACCOUNT_HEAD, TRANSACTION_HEAD, find, newest
from transactions.ledger import AccountNotFound, TransactionNotFound, transaction_stream
from transactions.stores import AUTHORITY, STORES
from users.scopes import ADMIN


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
    conditions: Conditions = ()
    as_of: Instant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEntries(Query):
    """Entries of one account, newest first, behind the position `after`."""

    account: UUID
    limit: int
    after: int | None = None
    conditions: Conditions = ()
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
    conditions: Conditions = ()
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
    rows = _visible_accounts(context).filter(pk=query.id)
    account = find(ACCOUNT_HEAD, rows, as_of=query.as_of)
    if account is None:
        raise AccountNotFound(f"No account {query.id} was found.")
    return account


def list_accounts(query: ListAccounts, context: Context) -> list[Account]:
    """Return accounts that the caller may see, newest first."""
    return newest(
        ACCOUNT_HEAD,
        [_visible_accounts(context)],
        after=query.after,
        limit=query.limit,
        conditions=query.conditions,
        as_of=query.as_of,
    )


def list_entries(query: ListEntries, context: Context) -> list[models.Entry]:
    """Return entries of an account that the caller may see; raise `AccountNotFound`."""
    account = get_account(GetAccount(id=query.account, as_of=query.as_of), context)
    page = EntryPage(limit=query.limit, after=query.after, conditions=query.conditions)
    if query.as_of is None:
        return projected(account.id, page)
    return entries_at(account, page, now=context.now)


def get_transaction(query: GetTransaction, context: Context) -> Transaction:
    """Return a transaction that the caller may see; raise `TransactionNotFound`."""
    rows = models.Transaction.objects.filter(_may_see(context), pk=query.id)
    transaction = find(TRANSACTION_HEAD, rows, as_of=query.as_of)
    if transaction is None:
        raise TransactionNotFound(f"No transaction {query.id} was found.")
    return transaction.judged(_instant(query.as_of, context))


def list_transactions(query: ListTransactions, context: Context) -> list[Transaction]:
    """Return transactions that the caller may see, newest first."""
    at = _instant(query.as_of, context)
    found = newest(
        TRANSACTION_HEAD,
        _arms(query, context),
        after=query.after,
        limit=query.limit,
        conditions=_judging(query.conditions, at),
        as_of=query.as_of,
    )
    return [transaction.judged(at) for transaction in found]


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


def store_states(
    transactions: Sequence[UUID], *, as_of: Instant | None = None
) -> dict[UUID, dict[str, str]]:
    """Return for each transaction what each store knows of it: `confirmed`, `pending`, `failed`.

    Args:
        as_of: what they know of what had happened until then. What happens to the transaction
            later, such as a reversal, does not change that.
    """
    newest = log.newest_positions(map(str, transactions), instant=as_of)
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
            parked = failed.get((store, stream))
            lost = parked is not None and (position is None or parked <= position)
            states[transaction][store] = "failed" if lost else state
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


def _instant(as_of: Instant | None, context: Context) -> datetime:
    """Return when a read takes place; at a position, that is when its event occurred."""
    if as_of is None:
        return context.now
    at = as_of.time if as_of.position is None else log.time_of(as_of.position)
    return at or context.now


def _judging(conditions: Conditions, at: datetime) -> Conditions:
    """Return `conditions` with those on the status judged at an instant."""
    return [
        JudgedStatus(value=each.value, at=at)
        if isinstance(each, Condition) and each.field == JudgedStatus.field
        else each
        for each in conditions
    ]


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
