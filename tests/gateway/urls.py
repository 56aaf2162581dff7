"""The site's addresses, and views under the services' names that behave as a test needs it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path
from rest_framework import exceptions as drf
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from eventstore.errors import InvalidInput, PlatformError
from platform_site import urls as site
from platform_site.database.pools import DatabaseOverloaded
from resilience import BulkheadFull, DeadlineExceeded, RateLimited, current_deadline


class Stale(PlatformError):
    """An error with a status of its own."""

    code = "stale_version"


class Unheard(PlatformError):
    """An error whose code nobody gave a status."""

    code = "a_code_without_a_status"


class Waiting(PlatformError):
    """An error that says how long to wait."""

    code = "idempotency_in_progress"
    retryable = True


ERRORS: dict[str, Callable[[], Exception]] = {
    "bug": lambda: ZeroDivisionError("the secret is swordfish"),
    "stale": lambda: Stale("Read it again.", current_version=7),
    "unheard": lambda: Unheard("Nobody knows."),
    "waiting": lambda: Waiting("Wait.", retry_after_s=2.2),
    "input": lambda: InvalidInput(
        "No.", errors=[{"pointer": "/amount", "code": "required", "detail": "Give one."}]
    ),
    "surrogate": lambda: Stale("half \ud800 pair"),
    "bulkhead": lambda: BulkheadFull("accounts", 1.5),
    "limited": lambda: RateLimited("accounts", 41.5),
    "deadline": lambda: DeadlineExceeded("The request"),
    "sqlite-locked": lambda: OperationalError("database is locked"),
    "mysql-gone": lambda: OperationalError(2006, "Server has gone away"),
    "mysql-killed": lambda: OperationalError(1927, "Connection was killed"),
    "mysql-pool": lambda: DatabaseOverloaded("all 20 connections are in use"),
    "no-table": lambda: OperationalError("no such table: swordfish"),
    "http404": lambda: Http404("swordfish"),
    "denied": lambda: PermissionDenied("swordfish"),
    "suspicious": lambda: SuspiciousOperation("swordfish"),
    "not-authenticated": drf.NotAuthenticated,
    "bad-credentials": drf.AuthenticationFailed,
    "throttled": lambda: drf.Throttled(wait=7),
    "serializer": lambda: drf.ValidationError({"a/b": ["Wrong."], "list": [{"x": ["Odd."]}]}),
}


class Fails(APIView):
    """Raises the error that the address names."""

    public = True

    def get(self, request: Request, name: str) -> Response:
        error = ERRORS[name]()
        raise error


def plain_fails(request: HttpRequest, name: str) -> HttpResponse:
    """Raise the error that the address names, outside of REST framework."""
    error = ERRORS[name]()
    raise error


class Echo(APIView):
    """Answers what it was sent."""

    public = True

    def post(self, request: Request) -> Response:
        return Response({"data": request.data})

    def get(self, request: Request) -> Response:
        http_request: Any = request._request
        deadline = current_deadline()
        return Response(
            {
                "request_id": http_request.request_id,
                "traceparent": http_request.traceparent,
                "deadline_s": deadline.remaining_s() if deadline else None,
            }
        )


@dataclass
class Gate:
    """What a view does while it is being worked on; each test brings its own."""

    pass_through: Callable[[], None] = field(default=lambda: None)


gate = Gate()


class Gated(APIView):
    """Calls the gate that the test has set."""

    public = True

    def get(self, request: Request) -> Response:
        gate.pass_through()
        return Response({})


def large(request: HttpRequest) -> HttpResponse:
    """Answer with as many bytes, and with the headers, that the query names."""
    query = request.GET
    response = HttpResponse(b"a" * int(query.get("size", "5000")), content_type="application/json")
    response.headers["ETag"] = '"7"'
    if "cache" in query:
        response.headers["Cache-Control"] = query["cache"]
    if "type" in query:
        response.headers["Content-Type"] = query["type"]
    return response


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Answer in pieces."""
    return StreamingHttpResponse(iter([b"a" * 5000]), content_type="application/json")


def page(request: HttpRequest) -> HttpResponse:
    """Answer an error as a page for people, with a header that matters."""
    return HttpResponse("<h1>swordfish</h1>", status=405, headers={"Allow": "PUT"})


def json_error(request: HttpRequest) -> HttpResponse:
    """Answer an error in JSON, as /health does when it is down."""
    return HttpResponse(b"{}", status=503, content_type="application/json")


urlpatterns = [
    path("admin/fails/<name>", plain_fails),
    path("api/payments/fails/<name>", Fails.as_view()),
    path("api/payments/plain-fails/<name>", plain_fails),
    path("api/payments/echo", Echo.as_view()),
    path("api/payments/gated", Gated.as_view()),
    path("api/payments/large", large),
    path("api/payments/stream", stream),
    path("api/payments/page", page),
    path("api/payments/json-error", json_error),
    path("api/events/echo", Echo.as_view()),
    *site.urlpatterns,
]

handler400 = site.handler400
handler403 = site.handler403
handler404 = site.handler404
handler500 = site.handler500
