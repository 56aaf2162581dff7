"""`/api/accounts/{id}/statement`, as JSON or CSV.

A statement may be of any length, so both forms are made a page at a time. A short one is answered
whole, like any other answer; a long one is sent as it is made, with the memory of one page.
"""

import csv
from collections.abc import Iterator
from datetime import datetime
from io import StringIO
from itertools import chain, islice
from typing import Any, ClassVar

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    inline_serializer,
)
from rest_framework import serializers
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from eventstore.clock import format_time, utc_now
from transactions.api import filters
from transactions.api.accounts import ACCOUNT_ID, account_id_of
from transactions.api.answers import LAG_HEADER, lane_lag_s
from transactions.api.openapi import LAG
from transactions.api.presenters import JSON_TYPE, encode, present_entry
from transactions.api.requests import context_of, time_of
from transactions.api.serializers import Entry
from transactions.api.streams import streamed
from transactions.dispatch import queries as query_bus
from transactions.statements import GetStatement, Statement, descriptions, entry_pages
from users.api.fields import TimestampField, parameters, refuse

# The beginning, one page, and the end: what has no more parts is answered whole.
WHOLE_PARTS_MAX = 3
# A client that reads too slowly is cut off, so that it does not hold a thread for ever.
CSV_TYPE = "text/csv; charset=utf-8; header=present"
CSV_COLUMNS = (
    "created_at",
    "transaction",
    "description",
    "direction",
    "amount",
    "currency",
    "running_balance",
)
OPENING, CLOSING = "opening balance", "closing balance"
# What makes a spreadsheet take a text for a formula, in either width, and what it strips first.
# Source: OWASP, "CSV Injection".
_FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001
_FILE_TIME = "%Y%m%dT%H%M%SZ"
_CSV_EXAMPLE = """created_at,transaction,description,direction,amount,currency,running_balance
2026-01-01T00:00:00.000000Z,,opening balance,,,EUR,1000
2026-01-02T03:04:05.000006Z,01a20574-e53c-759f-a21b-a4b06677040e,Rent,debit,250,EUR,750
2026-02-01T00:00:00.000000Z,,closing balance,,,EUR,750
"""

FORMAT = filters.one_of("json", "csv")
_TIME = {"type": "string", "format": "date-time"}
PARAMETERS = [
    OpenApiParameter(name, schema, OpenApiParameter.QUERY, description=description)
    for name, schema, description in (
        ("from", _TIME, "The first instant of it; by default that of the account's opening."),
        ("to", _TIME, "The first instant after it; by default now."),
        ("format", FORMAT.schema, "By default what `Accept` asks for, JSON before CSV."),
    )
]
STATEMENT = inline_serializer(
    "Statement",
    {
        "account": serializers.UUIDField(),
        "from": TimestampField(),
        "to": TimestampField(),
        "opening_balance": serializers.IntegerField(),
        "entries": Entry(many=True),
        "closing_balance": serializers.IntegerField(),
    },
)


class CSVRenderer(BaseRenderer):
    """Takes part in the choice of a form by `Accept`; the view makes the text itself."""

    media_type = "text/csv"
    format = "csv"
    charset = "utf-8"


