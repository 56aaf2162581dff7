"""States as they were: the version of each stream at an instant, and its state at a version.

# Note [Finding the past]

Within a stream positions rise with the versions, and times never fall (see docs/adr/0007). So the
version of a stream at an instant is found by bisection over its versions, in a handful of index
look-ups however long the stream is, and without an index on times, which every append would have
to pay for. The state is made from the newest snapshot before, and of the events behind it only
those are read that no later one makes up for: see `eventstore.aggregates.Skim`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

import msgspec
from django.db import connection, models

from eventstore.aggregates import Aggregate, read_stretches
from eventstore.models import Event as EventRow
from eventstore.models import Snapshot as SnapshotRow
from eventstore.tables import Table, to_parameters

# Look-ups of one stream in one statement: more save statements, and cost pages that a database
# must fetch when not all of the log is in its memory.
PROBES_A_STREAM = 3
# SQLite bounds how deep a condition is.
STREAMS_A_STATEMENT = 200
# A stream of so many events is read without a look for its version or for a snapshot of it.
SHORT_MAX = 200
# So many events are read as they are: to find out which of them matter would take longer.
READ_WHOLE_MAX = 60

StateT = TypeVar("StateT")
ValueT = TypeVar("ValueT")
# The versions from one to another, both inclusive, by stream.
Stretches = Mapping[str, tuple[int, int]]

_VERSIONS = Table(EventRow, columns=("stream", "version"))
_SNAPSHOTS = Table(SnapshotRow, columns=("stream", "version", "state"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """A point in the past: a time, or a position of the log. Exactly one is set."""

    time: datetime | None = None
    position: int | None = None


def unchanged_since(newest: Mapping[str, int], instant: Instant) -> set[str]:
    """Return the streams that were at their newest version, as given, at `instant`."""
    found: set[str] = set()
    for some in _pieces(newest):
        found |= _reached({stream: [version] for stream, version in some.items()}, instant).keys()
    return found


def versions_at(newest: Mapping[str, int], instant: Instant) -> dict[str, int]:
    """Return the version of each stream at `instant`, inclusive; those not yet begun are absent.

    Args:
        newest: the newest version of each stream, behind which nothing is looked for.
    """
    found: dict[str, int] = {}
    for some in _pieces(newest):
        found.update(_versions_at(some, instant))
    return found


def _versions_at(newest: Mapping[str, int], instant: Instant) -> dict[str, int]:
    # Most streams have not changed since.
    there = _reached({stream: [version] for stream, version in newest.items()}, instant)
    searches = {
        stream: _Search(behind=version) for stream, version in newest.items() if stream not in there
    }
    while going := {stream: each for stream, each in searches.items() if each.behind > each.at + 1}:
        reached = _reached({stream: each.probe() for stream, each in going.items()}, instant)
        for stream, search in going.items():
            search.narrow(reached.get(stream, set()))
    found = {stream: newest[stream] for stream in there}
    return found | {stream: each.at for stream, each in searches.items() if each.at}


@dataclass(slots=True)
class _Search:
    """Between which versions of a stream the instant lies: `at` is not behind it, `behind` is."""

    behind: int
    at: int = 0
    probes: Sequence[int] = ()

    def probe(self) -> Sequence[int]:
        """Choose a few versions to look at, evenly between the two."""
        width = self.behind - self.at
        parts = min(PROBES_A_STREAM, width - 1) + 1
        self.probes = [self.at + width * part // parts for part in range(1, parts)]
        return self.probes

    def narrow(self, reached: set[int]) -> None:
        """Take in which of the probes the instant has reached."""
        self.behind = min(set(self.probes) - reached, default=self.behind)
        self.at = max(reached, default=self.at)


def _reached(versions: Mapping[str, Sequence[int]], instant: Instant) -> dict[str, set[int]]:
    """Return those of `versions`, by stream, that had happened at `instant`."""
    terms = [
        (f"stream = %s AND version IN ({_marks(some)})", (stream, *some))
        for stream, some in versions.items()
    ]
    condition, parameters = _any_of(terms)
    bound, upto = _upto(instant)
    found: dict[str, set[int]] = {}
    for stream, version in _VERSIONS.where(f"({condition}) AND {bound}", [*parameters, upto]):
        found.setdefault(stream, set()).add(version)
    return found


def states_at(
    aggregate: Aggregate[StateT], newest: Mapping[str, int], instant: Instant
) -> dict[str, StateT]:
    """Return the state of each stream at `instant`; those not yet begun are absent.

    Each begins with its newest usable snapshot. Of the events behind it, only those that matter
    are read when the aggregate says which these are.

    Args:
        newest: the newest version of each stream, behind which nothing is looked for.

    Raises:
        UnknownEvent: an event is not known to this code.
        ValueError: an event cannot follow the state before it.
    """
    states: dict[str, StateT] = {}
    for some in _pieces(newest):
        states.update(_states_at(aggregate, some, instant))
    return states


def _states_at(
    aggregate: Aggregate[StateT], newest: Mapping[str, int], instant: Instant
) -> dict[str, StateT]:
    states: dict[str, StateT] = {}
    # What is short is read as far as it had come then; only of the others the version is needed.
    stretches = {stream: (1, last) for stream, last in newest.items() if last <= SHORT_MAX}
    long = {stream: last for stream, last in newest.items() if last > SHORT_MAX}
    versions = versions_at(long, instant)
    stretches |= {stream: (1, last) for stream, last in versions.items()}
    for stream, version, body in _newest_snapshots(versions, aggregate.code_version):
        states[stream] = msgspec.convert(msgspec.json.decode(body), aggregate.state)
        stretches[stream] = (version + 1, versions[stream])
    stretches = {stream: span for stream, span in stretches.items() if span[0] <= span[1]}
    evolve = aggregate.skim.evolve if aggregate.skim else aggregate.evolve
    for stream, version, event, at in _events_that_matter(aggregate, stretches, instant):
        states[stream] = evolve(states.get(stream), event, version=version, at=at)
    return states


def _newest_snapshots(
    versions: Mapping[str, int], code_version: int
) -> Sequence[tuple[str, int, str]]:
    """Return (stream, version, state) of the newest snapshot of each, at most at its version."""
    if not versions:
        return []
    upto = _any_of(
        [
            ("stream = %s AND version <= %s AND code_version = %s", (stream, at, code_version))
            for stream, at in versions.items()
        ]
    )
    newest = _newest(SnapshotRow, ("stream",), upto)
    if not newest:
        return []
    exact = "stream = %s AND version = %s AND code_version = %s"
    found: list[Any] = _SNAPSHOTS.where(
        *_any_of([(exact, (stream, version, code_version)) for stream, version in newest])
    )
    return found


def _events_that_matter(
    aggregate: Aggregate[Any], stretches: Stretches, instant: Instant
) -> Iterator[tuple[str, int, Any, datetime]]:
    """Yield those of `stretches` up to `instant` that matter, in the order of each stream."""
    terms = [
        ("stream = %s AND version BETWEEN %s AND %s", (stream, first, last))
        for stream, (first, last) in stretches.items()
    ]
    length = sum(last - first + 1 for first, last in stretches.values())
    if not terms:
        return iter(())
    bound, upto = _upto(instant)
    if aggregate.skim is None or length <= READ_WHOLE_MAX:
        condition, parameters = _any_of(terms)
        return read_stretches(f"({condition}) AND {bound}", [*parameters, upto])
    newest: dict[str, dict[str, int]] = {}
    for stream, name, version in _newest(EventRow, ("stream", "type"), _any_of(terms), instant):
        newest.setdefault(stream, {})[name] = version
    wanted: list[tuple[str, Sequence[Any]]] = []
    for stream, by_type in newest.items():
        last = {
            max((by_type[name] for name in types if name in by_type), default=0)
            for types in aggregate.skim.last_of
        }
        wanted.append((f"stream = %s AND version IN ({_marks(last)})", (stream, *last)))
        others = by_type.keys() - frozenset().union(*aggregate.skim.last_of)
        if others:
            among = f"stream = %s AND version BETWEEN %s AND %s AND type IN ({_marks(others)})"
            reached = (stretches[stream][0], max(by_type.values()))
            wanted.append((among, (stream, *reached, *others)))
    if not wanted:
        return iter(())
    return read_stretches(*_any_of(wanted))


def _newest(
    model: type[models.Model],
    columns: Sequence[str],
    among: tuple[str, Sequence[Any]],
    instant: Instant | None = None,
) -> list[tuple[Any, ...]]:
    """Return each combination of `columns` that occurs, with the newest version that has it."""
    condition, parameters = among[0], list(among[1])
    if instant is not None:
        bound, upto = _upto(instant)
        condition, parameters = f"({condition}) AND {bound}", [*parameters, upto]
    table, names = connection.ops.quote_name(model._meta.db_table), ", ".join(columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {names}, MAX(version) FROM {table}"  # noqa: S608 - our own names
            f" WHERE {condition} GROUP BY {names}",
            to_parameters(parameters),
        )
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def _upto(instant: Instant) -> tuple[str, Any]:
    """Return the condition of an event that had happened at `instant`, and the value in it."""
    if instant.time is not None:
        return "occurred_at <= %s", instant.time
    return "position <= %s", instant.position


def _any_of(terms: Sequence[tuple[str, Sequence[Any]]]) -> tuple[str, list[Any]]:
    """Return one condition of several, and the values for its marks."""
    condition = " OR ".join(f"({term})" for term, _ in terms)
    return condition, [value for _, values in terms for value in values]


def _marks(values: Any) -> str:
    return ", ".join(["%s"] * len(values))


def _pieces(values: Mapping[str, ValueT]) -> Iterator[dict[str, ValueT]]:
    """Yield `values` in pieces that fit into one statement."""
    rest = iter(values.items())
    while some := dict(islice(rest, STREAMS_A_STATEMENT)):
        yield some
