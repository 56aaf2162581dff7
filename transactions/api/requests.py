"""What the ledger's views read from a request beside its body."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NoReturn
from uuid import UUID

from rest_framework.request import Request

from eventstore import queries as log
from eventstore.clock import utc_now
from eventstore.codec import canonical_json
from eventstore.errors import InvalidInput, PlatformError
from eventstore.messages import Context, Idempotency, Response
from eventstore.past import Instant
from transactions.domain.account import StaleVersion
from users.api.authentication import caller_of
from users.api.fields import parse_timestamp, refuse

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_POSITION = re.compile(r"position:([0-9]{1,18})")
_ETAG = re.compile(r'"([1-9][0-9]{0,9})"')


class IdempotencyKeyRequired(PlatformError):
    """A request that moves money came without an Idempotency-Key."""

    code = "idempotency_key_required"


class IdempotencyKeyInvalid(PlatformError):
    """An Idempotency-Key is not 1 to 255 visible ASCII characters."""

    code = "idempotency_key_invalid"


class AsOfInFuture(InvalidInput):
    """`as_of` names an instant that has not come yet."""

    code = "as_of_in_future"


def context_of(request: Request) -> Context:
    """Return who asks, in which request, and when."""
    caller = caller_of(request)
    # The gateway's middleware puts the request id on Django's request.
    known: Any = request._request
    return Context(
        now=utc_now(),
        actor=caller.user_id,
        scopes=caller.scopes,
        request_id=known.request_id,
    )


def claim_of(
    request: Request, *, present: Callable[[Any], Response], required: bool = True
) -> Idempotency | None:
    """Return the claim that the header `Idempotency-Key` makes; None without one.

    Args:
        present: makes the answer that is stored.
        required: whether a request without the header is refused.

    Raises:
        IdempotencyKeyRequired: there is none.
        IdempotencyKeyInvalid: it is not 1 to 255 visible ASCII characters.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        if required:
            raise IdempotencyKeyRequired(
                "Send an Idempotency-Key, such as a new UUID for each transaction: with it,"
                " a request that is sent again has its effect only once."
            )
        return None
    if not _KEY.fullmatch(key):
        raise IdempotencyKeyInvalid("An Idempotency-Key is 1 to 255 visible ASCII characters.")
    return Idempotency(
        actor=caller_of(request).user_id,
        method=str(request.method),
        path=request.path,
        key=key,
        fingerprint=sha256(canonical_json(request.data).encode()).hexdigest(),
        present=present,
    )


def id_of(text: str, *, otherwise: type[PlatformError]) -> UUID:
    """Return the id in a path; raise `otherwise` for what no id looks like."""
    found = parse_uuid(text)
    if found is None:
        raise otherwise(f"Nothing with the id {text[:60]} was found.")
    return found


def parse_uuid(text: str) -> UUID | None:
    """Return the id that `text` is in its usual form of 36 characters; None for all else."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text.lower() else None


def as_of(text: str | None) -> Instant | None:
    """Return the instant that `?as_of=` names: a time, or `position:N`.

    Raises:
        InvalidInput: it is neither.
        AsOfInFuture: it has not come yet.
    """
    if text is None:
        return None
    match = _POSITION.fullmatch(text)
    if match:
        position = int(match[1])
        if position > log.head():
            _refuse_future("The log has not come to this position yet.")
        return Instant(position=position)
    time = time_of("as_of", text)
    if time > utc_now():
        _refuse_future("This time has not come yet.")
    return Instant(time=time)


def time_of(parameter: str, text: str) -> datetime:
    """Return the time in a query parameter; raise `InvalidInput` for what is none."""
    try:
        # A plus sign that a client did not escape arrives as a space.
        return parse_timestamp(text.replace(" ", "+")).astimezone(UTC)
    except ValueError as error:
        refuse([{"parameter": parameter, "code": "invalid_time", "detail": str(error)}])


def _refuse_future(detail: str) -> NoReturn:
    raise AsOfInFuture(
        detail, errors=[{"parameter": "as_of", "code": AsOfInFuture.code, "detail": detail}]
    )


def expected_version(request: Request) -> int | None:
    """Return the version that the header `If-Match` asks for; None when any will do.

    Raises:
        StaleVersion: the header names no version of ours, so none can match (RFC 9110, 13.1.1).
    """
    text = request.headers.get("If-Match")
    if text is None or text.strip() == "*":
        return None
    match = _ETAG.fullmatch(text.strip())
    if match is None:
        raise StaleVersion('If-Match wants the ETag of the object as it was given, such as "3".')
    return int(match[1])
