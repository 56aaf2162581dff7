"""`/api/transactions`."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView
from uuid_utils.compat import uuid7

from eventstore.messages import Command, Envelope
from eventstore.messages import Response as StoredResponse
from transactions import queries
from transactions.api import bodies, filters, serializers
from transactions.api.answers import answer, answer_outcome
from transactions.api.openapi import (
    AS_OF,
    ETAG,
    IDEMPOTENCY_KEY,
    LOCATION,
    REPLAYED,
    page_of,
    parameters_of,
    path_id,
)
from transactions.api.presenters import (
    JSON_TYPE,
    encode,
    present_transaction,
    transaction_response,
)
from transactions.api.requests import as_of, claim_of, context_of, id_of
from transactions.dispatch import commands as command_bus
from transactions.dispatch import queries as query_bus
from transactions.domain import commands
from transactions.domain.transaction import Transaction
from transactions.ledger import TransactionNotFound
from transactions.models import Transaction as TransactionRow
from users.api.fields import parameters, validated
from users.api.pagination import page
from users.api.problems import PROBLEM_STATUSES

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
            shown = [transaction.id for transaction in found]
            stores.update(queries.store_states(shown, as_of=instant))
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
        return _move(
            request,
            body=bodies.movement_of,
            command=partial(bodies.command_of, id=uuid7()),
            status=201,
        )


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
        instant = as_of(given.get("as_of"))
        query = queries.GetTransaction(id=transaction_id_of(transaction), as_of=instant)
        found: Transaction = query_bus.ask(query, context_of(request))
        stores = queries.store_states([found.id], as_of=instant)
        body = present_transaction(found, stores[found.id])
        headers = {"Content-Type": JSON_TYPE, "ETag": f'"{found.version}"'}
        return answer(StoredResponse(status=200, body=encode(body), headers=headers))


class CaptureView(APIView):
    """Take the money of a hold."""

    scopes: ClassVar = {"POST": "transactions:write"}

    @extend_schema(
        operation_id="capture_transaction",
        parameters=[TRANSACTION_ID, IDEMPOTENCY_KEY, ETAG, REPLAYED],
        request=bodies.Capture,
        responses={200: serializers.Transaction},
    )
    def post(self, request: Request, transaction: str) -> HttpResponse:
        """Take all or part of what is held, once; the rest is released."""
        return _move(
            request,
            body=lambda _: bodies.Capture,
            command=lambda body: commands.CaptureHold(id=transaction_id_of(transaction), **body),
            status=200,
        )


class VoidView(APIView):
    """Release the money of a hold."""

    scopes: ClassVar = {"POST": "transactions:write"}

    @extend_schema(
        operation_id="void_transaction",
        parameters=[TRANSACTION_ID, IDEMPOTENCY_KEY, ETAG, REPLAYED],
        request=bodies.Nothing,
        responses={200: serializers.Transaction},
    )
    def post(self, request: Request, transaction: str) -> HttpResponse:
        """Release what is held."""
        return _move(
            request,
            body=lambda _: bodies.Nothing,
            command=lambda _: commands.VoidHold(id=transaction_id_of(transaction)),
            status=200,
        )


class ReverseView(APIView):
    """Send money back."""

    scopes: ClassVar = {"POST": "transactions:write"}

    @extend_schema(
        operation_id="reverse_transaction",
        parameters=[TRANSACTION_ID, IDEMPOTENCY_KEY, ETAG, LOCATION, REPLAYED],
        request=bodies.Reversal,
        responses={201: serializers.Transaction},
    )
    def post(self, request: Request, transaction: str) -> HttpResponse:
        """Send back all or part of what a transaction moved, by a transaction of its own."""
        return _move(
            request,
            body=lambda _: bodies.Reversal,
            command=lambda body: commands.ReverseTransaction(
                id=uuid7(), reverses=transaction_id_of(transaction), **body
            ),
            status=201,
        )


def _move(
    request: Request,
    *,
    body: Callable[[Any], type[Serializer[Any]]],
    command: Callable[[dict[str, Any]], Command],
    status: int,
) -> HttpResponse:
    """Execute a command that moves money, once for each Idempotency-Key.

    Args:
        body: returns what checks a body; the body is not read before the key is there.
        command: makes the command of the checked body.
        status: of the answer when the money moves.
    """
    context = context_of(request)
    present = partial(
        transaction_response,
        instance=request.path,
        request_id=context.request_id or "",
        status=status,
    )
    claim = claim_of(request, present=present)
    wanted = command(validated(body(request.data), request))
    outcome = command_bus.execute(Envelope(command=wanted, context=context, idempotency=claim))
    return answer_outcome(outcome)
