"""Lists a page at a time, the same way everywhere.

A cursor names the last row of a page, so a page costs the same at any depth, and rows that are
added meanwhile neither repeat nor hide others. It is signed, and bound to its user, address and
filters: nobody can make one up or use another's.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from django.core.signing import BadSignature, Signer
from rest_framework.request import Request
from rest_framework.response import Response

from eventstore.errors import PlatformError
from users.api.authentication import caller_of
from users.api.fields import refuse

LIMIT_DEFAULT = 50
LIMIT_MAX = 200
# What every list takes, besides its own filters.
PARAMETERS = frozenset({"limit", "cursor"})
_LIMIT = re.compile(r"[0-9]{1,4}")
_SIGNER = "users.api.pagination.cursor"

T = TypeVar("T")


class InvalidCursor(PlatformError):
    """The cursor was changed, or belongs to another user or other filters."""

    code = "invalid_cursor"


def page(
    request: Request,
    *,
    filters: Mapping[str, str],
    fetch: Callable[[str | None, int], Sequence[T]],
    key: Callable[[T], str],
    present: Callable[[T], Mapping[str, Any]],
) -> Response:
    """Return one page of a list: `{"data", "has_more", "next_cursor"}` and the header `Link`.

    Args:
        request: with `limit` and `cursor` in its query. That nothing else is there is the view's
            to check, with `users.api.fields.parameters` and `PARAMETERS`.
        filters: what narrows the list, as the client sent it; cursors are bound to it.
        fetch: called with (key of the last row before the page or None, how many at most).
        key: the text by which `fetch` finds its place again.
        present: a row as the client sees it.

    Raises:
        InvalidInput: `limit` is not 1 to 200.
        InvalidCursor: the cursor is not one that this list gave this user for these filters.
    """
    limit = _limit(request)
    binding = _binding(request, filters)
    rows = fetch(_after(request, binding), limit + 1)
    has_more = len(rows) > limit
    rows = rows[:limit]
    cursor = None
    headers = {}
    if has_more:
        cursor = Signer(salt=_SIGNER).sign_object([key(rows[-1]), binding])
        query = request.query_params.copy()
        query["cursor"] = cursor
        address = request.build_absolute_uri(f"{request.path}?{query.urlencode()}")
        headers["Link"] = f'<{address}>; rel="next"'
    body = {"data": [present(row) for row in rows], "has_more": has_more, "next_cursor": cursor}
    return Response(body, headers=headers)


def _limit(request: Request) -> int:
    given = request.query_params.get("limit")
    if given is None:
        return LIMIT_DEFAULT
    if not _LIMIT.fullmatch(given) or not 1 <= int(given) <= LIMIT_MAX:
        detail = f"A page has 1 to {LIMIT_MAX} items."
        refuse([{"parameter": "limit", "code": "invalid_limit", "detail": detail}])
    return int(given)


def _after(request: Request, binding: str) -> str | None:
    given = request.query_params.get("cursor")
    if given is None:
        return None
    refusal = InvalidCursor(
        "This cursor is not valid here. Use next_cursor of this list as it is, with the same "
        "filters, or start again without a cursor."
    )
    try:
        last, bound_to = Signer(salt=_SIGNER).unsign_object(given)
    except (BadSignature, ValueError):
        raise refusal from None
    if bound_to != binding:
        raise refusal
    return str(last)


def _binding(request: Request, filters: Mapping[str, str]) -> str:
    bound = [str(caller_of(request).user_id), request.path, sorted(filters.items())]
    return hashlib.sha256(json.dumps(bound).encode()).hexdigest()[:32]
