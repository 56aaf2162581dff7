"""Events into e-mails: who is to be told, and in which words.

One event becomes at most one e-mail, to one person: a debit tells the owner of its account, a
credit likewise; a failed transaction tells whose money would have moved, and a hold that has
expired whose money is free again.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

from eventstore.codec import UnknownEvent
from eventstore.messages import Event
from eventstore.records import Record
from eventstore.store import event_store
from transactions.domain.events import (
    AccountCredited,
    AccountDebited,
    HoldCaptured,
    TransactionExpired,
    TransactionFailed,
)
from transactions.domain.money import display
from transactions.models import Account, Notification, Transaction
from users.notifications import Recipient, recipients

# The events that somebody may be told of, and the wish by which people ask for it beside the
# name of the event itself: to the owner of an account a capture is a debit like any other.
WISHES: Mapping[str, str] = {
    "AccountDebited": "AccountDebited",
    "HoldCaptured": "AccountDebited",
    "AccountCredited": "AccountCredited",
    "TransactionFailed": "TransactionFailed",
    "TransactionExpired": "TransactionExpired",
}

_Moved = AccountDebited | AccountCredited | HoldCaptured
_Ended = TransactionFailed | TransactionExpired


def notify(records: Sequence[Record]) -> None:
    """Insert a notification for each event that somebody wants to be told of; safe to repeat.

    Runs in the transaction of its checkpoint. Sending is `transactions.mailer`'s.
    """
    event_of = event_store().event_of
    told = [(record, event_of(record)) for record in records if record.type in WISHES]
    accounts, transactions = _heads([event for _, event in told])
    owners = {record.id: _owner(event, accounts, transactions) for record, event in told}
    people = recipients(owner for owner in owners.values() if owner)
    rows = []
    for record, event in told:
        owner = owners[record.id]
        person = people.get(owner) if owner else None
        if person is None or not person.event_types & {record.type, WISHES[record.type]}:
            continue
        rows.append(_notification(record, event, person, accounts, transactions))
    Notification.objects.bulk_create(rows, ignore_conflicts=True)


def _heads(
    events: Sequence[Event],
) -> tuple[Mapping[UUID, Account], Mapping[UUID, Transaction]]:
    accounts = {event.account for event in events if isinstance(event, _Moved)}
    ended = {event.transaction for event in events if isinstance(event, _Ended)}
    return Account.objects.in_bulk(accounts), Transaction.objects.in_bulk(ended)


def _owner(
    event: Event, accounts: Mapping[UUID, Account], transactions: Mapping[UUID, Transaction]
) -> UUID | None:
    if isinstance(event, _Moved):
        return accounts[event.account].owner
    if isinstance(event, _Ended):
        return transactions[event.transaction].source_owner
    raise UnknownEvent(f"Nobody is told of a {type(event).__name__}.")


def _notification(
    record: Record,
    event: Event,
    person: Recipient,
    accounts: Mapping[UUID, Account],
    transactions: Mapping[UUID, Transaction],
) -> Notification:
    if isinstance(event, TransactionFailed):
        subject, lines = _failure_text(event, transactions[event.transaction])
    elif isinstance(event, TransactionExpired):
        subject, lines = _expiry_text(transactions[event.transaction])
    elif isinstance(event, _Moved):
        subject, lines = _movement_text(event, accounts[event.account])
    else:
        raise UnknownEvent(f"There are no words for a {type(event).__name__}.")
    greeting = f"Hello {person.name}," if person.name else "Hello,"
    when = f"{record.occurred_at:%Y-%m-%d %H:%M:%S} UTC"
    return Notification(
        event=record.id,
        user=person.id,
        type=record.type,
        # A line break in an account's name would be one in a header.
        subject=" ".join(subject.split()),
        body="\n".join([greeting, "", *lines, f"Time: {when}", ""]),
        due_at=record.occurred_at,
        created_at=record.occurred_at,
    )


def _movement_text(event: _Moved, account: Account) -> tuple[str, list[str]]:
    money = f"{display(event.amount, event.currency)} {event.currency}"
    verb = "arrived on" if isinstance(event, AccountCredited) else "left"
    called = f"your account {account.name}" if account.name else "your account"
    return f"{money} {verb} {called}", [
        f"{money} {verb} {called}.",
        "",
        f"Balance: {display(event.posted, event.currency)} {event.currency}",
        f"Account: {event.account}",
        f"Transaction: {event.transaction}",
    ]


def _failure_text(event: TransactionFailed, transaction: Transaction) -> tuple[str, list[str]]:
    money = f"{display(transaction.amount, transaction.currency)} {transaction.currency}"
    return f"Your {transaction.type} of {money} was refused", [
        f"Your {transaction.type} of {money} was refused, and no money has moved.",
        "",
        f"Reason: {event.detail}",
        f"Transaction: {event.transaction}",
    ]


def _expiry_text(transaction: Transaction) -> tuple[str, list[str]]:
    money = f"{display(transaction.amount, transaction.currency)} {transaction.currency}"
    return f"{money} held for a {transaction.type} are free again", [
        f"{money} were held for a {transaction.type} and not captured in time.",
        "The money is free again, and none has moved.",
        "",
        f"Account: {transaction.source}",
        f"Transaction: {transaction.id}",
    ]
