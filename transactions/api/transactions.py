"""`/api/transactions`."""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from uuid_utils.compat import uuid7

from eventstore.messages import Context, Envelope
from eventstore.messages import Response as StoredResponse
from eventstore.records import Record
from transactions import queries
from transactions.api import bodies, filters, serializers
from transactions.api.answers import answer, answer_outcome, log_lag_s, with_lag
from transactions.api.openapi import (
    AS_OF,
    ETAG,
    IDEMPOTENCY_KEY,
    LAG,
    LOCATION,
    PAGING,
    REPLAYED,
    page_of,
    parameters_of,
    path_id,
)
from transactions.api.presenters import (
    JSON_TYPE,
    encode,
    present_event,
    present_transaction,
    transaction_response,
)
from transactions.api.requests import as_of, claim_of, context_of, id_of
from transactions.dispatch import commands as command_bus
from transactions.dispatch import queries as query_bus
from transactions.domain.transaction import Transaction
from transactions.ledger import TransactionNotFound
from transactions.models import Transaction as TransactionRow
from users.api.authentication import caller_of
from users.api.fields import parameters, validated
from users.api.pagination import PARAMETERS, page
from users.api.problems import PROBLEM_STATUSES

AUDIT = "audit:read"
OTHERS = frozenset({"as_of", "account"})
TRANSACTION_FILTERS = {
    "status": filters.one_of(*TransactionRow.Status.values),
    "type": filters.one_of(*serializers.TRANSACTION_TYPES),
    "reference": filters.TEXT,
    "created_at": filters.CREATED_AT,
    "amount": filters.AMOUNT,
}
TRANSACTION_ID = path_id("transaction")
transaction_id_of = partial(id_of, otherwise=TransactionNotFound)


class TransactionsView(APIView):
    """Move money, and list what has moved."""

    scopes: ClassVar = {"GET": "transactions:read", "POST": "transactions:write"}

    @extend_schema(
        operation_id="list_transactions",
        parameters=[
            *parameters_of({**TRANSACTION_FILTERS, "account": filters.IDENTIFIER}, metadata=True),
            AS_OF,
        ],
        responses={200: page_of(serializers.Transaction)},
    )
    def get(self, request: Request) -> Response:
        """List the transactions of one's accounts, newest first."""
        given, conditions = filters.read(request, TRANSACTION_FILTERS, others=OTHERS, metadata=True)
        instant = as_of(given.get("as_of"))
        account = given.get("account")
        account_id = None if account is None else filters.identifier("account", account)
        stores: dict[UUID, dict[str, str]] = {}

        def fetch(after: str | None, limit: int) -> list[Transaction]:
            query = queries.ListTransactions(
                limit=limit,
                after=UUID(after) if after else None,
                account=account_id,
                conditions=conditions,
                as_of=instant,
            )
            found: list[Transaction] = query_bus.ask(query, context_of(request))
            stores.update(queries.store_states([transaction.id for transaction in found]))
            return found

        return page(
            request,
            filters=given,
            fetch=fetch,
            key=lambda transaction: str(transaction.id),
            present=lambda transaction: present_transaction(transaction, stores[transaction.id]),
        )

    @extend_schema(
        operation_id="create_transaction",
        parameters=[IDEMPOTENCY_KEY, ETAG, LOCATION, REPLAYED],
        request=bodies.MOVEMENT,
        responses={201: serializers.Transaction},
        # Of accounts that the body names.
        extensions={PROBLEM_STATUSES: [404]},
    )
    def post(self, request: Request) -> HttpResponse:
        """Move money; the same Idempotency-Key moves it once."""
        context = context_of(request)
        present = partial(
            transaction_response, instance=request.path, request_id=context.request_id or ""
        )
        claim = claim_of(request, present=present)
        body = validated(bodies.movement_of(request.data), request)
        outcome = command_bus.execute(
            Envelope(
                command=bodies.command_of(body, id=uuid7()),
                context=context,
                idempotency=claim,
            )
        )
        return answer_outcome(outcome)


class TransactionView(APIView):
    """One transaction."""

    scopes: ClassVar = {"GET": "transactions:read"}

    @extend_schema(
        operation_id="get_transaction",
        parameters=[TRANSACTION_ID, AS_OF, ETAG],
        responses={200: serializers.Transaction},
    )
    def get(self, request: Request, transaction: str) -> HttpResponse:
        """Read a transaction, and what each store knows of it."""
        given = parameters(request, allowed={"as_of"})
        query = queries.GetTransaction(
            id=transaction_id_of(transaction), as_of=as_of(given.get("as_of"))
        )
        found: Transaction = query_bus.ask(query, context_of(request))
        body = present_transaction(found, queries.store_states([found.id])[found.id])
        headers = {"Content-Type": JSON_TYPE, "ETag": f'"{found.version}"'}
        return answer(StoredResponse(status=200, body=encode(body), headers=headers))


class StoryView(APIView):
    """The events of one transaction."""

    scopes: ClassVar = {"GET": "transactions:read"}

    @extend_schema(
        operation_id="list_transaction_events",
        parameters=[TRANSACTION_ID, *PAGING, LAG],
        responses={200: page_of(serializers.StoryEvent)},
    )
    def get(self, request: Request, transaction: str) -> Response:
        """Tell the whole story of a transaction, by position."""
        parameters(request, allowed=PARAMETERS)
        context = context_of(request)
        lag_s = log_lag_s()
        others: set[UUID] = set()

        def fetch(after: str | None, limit: int) -> list[Record]:
            query = queries.GetStory(
                transaction=transaction_id_of(transaction), limit=limit, after=int(after or 0)
            )
            found: list[Record] = query_bus.ask(query, context)
            others.update(_accounts_of_others(found, context))
            return found

        def present(record: Record) -> dict[str, Any]:
            event = present_event(record)
            return event if caller_of(request).has(AUDIT) else _discreet(event, others)

        answered = page(
            request, filters={}, fetch=fetch, key=lambda each: str(each.position), present=present
        )
        return with_lag(answered, lag_s)


def _accounts_of_others(records: Sequence[Record], context: Context) -> set[UUID]:
    named = {json.loads(record.data).get("account") for record in records}
    return queries.accounts_of_others([UUID(name) for name in named if name], context)


def _discreet(event: dict[str, Any], others: set[UUID]) -> dict[str, Any]:
    """Return an event of a story as the parties may see it.

    # Note [A hash gives away what it covers]

    A payer may not learn the other party's balance, so `posted` is left out of events of the
    other's account. A hash would give it back: all else that it covers is known, so whoever
    tries every possible balance finds the one that fits, by the hash of this event or of any
    behind it. Hashes are for those who may read the log itself.
    """
    account = event["data"].get("account")
    if account and UUID(account) in others:
        event["data"].pop("posted", None)
    return {**event, "hash": None}
