"""One effect a key: answer a repeated request with what was answered first.

The record is written in the transaction of the effect, so that neither can exist without the
other. Two requests with one key at once: the second waits for the first to commit, at the lock
(SQLite) or at the unique key (MySQL), and then finds its answer.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

import msgspec
from django.db import IntegrityError

from eventstore.bus import Execute
from eventstore.clock import utc_now
from eventstore.codec import stored_json
from eventstore.errors import PlatformError
from eventstore.messages import Envelope, Idempotency, Outcome, Response
from eventstore.middleware import proceed_without
from eventstore.models import IdempotencyRecord
from eventstore.store import ConcurrencyConflict
from eventstore.tables import Row, Table

KEPT = timedelta(days=30)
PURGE_BATCH_SIZE = 1000


_RECORDS = Table(IdempotencyRecord)
_STORED = Table(
    IdempotencyRecord,
    columns=("digest", "fingerprint", "status", "headers", "body", "created_at"),
)


class _Stored(NamedTuple):
    """What is read of a record, in the order of the columns."""

    digest: str
    fingerprint: str
    status: int
    headers: str
    body: bytes
    created_at: datetime


class IdempotencyKeyReused(PlatformError):
    """The key was used for another request."""

    code = "idempotency_key_reused"


def digest(claim: Idempotency) -> str:
    """Return SHA-256 (hex) over the scope of the key: actor, method, path and the key itself."""
    scope = [str(claim.actor or ""), claim.method, claim.path, claim.key]
    # For texts the same bytes as `canonical_json`.
    return sha256(msgspec.json.encode(scope)).hexdigest()


def idempotency(proceed: Execute) -> Execute:
    """Answer what was answered before; keep the answers to what is new.

    Must stand inside the transaction. A command that is refused with an error leaves no record.
    """

    def execute(batch: Sequence[Envelope]) -> list[Outcome]:
        claims = {
            index: digest(envelope.idempotency)
            for index, envelope in enumerate(batch)
            if envelope.idempotency is not None
        }
        if not claims:
            return proceed(batch)
        known, leaders, followers = _known(batch, claims)
        waiting = {index: Outcome() for index in followers}
        outcomes = proceed_without({**known, **waiting}, batch, proceed)
        records = []
        for index in leaders.values():
            claim, outcome = batch[index].idempotency, outcomes[index]
            if claim is None or outcome.error is not None:
                continue
            response = claim.present(outcome.value)
            outcomes[index] = Outcome(value=outcome.value, response=response)
            records.append(_record(batch[index], claim, claims[index], response))
        _insert(records)
        for index, leader in followers.items():
            outcomes[index] = _follow(batch[index], batch[leader], outcomes[leader])
        return outcomes

    return execute


def _known(
    batch: Sequence[Envelope], claims: dict[int, str]
) -> tuple[dict[int, Outcome], dict[str, int], dict[int, int]]:
    """Split the claims: answered before, first of their key here, and those behind such a one."""
    stored = {row[0]: _Stored(*row) for row in _STORED.rows(claims.values())}
    known: dict[int, Outcome] = {}
    leaders: dict[str, int] = {}
    followers: dict[int, int] = {}
    for index, key in claims.items():
        record = stored.get(key)
        if record is not None and record.created_at < batch[index].context.now - KEPT:
            IdempotencyRecord.objects.filter(digest=stored.pop(key).digest).delete()
            record = None
        if record is not None:
            known[index] = _replay(batch[index], record)
        elif key in leaders:
            followers[index] = leaders[key]
        else:
            leaders[key] = index
    return known, leaders, followers


def _replay(envelope: Envelope, record: _Stored) -> Outcome:
    if envelope.idempotency is None or record.fingerprint != envelope.idempotency.fingerprint:
        return Outcome(error=_reused())
    response = Response(status=record.status, body=record.body, headers=json.loads(record.headers))
    return Outcome(response=response, replayed=True)


def _reused() -> IdempotencyKeyReused:
    return IdempotencyKeyReused(
        "This Idempotency-Key was used with another body: take a new key for a new request."
    )


def _follow(envelope: Envelope, leader: Envelope, outcome: Outcome) -> Outcome:
    """Answer a command whose key another one of the same batch carries too."""
    first, second = leader.idempotency, envelope.idempotency
    if first is None or second is None or first.fingerprint != second.fingerprint:
        return Outcome(error=_reused())
    if outcome.error is not None:
        return outcome
    return Outcome(response=outcome.response, replayed=True)


def _record(envelope: Envelope, claim: Idempotency, key_digest: str, response: Response) -> Row:
    """Return the row of an answer, in the order of the table's columns."""
    return (
        key_digest,
        str(claim.actor or ""),
        claim.method,
        claim.path[:255],
        claim.key,
        claim.fingerprint,
        response.status,
        stored_json(dict(response.headers)),
        response.body,
        envelope.context.now,
    )


def _insert(records: list[Row]) -> None:
    try:
        _RECORDS.insert(records)
    except IntegrityError as error:
        # Another request with the key has committed meanwhile: roll back, and find its answer.
        raise ConcurrencyConflict("Another request with this key was first.") from error


def purge(*, batches_max: int = 2000) -> int:
    """Delete records older than 30 days, 1,000 at a time; return how many.

    Args:
        batches_max: after which the rest is left to the next call. It must be more than what a
            period between two calls adds, or the table grows without a bound.
    """
    deleted = 0
    old = IdempotencyRecord.objects.filter(created_at__lt=utc_now() - KEPT)
    for _ in range(batches_max):
        keys = list(old.order_by("created_at").values_list("digest", flat=True)[:PURGE_BATCH_SIZE])
        # Asked for its age once more: the key of an old record may be in use again by now.
        deleted += old.filter(digest__in=keys).delete()[0]
        if len(keys) < PURGE_BATCH_SIZE:
            break
    return deleted
