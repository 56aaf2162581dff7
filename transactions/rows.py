"""The heads of accounts and transactions as rows, and as the states of their aggregates."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any
from uuid import UUID

from eventstore.tables import Table
from transactions import models
from transactions.domain.account import Account
from transactions.domain.transaction import Transaction

ACCOUNT_COLUMNS = tuple(column.name for column in fields(Account))
TRANSACTION_COLUMNS = tuple(column.name for column in fields(Transaction))

ACCOUNTS = Table(models.Account)
TRANSACTIONS = Table(models.Transaction)

# What no event changes.
_ACCOUNT_FIXED = frozenset({"id", "owner", "ledger", "currency", "created_at"})
_ACCOUNT_CHANGES = [name for name in ACCOUNTS.columns if name not in _ACCOUNT_FIXED]
_TRANSACTION_CHANGES = [
    "status",
    "description",
    "reference",
    "metadata",
    "failure_code",
    "failure_detail",
    "captured_amount",
    "reversed_amount",
    "version",
    "updated_at",
    "completed_at",
]


def lock_accounts(accounts: Iterable[UUID]) -> dict[UUID, Account]:
    """Lock the heads of accounts, in the order of their ids, and return their states."""
    return {state.id: state for state in map(_account, ACCOUNTS.locked(accounts))}


def lock_transactions(transactions: Iterable[UUID]) -> dict[UUID, Transaction]:
    """Lock the heads of transactions, in the order of their ids, and return their states."""
    return {state.id: state for state in map(_transaction, TRANSACTIONS.locked(transactions))}


def load_accounts(accounts: Iterable[UUID]) -> list[Account]:
    """Return the states of accounts, in the order of their ids, without a lock."""
    return list(map(_account, ACCOUNTS.rows(accounts)))


def load_transactions(transactions: Iterable[UUID]) -> list[Transaction]:
    """Return the states of transactions, in the order of their ids, without a lock."""
    return list(map(_transaction, TRANSACTIONS.rows(transactions)))


def _account(row: Sequence[Any]) -> Account:
    return Account(**dict(zip(ACCOUNTS.columns, row, strict=True)))


def _transaction(row: Sequence[Any]) -> Transaction:
    values = dict(zip(TRANSACTIONS.columns, row, strict=True))
    return Transaction(**{name: values[name] for name in TRANSACTION_COLUMNS})


def write_accounts(accounts: Iterable[Account]) -> None:
    """Insert or change the heads of accounts."""
    rows = [[getattr(account, name) for name in ACCOUNTS.columns] for account in accounts]
    ACCOUNTS.upsert(rows, update=_ACCOUNT_CHANGES)


def insert_transactions(transactions: Iterable[Transaction], known: Mapping[UUID, Account]) -> None:
    """Insert the heads of new transactions.

    Args:
        known: the accounts that they name.
    """
    TRANSACTIONS.insert(_transaction_row(each, known) for each in transactions)


def change_transactions(transactions: Iterable[Transaction], known: Mapping[UUID, Account]) -> None:
    """Change the heads of transactions that are there."""
    rows = [_transaction_row(each, known) for each in transactions]
    TRANSACTIONS.upsert(rows, update=_TRANSACTION_CHANGES)


def _transaction_row(transaction: Transaction, known: Mapping[UUID, Account]) -> list[Any]:
    """Return the head row of a transaction, with those who may read it."""
    source = known.get(transaction.source) if transaction.source else None
    destination = known.get(transaction.destination) if transaction.destination else None
    reached = destination is not None and transaction.status != "failed"
    readers = {
        "source_owner": source.owner if source else None,
        "destination_owner": destination.owner if destination and reached else None,
    }
    return [
        readers[name] if name in readers else getattr(transaction, name)
        for name in TRANSACTIONS.columns
    ]


def account_state(row: models.Account) -> Account:
    """Return a head as the state of the aggregate."""
    return Account(**{name: getattr(row, name) for name in ACCOUNT_COLUMNS})


def transaction_state(row: models.Transaction) -> Transaction:
    """Return a head as the state of the aggregate."""
    return Transaction(**{name: getattr(row, name) for name in TRANSACTION_COLUMNS})
