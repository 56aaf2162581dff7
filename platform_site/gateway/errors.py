"""Errors become answers here: problem documents of RFC 9457.

Every error that a client may be told about is a `PlatformError` with a stable code, to which
`platform_site.gateway.codes` gives its status.
"""

import json
import logging
import math
from collections.abc import Container, Mapping
from typing import Any, Protocol

from django.core.exceptions import DisallowedHost, PermissionDenied, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpResponse
from django.utils.encoding import escape_uri_path
from rest_framework import exceptions as drf

from eventstore.errors import PlatformError
from platform_site.database.pools import DatabaseOverloaded
from platform_site.gateway.codes import CODE_OF, STATUS_OF
from resilience.errors import ResilienceError
from users.api.fields import faults
from users.api.problems import CONTENT_TYPE, problem_document

logger = logging.getLogger(__name__)

_DETAIL_OF: Mapping[str, str] = {
    "bad_request": "The request cannot be understood.",
    "deadline_exceeded": "The request took too long and was given up.",
    "forbidden": "This is not allowed.",
    "internal_error": "Something went wrong here; the log knows it under this request id.",
    "not_authenticated": "Send an access token or an API key: `Authorization: Bearer <it>`.",
    "not_found": "Nothing is at this address.",
    "service_unavailable": "The service is not available now; try again later.",
    "unsupported_media_type": "Send JSON, with `Content-Type: application/json`.",
}
# Seconds to wait, where whoever refused did not say (`retry_after_s` among its extra members).
_RETRY_AFTER_S: Mapping[str, float] = {
    "concurrency_conflict": 1,
    "idempotency_in_progress": 1,
    "not_yet_in_tree": 5,
    "overloaded": 1,
    "rate_limited": 60,
    "service_unavailable": 1,
    "store_unavailable": 1,
}
_RETRYABLE = frozenset({429, 503, 504})
_CHALLENGE = 'Bearer realm="evenkeel"'


class Addressed(Protocol):
    """What an answer wants to know of a request: Django's, REST framework's or the gateway's."""

    @property
    def path(self) -> str:
        """The decoded path."""

    @property
    def headers(self) -> Container[str]:
        """The names of the headers, whatever else it holds."""


