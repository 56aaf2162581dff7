"""Events as rows of the log, on the way in and on the way out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from eventstore import keyring
from eventstore.codec import PERSONAL, Codec, Encoded
from eventstore.messages import Event, Metadata
from eventstore.models import Event as EventRow
from eventstore.records import Record
from eventstore.tables import Table

# Without the columns that the database or the sequencer fills in.
NEW_EVENTS = Table(
    EventRow,
    columns=(
        "id",
        "stream",
        "version",
        "type",
        "schema_version",
        "data",
        "actor",
        "correlation_id",
        "causation_id",
        "request_id",
        "occurred_at",
    ),
)
_RECORDS = Table(
    EventRow,
    columns=(
        "id",
        "position",
        "stream",
        "version",
        "type",
        "schema_version",
        "data",
        "actor",
        "correlation_id",
        "causation_id",
        "request_id",
        "occurred_at",
        "hash",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event that is to be appended.

    Args:
        stream: its name, of at most 80 characters.
        version: the one that it will have in its stream.
        occurred_at: the instant of the request, aware, in UTC.
        subject: the person of whom the personal members of the event tell; None stores them
            unsealed, as they tell of nobody.
    """

    id: UUID
    stream: str
    version: int
    event: Event
    metadata: Metadata
    occurred_at: datetime
    subject: UUID | None = None


def to_record(row: EventRow) -> Record:
    """Return a row of the log as a plain record."""
    return Record(
        id=row.id,
        position=row.position,
        stream=row.stream,
        version=row.version,
        type=row.type,
        schema_version=row.schema_version,
        data=row.data,
        metadata=Metadata(
            actor=row.actor,
            correlation_id=row.correlation_id,
            causation_id=row.causation_id,
            request_id=row.request_id,
        ),
        occurred_at=row.occurred_at,
        hash=bytes(row.hash) if row.hash is not None else None,
    )


def records_where(condition: str, parameters: Sequence[Any]) -> list[Record]:
    """Return the events that meet a condition as records, several times faster than the ORM.

    Args:
        condition: as for `Table.where`; with an order and a limit.
    """
    return [
        Record(
            id=key,
            position=position,
            stream=stream,
            version=version,
            type=type_,
            schema_version=schema_version,
            data=data,
            metadata=Metadata(
                actor=actor,
                correlation_id=correlation_id,
                causation_id=causation_id,
                request_id=request_id,
            ),
            occurred_at=occurred_at,
            hash=hash_,
        )
        for (
            key,
            position,
            stream,
            version,
            type_,
            schema_version,
            data,
            actor,
            correlation_id,
            causation_id,
            request_id,
            occurred_at,
            hash_,
        ) in _RECORDS.where(condition, parameters)
    ]


def new_rows(codec: Codec, events: Sequence[NewEvent]) -> list[Sequence[Any]]:
    """Return the rows of `events` for `NEW_EVENTS`, with what they tell of persons sealed.

    Raises:
        SubjectForgotten: an event would tell something of a person who was forgotten.
        UnknownEvent: an event is not in the table of `codec`.
    """
    encoded = [codec.encode(new.event) for new in events]
    subjects = {
        new.subject
        for new, each in zip(events, encoded, strict=True)
        if new.subject and each.personal is not None
    }
    keys = keyring.writing_keys(subjects) if subjects else {}
    rows: list[Sequence[Any]] = []
    for new, each in zip(events, encoded, strict=True):
        if each.personal is not None:
            _add_personal(each, new, keys)
        rows.append(
            (
                new.id,
                new.stream,
                new.version,
                each.name,
                each.schema_version,
                each.data,
                new.metadata.actor,
                new.metadata.correlation_id,
                new.metadata.causation_id,
                new.metadata.request_id,
                new.occurred_at,
            )
        )
    return rows


def _add_personal(encoded: Encoded, new: NewEvent, keys: Mapping[UUID, bytes]) -> None:
    personal = encoded.personal or "{}"
    if new.subject is None:
        encoded.plain.update(json.loads(personal))
        return
    encoded.plain[PERSONAL] = keyring.seal(
        keys[new.subject], subject=new.subject, event=new.id, personal=personal
    )
