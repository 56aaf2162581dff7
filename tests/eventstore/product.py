"""A product of its own for these tests: counters that are opened and raised."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, ClassVar

from django.db import models
from uuid_utils.compat import uuid7

from eventstore.aggregates import Aggregate, rebuild
from eventstore.codec import Codec
from eventstore.errors import InvalidInput, PlatformError
from eventstore.messages import Command, Context, Envelope, Event, Metadata
from eventstore.records import Record
from eventstore.replication import Folds, replicate
from eventstore.rows import NewEvent
from eventstore.store import event_store
from eventstore.stores import Store
from eventstore.subscriptions import Subscription

NOON = datetime(2026, 1, 2, 12, 0, 0, 6, tzinfo=UTC)
FULL = 1000
BUG = 666


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterOpened(Event):
    """A counter exists."""

    label: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterRaised(Event):
    """A counter was raised."""

    by: int = 1
    note: str = ""
    at: datetime | None = None


CODEC = Codec(
    events={("CounterOpened", 1): CounterOpened, ("CounterRaised", 1): CounterRaised},
    upcasters={},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """The state of a counter."""

    label: str
    total: int
    raised: int
    version: int
    changed_at: datetime


def evolve(counter: Counter | None, event: Event, /, *, version: int, at: datetime) -> Counter:
    """Return the counter after `event`."""
    match event:
        case CounterOpened():
            return Counter(label=event.label, total=0, raised=0, version=version, changed_at=at)
        case CounterRaised() if counter is not None:
            return replace(
                counter,
                total=counter.total + event.by,
                raised=counter.raised + 1,
                version=version,
                changed_at=at,
            )
    raise ValueError(f"{type(event).__name__} cannot follow {counter}")


COUNTER = Aggregate(category="counter", state=Counter, evolve=evolve, code_version=1)
FOLDS: Folds = {COUNTER.category: COUNTER.fold}


class Effect(models.Model):
    """What a lane has done: no constraint hides an effect that happens twice."""

    lane = models.CharField(max_length=60)
    stream = models.CharField(max_length=80)
    version = models.IntegerField()

    # Spelled out, since a type checker asks installed apps for their managers only.
    objects: ClassVar[models.Manager["Effect"]] = models.Manager()

    class Meta:
        app_label = "eventstore_tests"

    def __str__(self) -> str:
        return f"{self.lane}: {self.stream} v{self.version}"


class Poison(Exception):
    """No lane can handle this event."""


# Notes of events that the lanes cannot handle now.
POISON: set[str] = set()


def have_effects(records: Sequence[Record]) -> None:
    """Write an effect for each record into the primary database; fail behind the first poison."""
    for record in records:
        Effect.objects.create(lane="effects", stream=record.stream, version=record.version)
        event = event_store().event_of(record)
        if isinstance(event, CounterRaised) and event.note in POISON:
            raise Poison(event.note)


def follow(store: Store) -> Subscription:
    """Return the lane that writes the log into `store`."""
    return Subscription(
        name=store.name,
        handle=lambda records: replicate(store, FOLDS, records),
        in_transaction=False,
    )


EFFECTS = Subscription(
    name="effects", handle=have_effects, in_transaction=True, description="Has effects."
)
IDLE = Subscription(name="idle", handle=lambda _: None, in_transaction=False)
SUBSCRIPTIONS = (EFFECTS, IDLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RaiseCounter(Command):
    """Ask for a counter to be raised; it is opened when it is new."""

    counter: str
    by: int = 1

    def validate(self) -> None:
        """Refuse to raise by nothing."""
        if self.by == 0:
            raise InvalidInput("By nothing.", errors=[])


class CounterIsFull(PlatformError):
    """The counter would pass its limit."""

    code: ClassVar[str] = "counter_is_full"


@dataclass
class Counters:
    """The unit of work: the counters of a batch, and what is to be appended."""

    counters: dict[str, Counter | None]
    staged: list[NewEvent] = field(default_factory=list)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Forget what a command staged when it raises."""
        counters, staged = dict(self.counters), list(self.staged)
        try:
            yield
        except Exception:
            self.counters, self.staged = counters, staged
            raise

    def stage(self, counter: str, event: Event, context: Context) -> None:
        """Stage one event."""
        before = self.counters[counter]
        version = before.version + 1 if before else 1
        self.counters[counter] = evolve(before, event, version=version, at=context.now)
        self.staged.append(
            NewEvent(
                id=uuid7(),
                stream=counter,
                version=version,
                event=event,
                metadata=Metadata(request_id=context.request_id),
                occurred_at=context.now,
            )
        )

    def flush(self) -> None:
        """Append what was staged."""
        event_store().append(self.staged)


def begin(batch: Sequence[Envelope]) -> Counters:
    """Load the counters of a batch."""
    names = [each.command.counter for each in batch if isinstance(each.command, RaiseCounter)]
    return Counters(counters={name: rebuild(COUNTER, name) for name in names})


def raise_counter(command: RaiseCounter, unit: Counters, context: Context) -> int:
    """Raise a counter and return its total."""
    if unit.counters[command.counter] is None:
        unit.stage(command.counter, CounterOpened(label=command.counter), context)
    unit.stage(command.counter, CounterRaised(by=command.by), context)
    if command.by == BUG:
        raise RuntimeError("a bug")
    counter = unit.counters[command.counter]
    if counter is None or counter.total > FULL:
        raise CounterIsFull(f"{command.counter} cannot pass {FULL}.")
    return counter.total