def problem(
    request: Addressed,
    *,
    status: int,
    code: str,
    detail: str,
    title: str | None = None,
    retryable: bool | None = None,
    extra: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """Return the answer that tells a client what went wrong.

    Args:
        request: the request that failed.
        status: the HTTP status.
        code: the stable name of the problem; see `CODES`.
        detail: a sentence for the client, without secrets.
        title: the short name of the kind of problem; by default made from `code`.
        retryable: whether the same request may succeed later; by default 429, 503 and 504 are.
        extra: further members; `retry_after_s` becomes the header `Retry-After` instead.
        headers: further headers, such as `Allow`.
    """
    members = dict(extra or {})
    retry_after_s = members.pop("retry_after_s", _RETRY_AFTER_S.get(code))
    document = problem_document(
        status=status,
        code=code,
        detail=detail,
        instance=escape_uri_path(request.path),
        request_id=getattr(request, "request_id", ""),
        retryable=status in _RETRYABLE if retryable is None else retryable,
        title=title,
        **members,
    )
    body = json.dumps(document, ensure_ascii=False, default=str, separators=(",", ":"))
    # A detail may quote what the client sent, half a surrogate pair included.
    response = HttpResponse(
        body.encode("utf-8", "replace"), status=status, content_type=CONTENT_TYPE
    )
    response.headers["Cache-Control"] = "no-store"
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
    if status == 401:
        # RFC 6750, section 3: say that a token was refused only to a client that sent one.
        refused = ', error="invalid_token"' if "authorization" in request.headers else ""
        response.headers["WWW-Authenticate"] = _CHALLENGE + refused
    for name, value in (headers or {}).items():
        response.headers[name] = value
    return response


def problem_for_status(request: Addressed, status: int) -> HttpResponse:
    """Return the answer for an error of which only its HTTP status is known."""
    code = CODE_OF.get(status, "internal_error" if status >= 500 else "bad_request")
    detail = _DETAIL_OF.get(code, "The request was refused.")
    return problem(request, status=status, code=code, detail=detail)


def refusal(request: Addressed, error: PlatformError | ResilienceError) -> HttpResponse:
    """Return the answer for an error of the product or of its library `resilience`."""
    if isinstance(error, PlatformError):
        return _platform_problem(request, error)
    return _resilience_problem(request, error)


def problem_for(request: Addressed, error: BaseException) -> HttpResponse | None:
    """Return the answer for `error`, or None when it is a bug that the log has to know of."""
    if isinstance(error, PlatformError | ResilienceError):
        return refusal(request, error)
    if isinstance(error, drf.APIException):
        return _framework_problem(request, error)
    if isinstance(error, Http404):
        return problem_for_status(request, 404)
    if isinstance(error, PermissionDenied):
        return problem_for_status(request, 403)
    if isinstance(error, DisallowedHost):
        detail = "This host name is not served here; ALLOWED_HOSTS lists the ones that are."
        return problem(request, status=400, code="bad_request", detail=detail)
    if isinstance(error, SuspiciousOperation):
        return problem_for_status(request, 400)
    if isinstance(error, DatabaseOverloaded):
        logger.warning("The database cannot be asked: %s", error)
        detail = "All connections to the database are in use; try again."
        return problem(request, status=503, code="overloaded", detail=detail)
    if isinstance(error, OperationalError | InterfaceError) and _is_passing(error):
        logger.warning("The database is busy or away: %s", error)
        return problem_for_status(request, 503)
    return None


def exception_handler(error: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """Answer an exception of a view, for REST framework; None raises it again."""
    return problem_for(context["request"], error)


def _platform_problem(request: Addressed, error: PlatformError) -> HttpResponse:
    """Return the answer for an error of the product.

    Its class decides the status. The code that is told is `cause` among its extra members where
    there is one: what was wrong with one part of a whole that was refused for it.
    """
    status = STATUS_OF.get(error.code, 500)
    if status == 500:
        logger.error("The error %s reached the edge", error.code, exc_info=error)
        return problem_for_status(request, 500)
    members = dict(error.extra)
    return problem(
        request,
        status=status,
        code=members.pop("cause", error.code),
        detail=error.detail,
        retryable=error.retryable or status in _RETRYABLE,
        extra=members,
    )


def _resilience_problem(request: Addressed, error: ResilienceError) -> HttpResponse:
    status = STATUS_OF.get(error.code, 503)
    extra = {"retry_after_s": error.retry_after_s} if status in {429, 503} else {}
    return problem(
        request,
        status=status,
        code=error.code,
        detail=error.detail,
        retryable=error.retryable,
        extra=extra,
    )


def _framework_problem(request: Addressed, error: drf.APIException) -> HttpResponse:
    extra: dict[str, Any] = {}
    status, code = error.status_code, CODE_OF.get(error.status_code, "internal_error")
    detail = error.detail if isinstance(error.detail, str) else "The request was refused."
    match error:
        case drf.ValidationError():
            status, code = 422, "validation_failed"
            detail = "The request has values that are not acceptable; see errors."
            extra["errors"] = list(faults(error.detail))
        case drf.ParseError():
            status, code = 400, "malformed_json"
        case drf.AuthenticationFailed():
            status, code = 401, "invalid_credentials"
        case drf.NotAuthenticated():
            status, code = 401, "not_authenticated"
            detail = _DETAIL_OF[code]
        case drf.UnsupportedMediaType():
            detail = _DETAIL_OF[code]
        case drf.Throttled():
            # The stubs do not know of `wait`, the seconds until the next call would be heard.
            extra["retry_after_s"] = getattr(error, "wait", None) or _RETRY_AFTER_S[code]
        case _:
            pass
    return problem(request, status=status, code=code, detail=detail, extra=extra)


# MySQL: too many connections, shutting down, too many of this user, lock wait, deadlock, killed,
# no connection (twice), gone away, lost, unused for too long.
_PASSING_NUMBERS = frozenset({1040, 1053, 1203, 1205, 1213, 1927, 2002, 2003, 2006, 2013, 4031})
_PASSING_TEXTS = ("is locked", "unable to open database file", "disk i/o error")


def _is_passing(error: OperationalError | InterfaceError) -> bool:
    """Say whether a database error is about the server's state, not about a wrong statement."""
    if error.args and error.args[0] in _PASSING_NUMBERS:
        return True
    if isinstance(error, InterfaceError):
        # mysqlclient raises (0, "") on a connection that the server has closed.
        return bool(error.args) and error.args[0] == 0
    return any(text in str(error).lower() for text in _PASSING_TEXTS)