class StatementView(APIView):
    """What moved on an account within a time, between two balances."""

    scopes: ClassVar = {"GET": "accounts:read"}
    renderer_classes = (JSONRenderer, CSVRenderer)

    @extend_schema(
        operation_id="get_statement",
        parameters=[
            ACCOUNT_ID,
            *PARAMETERS,
            LAG,
        ],
        responses={
            (200, "application/json"): STATEMENT,
            (200, "text/csv"): OpenApiResponse(
                OpenApiTypes.STR,
                description=(
                    "RFC 4180, with a header. The first row is the opening balance and the last "
                    "one the closing balance: they have no transaction, direction or amount. A "
                    "description that a spreadsheet would take for a formula has an apostrophe "
                    "in front."
                ),
                examples=[OpenApiExample("A statement", _CSV_EXAMPLE, media_type="text/csv")],
            ),
        },
    )
    def get(self, request: Request, account: str) -> HttpResponseBase:
        """Tell what moved on an account in a time, oldest first, and its balances around it.

        `opening_balance` and all entries add up to `closing_balance`, in every answer. An entry
        at the instant `from` belongs to the statement; one at the instant `to` does not.
        """
        given = parameters(request, allowed={"from", "to", "format"})
        form = given.get("format", request.accepted_renderer.format)
        FORMAT.parse("format", form)
        since, until = _period(given)
        lag_s = lane_lag_s("entries")
        query = GetStatement(account=account_id_of(account), since=since, until=until)
        statement: Statement = query_bus.ask(query, context_of(request))
        if form == "csv":
            answered = _answer(csv_parts(statement), content_type=CSV_TYPE)
            answered["Content-Disposition"] = f'attachment; filename="{_file_name(statement)}"'
        else:
            answered = _answer(json_parts(statement), content_type=JSON_TYPE)
        if lag_s > 1:
            answered[LAG_HEADER] = f"{lag_s:.1f}"
        return answered


def json_parts(statement: Statement) -> Iterator[bytes]:
    """Yield a statement as JSON: its beginning, a part for each page of entries, its end."""
    head = encode(
        {
            "account": str(statement.account),
            "from": format_time(statement.since),
            "to": format_time(statement.until),
            "opening_balance": statement.opening_balance,
        }
    )
    yield head[:-1] + b',"entries":['
    separator = b""
    for page in entry_pages(statement):
        yield separator + b",".join(encode(present_entry(entry)) for entry in page)
        separator = b","
    yield b'],"closing_balance":%d}' % statement.closing_balance


def csv_parts(statement: Statement) -> Iterator[bytes]:
    """Yield a statement as CSV: its beginning, a part for each page of entries, its end."""
    currency = statement.currency
    since, until = format_time(statement.since), format_time(statement.until)
    opening = (since, "", OPENING, "", "", currency, statement.opening_balance)
    closing = (until, "", CLOSING, "", "", currency, statement.closing_balance)
    yield _csv([CSV_COLUMNS, opening])
    for page in entry_pages(statement):
        said = descriptions(page)
        yield _csv(
            (
                format_time(entry.created_at),
                entry.transaction,
                harmless(said.get(entry.transaction, "")),
                entry.direction,
                entry.amount,
                entry.currency,
                entry.running_balance,
            )
            for entry in page
        )
    yield _csv([closing])


def harmless(text: str) -> str:
    """Return `text`, with an apostrophe in front if a spreadsheet would take it for a formula."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA_STARTS) else text


def _csv(rows: Any) -> bytes:
    text = StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _period(given: dict[str, str]) -> tuple[datetime | None, datetime]:
    since = time_of("from", given["from"]) if "from" in given else None
    until = time_of("to", given["to"]) if "to" in given else utc_now()
    if since is not None and since > until:
        detail = "`from` is later than `to`, which is now if it is not given."
        refuse([{"parameter": "from", "code": "invalid_period", "detail": detail}])
    return since, until


def _file_name(statement: Statement) -> str:
    """Return a name of letters, digits, points and dashes."""
    times = (f"{each:{_FILE_TIME}}" for each in (statement.since, statement.until))
    return f"statement-{statement.account}-{'-'.join(times)}.csv"


def _answer(parts: Iterator[bytes], *, content_type: str) -> HttpResponseBase:
    """Return a short answer whole, and begin a long one.

    The first page is read here, so what is wrong is most often told by a status.
    """
    begun = list(islice(parts, WHOLE_PARTS_MAX + 1))
    if len(begun) <= WHOLE_PARTS_MAX:
        return HttpResponse(b"".join(begun), content_type=content_type)
    rest = streamed(chain(begun, parts), name="statement")
    return StreamingHttpResponse(rest, content_type=content_type)
