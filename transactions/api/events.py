"""`/api/events`: the log, for auditors."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from eventstore.queries import FILTERS
from eventstore.records import Record
from transactions import queries
from transactions.api import serializers
from transactions.api.answers import log_lag_s, with_lag
from transactions.api.filters import IDENTIFIER, POSITION, TEXT
from transactions.api.openapi import ETAG, LAG, page_of, parameters_of, path_id
from transactions.api.presenters import present_event
from transactions.api.requests import context_of, id_of
from transactions.dispatch import queries as query_bus
from transactions.queries import EventNotFound
from users.api.fields import parameters, refuse
from users.api.pagination import PARAMETERS, page

EVENT_FILTERS = {
    **dict.fromkeys(FILTERS, TEXT),
    "transaction": IDENTIFIER,
    "after": POSITION,
}
event_id_of = partial(id_of, otherwise=EventNotFound)


class EventsView(APIView):
    """The log."""

    scopes: ClassVar = {"GET": "audit:read"}

    @extend_schema(
        operation_id="list_events",
        parameters=[*parameters_of(EVENT_FILTERS), LAG],
        responses={200: page_of(serializers.Event)},
    )
    def get(self, request: Request) -> Response:
        """List events in global order."""
        given = parameters(request, allowed={*PARAMETERS, *EVENT_FILTERS})
        wanted = {
            name: EVENT_FILTERS[name].parse(name, value)
            for name, value in given.items()
            if name in EVENT_FILTERS
        }
        start = wanted.pop("after", 0)
        columns = _columns(wanted)
        lag_s = log_lag_s()

        def fetch(after: str | None, limit: int) -> list[Record]:
            query = queries.ListEvents(
                filters=columns, limit=limit, after=int(after) if after else start
            )
            found: list[Record] = query_bus.ask(query, context_of(request))
            return found

        answered = page(
            request,
            filters={**columns, "after": str(start)},
            fetch=fetch,
            key=lambda record: str(record.position),
            present=present_event,
        )
        return with_lag(answered, lag_s)


class EventView(APIView):
    """One event."""

    scopes: ClassVar = {"GET": "audit:read"}

    @extend_schema(
        operation_id="get_event",
        parameters=[path_id("event"), ETAG],
        responses={200: serializers.Event},
    )
    def get(self, request: Request, event: str) -> Response:
        """Read one event."""
        parameters(request, allowed=frozenset())
        query = queries.GetEvent(id=event_id_of(event))
        found: Record = query_bus.ask(query, context_of(request))
        return Response(present_event(found), headers={"ETag": f'"{found.version}"'})


def _columns(wanted: Mapping[str, Any]) -> dict[str, str]:
    """Return what the log is to be filtered by: a transaction is a correlation id."""
    columns = {name: str(value) for name, value in wanted.items() if name != "transaction"}
    if "transaction" in wanted:
        if "correlation_id" in columns:
            detail = "A transaction is a correlation id: give one of the two."
            refuse([{"parameter": "transaction", "code": "not_allowed", "detail": detail}])
        columns["correlation_id"] = str(wanted["transaction"])
    return columns
