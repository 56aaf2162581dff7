"""An event as it is stored, and the bytes of it that are hashed."""

from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from json.encoder import encode_basestring
from uuid import UUID

from eventstore.clock import format_time
from eventstore.messages import Metadata

GENESIS_HASH = bytes(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One row of the log.

    Args:
        id: UUIDv7.
        position: dense, from 1, in global order; None until the sequencer has given it.
        stream: such as `account-<id>`.
        version: dense, from 1, within the stream.
        type: the event's name.
        schema_version: of `data`.
        data: canonical JSON.
        metadata: where the event came from.
        occurred_at: the instant of the request that caused it.
        hash: of the chain up to and including this event, 32 bytes; None like `position`.
    """

    id: UUID
    position: int | None
    stream: str
    version: int
    type: str
    schema_version: int
    data: str
    metadata: Metadata
    occurred_at: datetime
    hash: bytes | None

    @property
    def place(self) -> int:
        """The position of a record that has one; raise `ValueError` before the sequencer came."""
        if self.position is None:
            raise ValueError(f"{self.stream} v{self.version} has no position yet")
        return self.position

    def canonical_bytes(self) -> bytes:
        """Return the canonical JSON of everything but the hash, in UTF-8."""
        return canonical_bytes(
            data=self.data,
            event_id=str(self.id),
            actor=self.metadata.actor,
            causation_id=self.metadata.causation_id,
            correlation_id=self.metadata.correlation_id,
            request_id=self.metadata.request_id,
            occurred_at=format_time(self.occurred_at),
            position=self.position,
            schema_version=self.schema_version,
            stream=self.stream,
            event_type=self.type,
            version=self.version,
        )

    def chained(self, *, position: int, previous_hash: bytes) -> "Record":
        """Return this record at `position`, hashed onto the record before it."""
        placed = replace(self, position=position)
        return replace(placed, hash=chain_hash(previous_hash, placed))


def canonical_bytes(
    *,
    data: str,
    event_id: str,
    actor: str | None,
    causation_id: str | None,
    correlation_id: str | None,
    request_id: str | None,
    occurred_at: str,
    position: int | None,
    schema_version: int,
    stream: str,
    event_type: str,
    version: int,
) -> bytes:
    """Return the canonical JSON of an event but its hash, in UTF-8, from texts as they are stored.

    The members stand in alphabetical order and `data` is inserted as it is, so the result is the
    canonical JSON of the event as the API shows it. It is put together by hand because the
    sequencer does this for every event there is, and nobody else can do it meanwhile.

    Args:
        occurred_at: as `format_time` writes it.
    """
    return (
        f'{{"data":{data},"id":"{event_id}","metadata":{{"actor":{_quoted(actor)},'
        f'"causation_id":{_quoted(causation_id)},"correlation_id":{_quoted(correlation_id)},'
        f'"request_id":{_quoted(request_id)}}},"occurred_at":"{occurred_at}",'
        f'"position":{"null" if position is None else position},'
        f'"schema_version":{schema_version},"stream":{_quoted(stream)},'
        f'"type":{_quoted(event_type)},"version":{version}}}'
    ).encode()


def _quoted(text: str | None) -> str:
    return "null" if text is None else encode_basestring(text)


def chain_hash(previous_hash: bytes, record: Record) -> bytes:
    """Return SHA-256 over the hash before (32 bytes) and the record's canonical bytes."""
    return sha256(previous_hash + record.canonical_bytes()).digest()
