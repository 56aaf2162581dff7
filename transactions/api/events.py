"""`/api/events`: the log, for auditors."""

from functools import partial
from typing import ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from eventstore.queries import FILTERS
from eventstore.records import Record
from transactions import queries
from transactions.api import serializers
from transactions.api.answers import filters_of, log_lag_s, page_of, with_lag
from transactions.api.filters import integer, text
from transactions.api.presenters import present_event
from transactions.api.requests import context_of, id_of
from transactions.dispatch import queries as query_bus
from transactions.queries import EventNotFound
from users.api.fields import parameters, refuse
from users.api.pagination import PARAMETERS, page

# A transaction is the operation to which its events belong.
COLUMN_OF = {**{name: name for name in FILTERS}, "transaction": "correlation_id"}
event_id_of = partial(id_of, otherwise=EventNotFound)


class EventsView(APIView):
    """The log."""

    scopes: ClassVar = {"GET": "audit:read"}

    @extend_schema(
        operation_id="list_events",
        parameters=[
            *filters_of(*COLUMN_OF),
            OpenApiParameter("after", int, description="A position; the list begins behind it."),
        ],
        responses={200: page_of(serializers.EventAnswer)},
    )
    def get(self, request: Request) -> Response:
        """List events in global order."""
        given = parameters(request, allowed={*PARAMETERS, *COLUMN_OF, "after"})
        narrowing = {name: text(name, given[name]) for name in COLUMN_OF if name in given}
        if "transaction" in narrowing and "correlation_id" in narrowing:
            detail = "A transaction is a correlation id: give one of the two."
            refuse([{"parameter": "transaction", "code": "not_allowed", "detail": detail}])
        start = max(integer("after", given.get("after", "0")), 0)
        columns = {COLUMN_OF[name]: value for name, value in narrowing.items()}
        lag_s = log_lag_s()

        def fetch(after: str | None, limit: int) -> list[Record]:
            query = queries.ListEvents(
                filters=columns, limit=limit, after=int(after) if after else start
            )
            found: list[Record] = query_bus.ask(query, context_of(request))
            return found

        answered = page(
            request,
            filters={**narrowing, "after": str(start)},
            fetch=fetch,
            key=lambda record: str(record.position),
            present=present_event,
        )
        return with_lag(answered, lag_s)


class EventView(APIView):
    """One event."""

    scopes: ClassVar = {"GET": "audit:read"}

    @extend_schema(operation_id="get_event", responses={200: serializers.EventAnswer})
    def get(self, request: Request, event: str) -> Response:
        """Read one event."""
        parameters(request, allowed=frozenset())
        query = queries.GetEvent(id=event_id_of(event))
        return Response(present_event(query_bus.ask(query, context_of(request))))
