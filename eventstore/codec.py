"""Events as bytes: names and versions of schemas, upcasters, and the canonical form.

The canonical form of a JSON value has sorted keys, no spaces, and characters rather than
escapes; two equal values are one string. It is made once, when an event is appended, stored as
text, and hashed as stored: what a database makes of a value on the way back (milliseconds,
decimals, key order) can therefore never look like tampering.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

import msgspec

from eventstore.clock import format_time
from eventstore.errors import PlatformError
from eventstore.messages import Event

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
# Takes what stands for an event's personal members; returns their JSON, or None without a key.
Open = Callable[[Mapping[str, str]], bytes | None]

PERSONAL = "personal"
_SCALARS = frozenset({str, int, bool, type(None), UUID})
_sorted = msgspec.json.Encoder(order="sorted")


class UnknownEvent(PlatformError):
    """A stored event has a name or schema version that this code does not know."""

    code = "unknown_event"


def _encode_special(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_time(value)
    raise TypeError(f"{type(value).__name__} cannot be part of an event")


def canonical_json(value: Any) -> str:
    """Return the canonical JSON of `value`.

    Raises:
        ValueError: for NaN, infinities, and times without a zone.
        TypeError: for what is neither a JSON value nor a time.
    """
    return json.dumps(
        value,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
        default=_encode_special,
    )


def to_plain(value: Any) -> Any:
    """Return a dataclass as JSON values, its times as aware datetimes."""
    return msgspec.to_builtins(value, builtin_types=(datetime,))


@dataclass(frozen=True, slots=True)
class Encoded:
    """An event as values that can be stored.

    Args:
        plain: the members that anybody may read who may read the log.
        personal: canonical JSON of those that tell something of a person; None when they are
            all blank, or the event has none.
    """

    name: str
    schema_version: int
    plain: dict[str, Any]
    personal: str | None

    @property
    def data(self) -> str:
        """The canonical JSON of the plain members."""
        return stored_json(self.plain)


@dataclass(frozen=True)
class Codec:
    """The one table of a product's events.

    The highest version of a name is the one that is written.

    Args:
        events: every event that was ever stored and is still read: (name, schema version) to
            class.
        upcasters: (name, schema version) to a function that turns the data of that version
            into the data of the next one. It must not need a personal member to be there.
        personal: the members of an event that tell something of a person, each with what it
            is when the person was forgotten. They are stored sealed, see `eventstore.keyring`.
    """

    events: Mapping[tuple[str, int], type[Event]]
    upcasters: Mapping[tuple[str, int], Upcaster]
    personal: Mapping[type[Event], Mapping[str, Any]] = field(default_factory=dict)

    @cached_property
    def _written(self) -> Mapping[type[Event], tuple[str, int]]:
        newest = dict(sorted(self.events))
        return {self.events[key]: key for key in newest.items()}

    @cached_property
    def _members(self) -> Mapping[type[Event], tuple[str, ...]]:
        return {
            each: tuple(member.name for member in fields(each))  # type: ignore[arg-type]
            for each in self._written
        }

    @cached_property
    def _decoders(self) -> "Mapping[tuple[str, int], msgspec.json.Decoder[Event]]":
        """Of the events whose stored JSON is theirs as it stands: most of a log, read fast."""
        return {
            key: msgspec.json.Decoder(event_class)
            for key, event_class in self.events.items()
            if key not in self.upcasters and event_class not in self.personal
        }

    def name_and_version(self, event_class: type[Event]) -> tuple[str, int]:
        """Return the name and schema version under which events of `event_class` are written.

        Raises:
            UnknownEvent: it is not in the table, or a newer version has replaced it.
        """
        if event_class not in self._written:
            raise UnknownEvent(f"{event_class.__name__} is not the newest version of an event.")
        return self._written[event_class]

    def encode(self, event: Event) -> Encoded:
        """Return `event` as values; raise `UnknownEvent` when it is not in the table."""
        event_class = type(event)
        name, version = self.name_and_version(event_class)
        plain = {member: getattr(event, member) for member in self._members[event_class]}
        blanks = self.personal.get(event_class)
        if blanks is None or all(plain[member] == blank for member, blank in blanks.items()):
            return Encoded(name, version, plain, None)
        personal = canonical_json({member: to_plain(plain.pop(member)) for member in blanks})
        return Encoded(name, version, plain, personal)

    def decode(
        self, name: str, version: int, data: str, *, open_sealed: Open | None = None
    ) -> Event:
        """Return the event stored as `data`, brought up to the newest schema version.

        Args:
            open_sealed: opens what is sealed; without it, or without the key, personal members
                are blank.

        Raises:
            UnknownEvent: the name or version is unknown, or the data does not fit its schema.
        """
        try:
            if decoder := self._decoders.get((name, version)):
                return decoder.decode(data)
            plain = json.loads(data)
            sealed = plain.pop(PERSONAL, None) if isinstance(plain, dict) else None
            if sealed is not None and open_sealed is not None:
                opened = open_sealed(sealed)
                plain.update(json.loads(opened) if opened is not None else {})
            while (name, version) in self.upcasters:
                plain = self.upcasters[name, version](plain)
                version += 1
            event_class = self.events.get((name, version))
            if event_class is None:
                raise UnknownEvent(f"No schema {name} version {version} is known.")
            if sealed is not None:
                plain = {**self.personal.get(event_class, {}), **plain}
            return msgspec.convert(plain, event_class)
        except (LookupError, ValueError, TypeError) as error:
            raise UnknownEvent(f"{name} version {version} does not fit: {error}") from error


def stored_json(values: dict[str, Any]) -> str:
    """Return the canonical JSON of the members of an event."""
    # Most events hold nothing but texts, numbers and ids, for which msgspec gives the same text
    # as `canonical_json`, several times faster.
    if _SCALARS.issuperset(type(value) for value in values.values() if value != {}):
        with suppress(OverflowError):  # an integer beyond 64 bits
            return _sorted.encode(values).decode()
    return canonical_json({name: to_plain(value) for name, value in values.items()})
