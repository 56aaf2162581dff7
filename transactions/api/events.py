"""`/api/events`: the log, for auditors."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from eventstore import tree_heads
from eventstore.queries import FILTERS
from eventstore.records import Record
from transactions import queries
from transactions.api import log_answers, serializers
from transactions.api.answers import log_lag_s, with_lag
from transactions.api.filters import IDENTIFIER, POSITION, TEXT, Filter, integer
from transactions.api.openapi import ETAG, LAG, page_of, parameters_of, path_id
from transactions.api.presenters import present_event
from transactions.api.requests import context_of, id_of
from transactions.api.streams import streamed
from transactions.dispatch import queries as query_bus
from transactions.queries import EventNotFound
from users.api.fields import parameters, refuse
from users.api.pagination import PARAMETERS, page
from users.api.problems import PROBLEM_STATUSES

EVENT_FILTERS = {
    **dict.fromkeys(FILTERS, TEXT),
    "transaction": IDENTIFIER,
    "after": POSITION,
}


def _export_limit(parameter: str, value: str) -> int:
    """Accept how many events an export may have."""
    found = integer(parameter, value)
    if not 1 <= found <= log_answers.EXPORT_LIMIT_MAX:
        detail = f"This must be 1 to {log_answers.EXPORT_LIMIT_MAX}."
        refuse([{"parameter": parameter, "code": "invalid_limit", "detail": detail}])
    return found


EXPORT_LIMIT = Filter(
    parse=_export_limit,
    schema={
        "type": "integer",
        "minimum": 1,
        "maximum": log_answers.EXPORT_LIMIT_MAX,
        "default": log_answers.EXPORT_LIMIT_DEFAULT,
    },
)
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


class TreeHeadView(APIView):
    """The newest signed tree head."""

    scopes: ClassVar = {"GET": "audit:read"}

    @extend_schema(
        operation_id="get_tree_head",
        responses={200: log_answers.TreeHead},
        extensions={PROBLEM_STATUSES: [404]},
    )
    def get(self, request: Request) -> Response:
        """Read the newest signed tree head.

        It covers all events but those of the last seconds. Keep it: with it you will notice when
        any of them is changed or cut off later. Without any events there is none (404).
        """
        parameters(request, allowed=frozenset())
        return Response(log_answers.present_tree_head(tree_heads.newest_or_first()))


class ProofView(APIView):
    """The proof that an event is in the log."""

    scopes: ClassVar = {"GET": "audit:read"}

    @extend_schema(
        operation_id="prove_event",
        parameters=[path_id("event")],
        responses={200: log_answers.InclusionProof},
        extensions={PROBLEM_STATUSES: [409]},
    )
    def get(self, request: Request, event: str) -> Response:
        """Prove that an event is in the tree of the newest signed tree head.

        An event of the last seconds is not covered yet: 409 `not_yet_in_tree`, and `Retry-After`.
        """
        parameters(request, allowed=frozenset())
        found = tree_heads.prove(event_id_of(event))
        if found is None:
            raise EventNotFound(f"No event {event} was found.")
        return Response(log_answers.present_proof(found))


class ExportView(APIView):
    """The log as a file."""

    scopes: ClassVar = {"GET": "audit:read"}
    renderer_classes = (log_answers.NDJSONRenderer, JSONRenderer)

    @extend_schema(
        operation_id="export_events",
        parameters=[
            OpenApiParameter(
                "after",
                POSITION.schema,
                OpenApiParameter.QUERY,
                description="The position behind which to begin: `to` of the part before.",
            ),
            OpenApiParameter(
                "limit",
                EXPORT_LIMIT.schema,
                OpenApiParameter.QUERY,
                description="How many events to export at most.",
            ),
        ],
        responses={
            (200, log_answers.EXPORT_TYPE): OpenApiResponse(
                OpenApiTypes.STR,
                description=(
                    "One event a line, by position: the bytes that its hash covers, and then"
                    ' `"hash"`. The last line is `{"manifest": {"from", "to", "count", "sha256",'
                    ' "tree_head"}}`: the first and the last position (null in an empty export),'
                    " the SHA-256 of all bytes before this line, and the newest signed tree head"
                    " of when the export began (null without events). An export without this"
                    " line was broken off: go on behind its last event."
                ),
            )
        },
    )
    def get(self, request: Request) -> HttpResponseBase:
        """Export the log, to be verified without this system."""
        given = parameters(request, allowed={"after", "limit"})
        after = POSITION.parse("after", given.get("after", "0"))
        limit = EXPORT_LIMIT.parse(
            "limit", given.get("limit", str(log_answers.EXPORT_LIMIT_DEFAULT))
        )
        parts = log_answers.export_parts(after=after, limit=limit)
        return StreamingHttpResponse(
            streamed(parts, name="export"),
            content_type=log_answers.EXPORT_TYPE,
            headers={"Content-Disposition": f'attachment; filename="events-after-{after}.ndjson"'},
        )


def _columns(wanted: Mapping[str, Any]) -> dict[str, str]:
    """Return what the log is to be filtered by: a transaction is a correlation id."""
    columns = {name: str(value) for name, value in wanted.items() if name != "transaction"}
    if "transaction" in wanted:
        if "correlation_id" in columns:
            detail = "A transaction is a correlation id: give one of the two."
            refuse([{"parameter": "transaction", "code": "not_allowed", "detail": detail}])
        columns["correlation_id"] = str(wanted["transaction"])
    return columns
