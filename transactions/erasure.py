"""Forget a person: everything that accounts, transactions, e-mails and answers tell of them.

# Note [The order of forgetting]

Each step makes sure of what the next one needs, and each may be repeated, so that a run that was
cut short is finished by running it again:

1. The user's credentials end, and no further request comes from this person.
2. The key is closed. That waits for the writers who hold it; from then on nothing that tells of
   the person can be recorded, by anybody. So what is found now is all that there is.
3. The heads are redacted by events. Every reader of the log follows them, and so the documents
   of the other stores lose the text as well.
4. What was made from opened events and is no reader of the log is emptied: snapshots, answers
   kept for repeated requests, the texts of e-mails.
5. The key is emptied: what is sealed in the log can be read by nobody any more.
6. Other processes have the key in memory for a moment more. When that is over, step 4 is done
   again, for what they may have made of it.
7. The user's row is emptied last: until everything is done, the person is found by address.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import QuerySet

from eventstore import erasure as kept
from eventstore import keyring
from eventstore.clock import utc_now
from eventstore.messages import Command, Context, Envelope
from eventstore.queries import lane_status, log_status, parked_in
from transactions.dispatch import commands as bus
from transactions.domain.commands import RedactAccount, RedactTransaction
from transactions.ledger import account_stream, transaction_stream
from transactions.models import Account, Notification, Transaction
from transactions.stores import STORES
from users import erasure as users
from users.scopes import ADMIN

BATCH_SIZE = 500
# Answers are up to a megabyte, as a batch of a thousand transactions has one.
ANSWERS_A_BATCH = 50
# What an account or a transaction tells of a person, and what it is without.
BLANKS: dict[str, Any] = {"name": "", "description": "", "reference": "", "metadata": {}}

RowT = TypeVar("RowT", Account, Transaction)


@dataclass(slots=True, kw_only=True)
class Forgotten:
    """What a run has done. A second one finds nothing left, and counts nothing.

    Args:
        accounts_with_money: nobody can reach that money any more but administrators.
        stores_behind: by store, the events that it has yet to follow; its documents may tell
            something until then.
        stores_parked: stores in which a stream of the person is parked: these wait for an operator.
        file_rewritten: whether the file of an SQLite database was; None where there is none.
    """

    subject: UUID
    accounts_redacted: int = 0
    transactions_redacted: int = 0
    snapshots_dropped: int = 0
    answers_deleted: int = 0
    answers_redacted: int = 0
    notifications_emptied: int = 0
    accounts_with_money: int = 0
    stores_behind: dict[str, int] = field(default_factory=dict)
    stores_parked: list[str] = field(default_factory=list)
    file_rewritten: bool | None = None


def forget_subject(subject: UUID, *, wait: Callable[[float], None] = time.sleep) -> Forgotten:
    """Forget the user `subject`, see Note [The order of forgetting]; safe to repeat.

    Args:
        wait: takes seconds.
    """
    done = Forgotten(subject=subject)
    users.deactivate(user_id=subject)
    keyring.close(subject)
    done.accounts_redacted = _redact(_accounts(subject), RedactAccount)
    for rows in _all_transactions(subject):
        done.transactions_redacted += _redact(rows, RedactTransaction)
    _sweep(subject, done)
    keyring.forget(subject)
    wait(keyring.CACHE_S)
    _sweep(subject, done)
    users.anonymise(user_id=subject)
    done.file_rewritten = kept.rewrite_file()
    _look_at_stores(subject, done)
    return done


def _accounts(subject: UUID) -> "QuerySet[Account]":
    return Account.objects.filter(owner=subject)


def _all_transactions(subject: UUID) -> "Iterator[QuerySet[Transaction]]":
    """Yield, by account, the transactions whose text belongs to the person.

    It is that of the source's owner, or where the money came from outside, of the destination's.
    """
    for account in _accounts(subject).values_list("id", flat=True):
        yield Transaction.objects.filter(source=account)
        yield Transaction.objects.filter(source=None, destination=account)


def _pages(rows: "QuerySet[RowT]") -> Iterator[list[RowT]]:
    page = list(rows.order_by("pk")[:BATCH_SIZE])
    while page:
        yield page
        page = list(rows.filter(pk__gt=page[-1].pk).order_by("pk")[:BATCH_SIZE])


def _redact(rows: "QuerySet[RowT]", command: Callable[..., Command]) -> int:
    """Redact the heads that still tell something; return how many."""
    redacted = 0
    context = Context(now=utc_now(), scopes=frozenset({ADMIN}), request_id="forget_subject")
    for page in _pages(rows):
        telling = [row.pk for row in page if any(getattr(row, each, None) for each in BLANKS)]
        batch = [Envelope(command=command(id=key), context=context) for key in telling]
        for outcome in bus.execute_many(batch) if batch else ():
            if outcome.error is not None:
                raise outcome.error
        redacted += len(telling)
    return redacted


def _sweep(subject: UUID, done: Forgotten) -> None:
    """Empty what was made from opened events."""
    accounts = set(_accounts(subject).values_list("id", flat=True))
    for names in _streams(subject):
        done.snapshots_dropped += kept.drop_snapshots(names)
    done.answers_deleted += kept.delete_answers(subject)
    done.answers_redacted += _redact_answers(accounts)
    done.notifications_emptied += (
        Notification.objects.filter(user=subject)
        .exclude(subject="", body="")
        .update(subject="", body="", last_error="")
    )
    users.empty_admin_log([str(account) for account in accounts])


def _streams(subject: UUID) -> Iterator[list[str]]:
    for accounts in _pages(_accounts(subject)):
        yield [account_stream(row.pk) for row in accounts]
    for rows in _all_transactions(subject):
        for page in _pages(rows):
            yield [transaction_stream(row.pk) for row in page]


def _redact_answers(accounts: set[UUID]) -> int:
    """Empty the person's texts in answers to others, such as administrators; return how many."""
    redacted, after = 0, ""
    while batch := kept.list_answers(after=after, limit=ANSWERS_A_BATCH):
        bodies = {digest: json.loads(body) for digest, body in batch if body}
        telling = {digest: list(_telling(body)) for digest, body in bodies.items()}
        ids = {UUID(each["id"]) for found in telling.values() for each in found}
        theirs = (ids & accounts) | _theirs(ids - accounts, accounts)
        changed: dict[str, bytes] = {}
        for digest, found in telling.items():
            to_empty = [each for each in found if UUID(each["id"]) in theirs]
            for each in to_empty:
                each.update({name: BLANKS[name] for name in BLANKS.keys() & each.keys()})
            if to_empty:
                text = json.dumps(bodies[digest], separators=(",", ":"), ensure_ascii=False)
                changed[digest] = text.encode()
        kept.replace_answers(changed)
        redacted += len(changed)
        after = batch[-1][0]
    return redacted


