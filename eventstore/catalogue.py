"""The catalogue of a product's events: each name and version ever stored, with its JSON schema.

The file of a catalogue is committed beside the code. What stands in it is a promise to those who
read the log: an entry is never changed and never removed, as events of its version are stored
for ever. So the file is compared with the code in every run of the tests, and the only change
that `write` makes to it is a new entry.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from eventstore.codec import Codec
from eventstore.errors import PlatformError

# What is said of a schema for people may change.
_WORDS = frozenset({"title", "description"})


class CatalogueBroken(PlatformError):
    """The code would break the promise of the catalogue."""

    code = "catalogue_broken"


def event_schemas(codec: Codec) -> dict[str, dict[str, Any]]:
    """Return the entry of each event of which `codec` has the class, by `name@version`.

    An entry has the JSON schema of the data (opened, where some of it is sealed), and the names
    of the members that are stored sealed.
    """
    entries = {}
    for (name, version), event_class in sorted(codec.events.items()):
        (schema,), definitions = msgspec.json.schema_components([event_class])
        if definitions:
            schema = definitions.get(schema.get("$ref", "").rpartition("/")[2], schema)
        entries[f"{name}@{version}"] = {
            "personal": sorted(codec.personal.get(event_class, {})),
            "schema": _without_words(schema),
        }
    return entries


def _without_words(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_words(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: (
            {member: _without_words(each) for member, each in value.items()}
            # Here the names are the event's own.
            if name == "properties"
            else _without_words(value)
        )
        for name, value in schema.items()
        if name not in _WORDS
    }


def faults(codec: Codec, catalogue: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each promise of `catalogue` that `codec` breaks, and what to do."""
    entries = event_schemas(codec)
    for key, entry in entries.items():
        if key not in catalogue:
            yield f"{key} is not in the catalogue: run `event_catalogue --write`."
        elif catalogue[key] != entry:
            name, version = _name_and_version(key)
            yield (
                f"{key} is stored with another schema than its class has now. Put the class back,"
                f" make a new one for version {version + 1} of {name}, and write an upcaster."
            )
    for key in catalogue:
        if not _is_read(codec, *_name_and_version(key)):
            yield f"{key} was stored, and nothing reads it: write an upcaster to the next version."
    for name, version in codec.upcasters:
        if f"{name}@{version}" not in catalogue:
            yield f"{name}@{version} has an upcaster, and the catalogue says nothing of it."
    yield from _gaps(catalogue)


def _gaps(catalogue: Mapping[str, Any]) -> Iterator[str]:
    versions: dict[str, set[int]] = {}
    for name, version in map(_name_and_version, catalogue):
        versions.setdefault(name, set()).add(version)
    for name, there in sorted(versions.items()):
        for missing in sorted(set(range(1, max(there))) - there):
            yield f"{name}@{missing} is missing, although later versions are there."


def _is_read(codec: Codec, name: str, version: int) -> bool:
    """Return whether an event of `version` still becomes an event of a class."""
    while (name, version) in codec.upcasters:
        version += 1
    return (name, version) in codec.events


def _name_and_version(key: str) -> tuple[str, int]:
    name, _, version = key.partition("@")
    return name, int(version)


def read(path: Path) -> dict[str, Any]:
    """Return the catalogue in the file `path`; empty when there is none yet."""
    if not path.exists():
        return {}
    catalogue: dict[str, Any] = json.loads(path.read_text())["events"]
    return catalogue


def write(path: Path, codec: Codec) -> list[str]:
    """Add to the file `path` what it lacks; return the keys that were added.

    Raises:
        CatalogueBroken: an entry would have to change; nothing was written.
    """
    catalogue = read(path)
    entries = event_schemas(codec)
    new = [key for key in entries if key not in catalogue]
    merged = {**entries, **catalogue}
    if broken := list(faults(codec, merged)):
        raise CatalogueBroken("\n".join(broken))
    path.write_text(render(merged))
    return new


def render(catalogue: Mapping[str, Any]) -> str:
    """Return the text of a catalogue's file."""
    ordered = {key: catalogue[key] for key in sorted(catalogue, key=_name_and_version)}
    about = "Each event that was ever stored, as name@version; an entry never changes."
    return f"{json.dumps({'about': about, 'events': ordered}, indent=2)}\n"
