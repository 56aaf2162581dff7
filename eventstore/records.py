"""An event as it is stored, and the bytes of it that are hashed."""

from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from eventstore.clock import format_time
from eventstore.codec import canonical_json
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
        """Return the canonical JSON of everything but the hash, in UTF-8.

        The members stand in alphabetical order and `data` is inserted as stored, so the result
        is the canonical JSON of the event as the API shows it.
        """
        metadata = canonical_json(
            {
                "actor": self.metadata.actor,
                "causation_id": self.metadata.causation_id,
                "correlation_id": self.metadata.correlation_id,
                "request_id": self.metadata.request_id,
            }
        )
        return (
            f'{{"data":{self.data},"id":"{self.id}","metadata":{metadata},'
            f'"occurred_at":"{format_time(self.occurred_at)}",'
            f'"position":{"null" if self.position is None else self.position},'
            f'"schema_version":{self.schema_version},"stream":{canonical_json(self.stream)},'
            f'"type":{canonical_json(self.type)},"version":{self.version}}}'
        ).encode()

    def chained(self, *, position: int, previous_hash: bytes) -> "Record":
        """Return this record at `position`, hashed onto the record before it."""
        placed = replace(self, position=position)
        return replace(placed, hash=chain_hash(previous_hash, placed))


def chain_hash(previous_hash: bytes, record: Record) -> bytes:
    """Return SHA-256 over the hash before (32 bytes) and the record's canonical bytes."""
    return sha256(previous_hash + record.canonical_bytes()).digest()
