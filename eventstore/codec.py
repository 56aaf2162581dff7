"""Events as bytes: names and versions of schemas, upcasters, and the canonical form.

The canonical form of a JSON value has sorted keys, no spaces, and characters rather than
escapes; two equal values are one string. It is made once, when an event is appended, stored as
text, and hashed as stored: what a database makes of a value on the way back (milliseconds,
decimals, key order) can therefore never look like tampering.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import msgspec

from eventstore.clock import format_time
from eventstore.errors import PlatformError
from eventstore.messages import Event

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


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


@dataclass(frozen=True)
class Codec:
    """The one table of a product's events.

    The highest version of a name is the one that is written.

    Args:
        events: every event that was ever stored and is still read: (name, schema version) to
            class.
        upcasters: (name, schema version) to a function that turns the data of that version
            into the data of the next one.
    """

    events: Mapping[tuple[str, int], type[Event]]
    upcasters: Mapping[tuple[str, int], Upcaster]

    @cached_property
    def _written(self) -> Mapping[type[Event], tuple[str, int]]:
        newest = dict(sorted(self.events))
        return {self.events[key]: key for key in newest.items()}

    def name_and_version(self, event_class: type[Event]) -> tuple[str, int]:
        """Return the name and schema version under which events of `event_class` are written.

        Raises:
            UnknownEvent: it is not in the table, or a newer version has replaced it.
        """
        if event_class not in self._written:
            raise UnknownEvent(f"{event_class.__name__} is not the newest version of an event.")
        return self._written[event_class]

    def encode(self, event: Event) -> tuple[str, int, str]:
        """Return the name, the schema version and the canonical JSON of `event`."""
        name, version = self.name_and_version(type(event))
        return name, version, canonical_json(to_plain(event))

    def decode(self, name: str, version: int, data: str) -> Event:
        """Return the event stored as `data`, brought up to the newest schema version.

        Raises:
            UnknownEvent: the name or version is unknown, or the data does not fit its schema.
        """
        try:
            plain = json.loads(data)
            while (name, version) in self.upcasters:
                plain = self.upcasters[name, version](plain)
                version += 1
            event_class = self.events.get((name, version))
            if event_class is None:
                raise UnknownEvent(f"No schema {name} version {version} is known.")
            return msgspec.convert(plain, event_class)
        except (LookupError, ValueError, TypeError) as error:
            raise UnknownEvent(f"{name} version {version} does not fit: {error}") from error
