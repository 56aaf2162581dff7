"""`/api/transactions/{id}/events`: the story of a transaction."""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from eventstore.messages import Context
from eventstore.records import Record
from transactions import queries
from transactions.api import serializers
from transactions.api.answers import log_lag_s, with_lag
from transactions.api.openapi import LAG, PAGING, page_of, path_id
from transactions.api.presenters import opened, present_event
from transactions.api.requests import context_of, id_of
from transactions.dispatch import queries as query_bus
from transactions.ledger import TransactionNotFound
from users.api.authentication import caller_of
from users.api.fields import parameters
from users.api.pagination import PARAMETERS, page

AUDIT = "audit:read"
# What an event says of its account afterwards: for the owner of that account.
BALANCES = ("posted", "held")
transaction_id_of = partial(id_of, otherwise=TransactionNotFound)


class StoryView(APIView):
    """The events of one transaction."""

    scopes: ClassVar = {"GET": "transactions:read"}

    @extend_schema(
        operation_id="list_transaction_events",
        parameters=[path_id("transaction"), *PAGING, LAG],
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
            if caller_of(request).has(AUDIT):
                return present_event(record)
            return _discreet(present_event(record, data=opened(record)), others)

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

    A payer may not learn the other party's balance, so `posted` and `held` are left out of events
    of the other's account. A hash would give it back: all else that it covers is known, so whoever
    tries every possible balance finds the one that fits, by the hash of this event or of any
    behind it. Hashes are for those who may read the log itself.
    """
    account = event["data"].get("account")
    if account and UUID(account) in others:
        for balance in BALANCES:
            event["data"].pop(balance, None)
    return {**event, "hash": None}