def _telling(body: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects in `body` that have an id and say something that may tell of a person."""
    if isinstance(body, list):
        for member in body:
            yield from _telling(member)
    elif isinstance(body, dict):
        if _is_id(body.get("id")) and any(body.get(name) for name in BLANKS):
            yield body
        for name, member in body.items():
            if name != "metadata":
                yield from _telling(member)


def _is_id(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(UUID(value))
    except ValueError:
        return False


def _theirs(transactions: set[UUID], accounts: set[UUID]) -> set[UUID]:
    """Return those of `transactions` whose text belongs to the owner of `accounts`."""
    wanted: Sequence[UUID] = sorted(transactions)
    found: set[UUID] = set()
    for start in range(0, len(wanted), BATCH_SIZE):
        rows = Transaction.objects.filter(pk__in=wanted[start : start + BATCH_SIZE])
        for key, source, destination in rows.values_list("pk", "source", "destination"):
            if (source or destination) in accounts:
                found.add(key)
    return found


def _look_at_stores(subject: UUID, done: Forgotten) -> None:
    """Note what is left for the operator to do or to wait for."""
    unplaced = log_status().unsequenced
    lags = {lane.name: lane.lag_events + unplaced for lane in lane_status()}
    done.stores_behind = {name: lags[name] for name in STORES if lags[name]}
    done.stores_parked = sorted(
        {store for names in _streams(subject) for store, _ in parked_in(STORES, names)}
    )
    done.accounts_with_money = _accounts(subject).exclude(posted=0, held=0).count()
