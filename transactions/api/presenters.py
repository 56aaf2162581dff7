"""The ledger's objects as clients see them: pure functions from state to JSON values."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from eventstore.clock import format_time
from eventstore.codec import PERSONAL
from eventstore.messages import Response
from eventstore.records import Record
from eventstore.store import event_store
from transactions.domain.account import Account
from transactions.domain.events import CODEC
from transactions.domain.money import display
from transactions.domain.transaction import Transaction
from transactions.models import Entry
from transactions.stores import AUTHORITY, STORES
from users.api.problems import CONTENT_TYPE as PROBLEM_TYPE
from users.api.problems import problem_document

JSON_TYPE = "application/json"
# The status of every refusal; the gateway's table has the others.
REFUSED = 422


def money(amount: int, currency: str) -> dict[str, Any]:
    """Return a money object of `amount` minor units."""
    return {"amount": amount, "currency": currency, "display": display(amount, currency)}


def present_account(account: Account) -> dict[str, Any]:
    """Return an account as the API shows it."""
    return {
        "id": str(account.id),
        "owner": str(account.owner),
        "ledger": account.ledger,
        "currency": account.currency,
        "name": account.name,
        "status": account.status,
        "overdraft_limit": account.overdraft_limit,
        "balance": {
            "posted": money(account.posted, account.currency),
            "held": money(account.held, account.currency),
            "available": money(account.available, account.currency),
        },
        "metadata": account.metadata,
        "version": account.version,
        "created_at": format_time(account.created_at),
    }


def present_entry(entry: Entry) -> dict[str, Any]:
    """Return an entry as the API shows it."""
    return {
        "id": str(entry.id),
        "account": str(entry.account),
        "transaction": str(entry.transaction),
        "direction": entry.direction,
        "amount": entry.amount,
        "currency": entry.currency,
        "display": display(entry.amount, entry.currency),
        "running_balance": entry.running_balance,
        "position": entry.position,
        "created_at": format_time(entry.created_at),
    }


def present_transaction(transaction: Transaction, stores: Mapping[str, str]) -> dict[str, Any]:
    """Return a transaction as the API shows it, with what each store knows of it."""
    failure = None
    expires_at = transaction.expires_at
    if transaction.failure_code:
        failure = {"code": transaction.failure_code, "detail": transaction.failure_detail}
        # Nothing was reserved, so nothing expires.
        expires_at = None
    return {
        "id": str(transaction.id),
        "type": transaction.type,
        "status": transaction.status,
        "source": str(transaction.source) if transaction.source else None,
        "destination": str(transaction.destination) if transaction.destination else None,
        "recipient": None,
        "amount": transaction.amount,
        "currency": transaction.currency,
        "display": display(transaction.amount, transaction.currency),
        "description": transaction.description,
        "reference": transaction.reference,
        "metadata": transaction.metadata,
        "consistency": "eventual",
        "stores": dict(stores),
        "failure": failure,
        "captured_amount": transaction.captured_amount,
        "expires_at": format_time(expires_at) if expires_at else None,
        "reverses": str(transaction.reverses) if transaction.reverses else None,
        "reversed_amount": transaction.reversed_amount,
        "version": transaction.version,
        "created_at": format_time(transaction.created_at),
        "completed_at": (
            format_time(transaction.completed_at) if transaction.completed_at else None
        ),
    }


def opened(record: Record) -> dict[str, Any]:
    """Return the data of an event, what is sealed in it in clear; blank without its key."""
    data: dict[str, Any] = json.loads(record.data)
    if data.pop(PERSONAL, None) is not None:
        event = event_store().event_of(record)
        data.update({name: getattr(event, name) for name in CODEC.personal[type(event)]})
    return data


def present_event(record: Record, *, data: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return an event as the API shows it: what its hash covers, and the hash.

    Args:
        data: to be shown instead of what is stored.
    """
    return {
        "id": str(record.id),
        "position": record.position,
        "stream": record.stream,
        "version": record.version,
        "type": record.type,
        "schema_version": record.schema_version,
        "data": json.loads(record.data) if data is None else data,
        "metadata": {
            "actor": record.metadata.actor,
            "correlation_id": record.metadata.correlation_id,
            "causation_id": record.metadata.causation_id,
            "request_id": record.metadata.request_id,
        },
        "occurred_at": format_time(record.occurred_at),
        "hash": record.hash.hex() if record.hash else None,
    }


def encode(body: Mapping[str, Any]) -> bytes:
    """Return `body` as the bytes of an answer, compact, in the order of its members."""
    return msgspec.json.encode(body)


def account_response(account: Account, *, status: int) -> Response:
    """Return the answer that shows one account."""
    headers = {"Content-Type": JSON_TYPE, "ETag": f'"{account.version}"'}
    if status == 201:
        headers["Location"] = f"/api/accounts/{account.id}"
    return Response(status=status, body=encode(present_account(account)), headers=headers)


def transaction_response(
    transaction: Transaction, *, instance: str, request_id: str, status: int = 201
) -> Response:
    """Return the answer to a request for a transaction, or the problem that refused it.

    Args:
        instance: the path that was asked.
        request_id: the id of the request.
        status: of the answer if it was not refused: 201 for one that is new, or 200.
    """
    headers = {"Location": f"/api/transactions/{transaction.id}"}
    if transaction.status == "failed":
        problem = problem_document(
            status=REFUSED,
            code=transaction.failure_code,
            detail=transaction.failure_detail,
            instance=instance,
            request_id=request_id,
            retryable=False,
            transaction_id=str(transaction.id),
        )
        headers["Content-Type"] = PROBLEM_TYPE
        return Response(status=REFUSED, body=encode(problem), headers=headers)
    stores = {AUTHORITY: "confirmed", **dict.fromkeys(STORES, "pending")}
    headers |= {"Content-Type": JSON_TYPE, "ETag": f'"{transaction.version}"'}
    if status != 201:
        del headers["Location"]
    return Response(
        status=status, body=encode(present_transaction(transaction, stores)), headers=headers
    )
