"""The statement of an account: what was there, what moved, and what was there afterwards.

# Note [A statement that always adds up]

Entries are projected and may lag, so the head of the account may know more than they do: a
statement takes nothing from it. The opening balance is the running balance of the last entry
before the first one shown, and the closing balance that of the last one shown. The lane projects
the events of one account in their order and without a gap, so what is between two positions never
changes once the second is there. Both ends are fixed before the first entry is read, and a
statement of any length is read a page at a time, outside of any transaction, with the memory of
one page.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet

from eventstore.errors import PlatformError
from eventstore.messages import Context, Query
from transactions.models import Entry, Transaction
from transactions.queries import GetAccount, get_account

PAGE_SIZE = 1000


class StatementBroken(PlatformError):
    """Entries of an account do not add up: an event was skipped, or its entry was changed."""

    code = "log_broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class GetStatement(Query):
    """The entries of one account in [since, until), and the balances around them.

    Args:
        since: None for the instant at which the account was opened.
    """

    account: UUID
    until: datetime
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """The two ends of a statement; `entries` reads what is between them.

    Args:
        first: the position of its first entry, or of none that is before `last`.
        last: the position of its last entry.
        opening_balance: minor units before the first entry.
        closing_balance: minor units after the last entry.
    """

    account: UUID
    currency: str
    since: datetime
    until: datetime
    first: int
    last: int
    opening_balance: int
    closing_balance: int


def get_statement(query: GetStatement, context: Context) -> Statement:
    """Return the statement of an account that the caller may see; raise `AccountNotFound`."""
    account = get_account(GetAccount(id=query.account), context)
    since = query.since or min(account.created_at, query.until)
    positions = _entries(account.id).order_by("-position").values_list("position", flat=True)
    newest = positions.first() or 0
    first = _position_at(since, account=account.id, newest=newest)
    last = _position_at(query.until, account=account.id, newest=newest) - 1
    opening = _balance_at(account.id, first - 1)
    return Statement(
        account=account.id,
        currency=account.currency,
        since=since,
        until=query.until,
        first=first,
        last=last,
        opening_balance=opening,
        closing_balance=_balance_at(account.id, last) if last >= first else opening,
    )


def entry_pages(statement: Statement, *, page_size: int = PAGE_SIZE) -> Iterator[Sequence[Entry]]:
    """Yield the entries of a statement, oldest first, up to `page_size` at a time.

    Raises:
        StatementBroken: they do not lead from the opening to the closing balance.
    """
    rows = _entries(statement.account).filter(position__lte=statement.last)
    after, balance = statement.first - 1, statement.opening_balance
    while after < statement.last:
        page = list(rows.filter(position__gt=after).order_by("position")[:page_size])
        if not page:
            break
        for entry in page:
            balance += entry.amount if entry.direction == Entry.Direction.CREDIT else -entry.amount
            if balance != entry.running_balance:
                raise StatementBroken(f"Entry {entry.id} does not follow the one before it.")
        after = page[-1].position
        yield page
    if balance != statement.closing_balance:
        raise StatementBroken(f"Entries of {statement.account} have gone while they were read.")


def descriptions(entries: Sequence[Entry]) -> dict[UUID, str]:
    """Return by transaction what is said of the transactions of `entries`."""
    wanted = {entry.transaction for entry in entries}
    rows = Transaction.objects.filter(pk__in=wanted).exclude(description="")
    return dict(rows.values_list("pk", "description"))


def _entries(account: UUID) -> "QuerySet[Entry]":
    return Entry.objects.filter(account=account)


def _position_at(instant: datetime, *, account: UUID, newest: int) -> int:
    """Return the position up to `newest` from which on no entry is older than `instant`.

    Time within a stream never runs backwards (docs/adr/0007), so the place is found by halving
    what is between the first and the last position: some 20 steps along the index of account
    and position, instead of an index of times. It is behind `newest` if all are older.
    """
    rows = _entries(account).filter(position__lte=newest).order_by("position")
    times = rows.values_list("position", "created_at")
    oldest = times.first()
    if oldest is None or instant <= oldest[1]:
        return oldest[0] if oldest else newest + 1
    low, high = oldest[0] + 1, newest + 1
    if times.filter(position=newest, created_at__lt=instant).exists():
        return high
    # Everything before `low` is older; from `high` on nothing is.
    while low < high:
        middle = (low + high) // 2
        found = times.filter(position__gte=middle).first()
        if found is not None and found[1] < instant:
            low = found[0] + 1
        else:
            high = middle
    return low


def _balance_at(account: UUID, position: int) -> int:
    """Return the running balance of the newest entry up to `position`; 0 before the first."""
    rows = _entries(account).filter(position__lte=position).order_by("-position")
    return rows.values_list("running_balance", flat=True).first() or 0
