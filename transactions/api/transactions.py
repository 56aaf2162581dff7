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
from transactions.api import filters, serializers
from transactions.api.answers import (
    AS_OF,
    IDEMPOTENCY_KEY,
    answer,
    answer_outcome,
    filters_of,
    log_lag_s,
    page_of,
    with_lag,
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
from transactions.domain import commands
from transactions.domain.transaction import Transaction
from transactions.models import Transaction as TransactionRow
from transactions.queries import TransactionNotFound
from users.api.fields import parameters, validated
from users.api.pagination import PARAMETERS, page

OTHERS = frozenset({"as_of", "account"})
TRANSACTION_FILTERS = {
    "status": filters.Filter(parse=filters.one_of(*TransactionRow.Status.values)),
    "type": filters.Filter(parse=filters.text),
    "reference": filters.Filter(parse=filters.text),
    "created_at": filters.CREATED_AT,
    "amount": filters.Filter(parse=filters.integer, ranged=True),
}
transaction_id_of = partial(id_of, otherwise=TransactionNotFound)


class TransactionsView(APIView):
    """Move money, and list what has moved."""

    scopes: ClassVar = {"GET": "transactions:read", "POST": "transactions:write"}

    @extend_schema(
        operation_id="list_transactions",
        parameters=[
            *filters_of("status", "type", "account", "reference", "created_at[gte]", "amount[gte]"),
            AS_OF,
        ],
        responses={200: page_of(serializers.TransactionAnswer)},
    )
    def get(self, request: Request) -> Response:
        """List the transactions of one's accounts, newest first."""
        given, conditions = filters.read(request, TRANSACTION_FILTERS, others=OTHERS, metadata=True)
        instant = as_of(given.get("as_of"))
        account = given.get("account")
        account_id = filters.identifier("account", account) if account else None
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
        parameters=[IDEMPOTENCY_KEY],
        request=serializers.CreateTransactionBody,
        responses={201: serializers.TransactionAnswer},
    )
    def post(self, request: Request) -> HttpResponse:
        """Move money; the same Idempotency-Key moves it once."""
        context = context_of(request)
        present = partial(
            transaction_response, instance=request.path, request_id=context.request_id or ""
        )
        claim = claim_of(request, present=present)
        body = validated(serializers.CreateTransactionBody, request)
        body.pop("consistency")
        outcome = command_bus.execute(
            Envelope(
                command=commands.CreateTransaction(id=uuid7(), **body),
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
        parameters=[AS_OF],
        responses={200: serializers.TransactionAnswer},
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
        parameters=filters_of(),
        responses={200: page_of(serializers.EventAnswer)},
    )
    def get(self, request: Request, transaction: str) -> Response:
        """Tell the whole story of a transaction, by position."""
        parameters(request, allowed=PARAMETERS)
        context = context_of(request)
        lag_s = log_lag_s()
        hidden: set[UUID] = set()

        def fetch(after: str | None, limit: int) -> list[Record]:
            query = queries.GetStory(
                transaction=transaction_id_of(transaction), limit=limit, after=int(after or 0)
            )
            found: list[Record] = query_bus.ask(query, context)
            hidden.update(_accounts_of_others(found, context))
            return found

        answered = page(
            request,
            filters={},
            fetch=fetch,
            key=lambda record: str(record.position),
            present=lambda record: _discreet(present_event(record), hidden),
        )
        return with_lag(answered, lag_s)


def _accounts_of_others(records: Sequence[Record], context: Context) -> set[UUID]:
    named = {json.loads(record.data).get("account") for record in records}
    return queries.accounts_of_others([UUID(name) for name in named if name], context)


def _discreet(event: dict[str, Any], hidden: set[UUID]) -> dict[str, Any]:
    """Leave out what the other party's balance is; a payer may not learn it from an event."""
    account = event["data"].get("account")
    if account and UUID(account) in hidden:
        event["data"].pop("posted", None)
    return event
