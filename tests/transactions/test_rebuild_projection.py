"""`manage.py rebuild_projection`: made again beside the live one, and swapped in at once."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management.base import CommandError
from django.db import connection

from eventstore import leases, projections, sequencer, subscriptions
from eventstore.codec import UnknownEvent
from eventstore.models import Checkpoint
from eventstore.models import Event as EventRow
from eventstore.projections import RebuildRunning, rebuild_projection
from eventstore.shadow import Shadow
from tests.eventstore.tools import in_threads
from tests.transactions.story import run
from tests.transactions.tools import Api, deposit, drain, transfer
from transactions.models import Entry, Notification
from transactions.projectors import ENTRIES
from transactions.subscriptions import SUBSCRIPTIONS

# Tables are renamed: MariaDB commits around it.
pytestmark = pytest.mark.django_db(transaction=True)

LANE = next(each for each in SUBSCRIPTIONS if each.name == "entries")


def entries() -> list[dict[str, Any]]:
    return [dict(row) for row in Entry.objects.order_by("position").values()]


def tables() -> set[str]:
    return {name for name in connection.introspection.table_names() if "entry" in name}


def definition() -> Any:
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, Entry._meta.db_table)
    names = {name for name in found if not name.startswith("__unnamed")}
    return names, sorted(sorted(each["columns"]) for each in found.values())


@pytest.fixture(autouse=True)
def _tables_as_they_were() -> Iterator[None]:
    before = tables(), definition()
    yield
    assert (tables(), definition()) == before


def move(alice: Api, count: int = 5) -> None:
    one, other = alice.account(), alice.account()
    deposit(one, 1000)
    for amount in range(1, count):
        transfer(one, other, amount)
    sequencer.sequence()


def test_it_is_what_the_lane_made_and_nothing_that_was_wrong_is_left(alice: Api) -> None:
    move(alice)
    drain()
    made = entries()
    Entry.objects.filter(position__lte=made[3]["position"]).delete()
    Entry.objects.update(amount=77)
    done = json.loads(run("rebuild_projection", "entries", "--json"))
    assert (done["ok"], done["events"], done["rows"]) == (
        True, EventRow.objects.count(), len(made)
    )  # fmt: skip
    assert entries() == made


def test_the_lane_goes_on_where_the_rebuilt_one_ends(alice: Api) -> None:
    move(alice)
    rebuild_projection(ENTRIES)
    assert leases.position_of("entries") == leases.position_of("sequencer")
    move(alice)
    drain()
    made = entries()
    rebuild_projection(ENTRIES)
    assert entries() == made
    assert leases.position_of(ENTRIES.checkpoint) == 0


def test_nobody_is_told_again(alice: Api) -> None:
    move(alice)
    drain()
    told = Notification.objects.count()
    rebuild_projection(ENTRIES)
    drain()
    assert Notification.objects.count() == told
    with pytest.raises(CommandError, match="invalid choice: 'notifications'"):
        run("rebuild_projection", "notifications")


class Killed(BaseException):
    """The process ends here."""


def test_what_was_killed_is_taken_up_where_it_was(
    alice: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    move(alice)
    drain()
    made = entries()
    monkeypatch.setattr(projections, "BATCH_POSITIONS", 4)
    reached: list[int] = []

    def killed(position: int, _: int) -> None:
        reached.append(position)
        if len(reached) == 3:
            raise Killed

    with pytest.raises(Killed):
        rebuild_projection(ENTRIES, progress=killed)
    assert entries() == made
    rebuild_projection(ENTRIES, progress=lambda position, _: reached.append(position))
    assert reached[:4] == [4, 8, 12, 16]
    assert entries() == made


@pytest.mark.parametrize("step", ["swap", "drop_old"])
def test_killed_around_the_swap_it_is_the_old_one_or_the_new_one(
    alice: Api, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    move(alice)
    drain()
    made = entries()

    def killed(_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(f"eventstore.shadow.Shadow.{step}", killed)
        # `make` drops what an earlier one left behind.
        patched.setattr("eventstore.shadow.Shadow.make", _make_without_dropping)
        with pytest.raises(Killed):
            rebuild_projection(ENTRIES)
    assert entries() == made
    drain()
    rebuild_projection(ENTRIES)
    assert entries() == made


def _make_without_dropping(shadow: Any) -> None:
    with connection.cursor() as cursor:
        name, live = (connection.ops.quote_name(each) for each in (shadow.name, shadow.live))
        if connection.vendor == "mysql":
            cursor.execute(f"CREATE TABLE {name} LIKE {live}")
            return
        cursor.execute("SELECT sql FROM sqlite_master WHERE name = %s", [shadow.live])
        cursor.execute(cursor.fetchone()[0].replace(live, name, 1))


def test_an_event_that_cannot_be_read_leaves_the_live_one(alice: Api) -> None:
    move(alice)
    drain()
    made = entries()
    EventRow.objects.filter(position=made[2]["position"]).update(data='{"amount":1}')
    with pytest.raises(UnknownEvent):
        rebuild_projection(ENTRIES)
    assert entries() == made
    with pytest.raises(CommandError, match="The live projection is whole"):
        run("rebuild_projection", "entries")
    Shadow(Entry).make()
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {Shadow(Entry).name}")


def test_only_one_at_a_time(alice: Api) -> None:
    move(alice, 1)
    drain()
    assert leases.acquire(ENTRIES.checkpoint, owner="another") is not None
    with pytest.raises(RebuildRunning):
        rebuild_projection(ENTRIES)
    Checkpoint.objects.filter(name=ENTRIES.checkpoint).delete()


def test_a_worker_that_wakes_up_after_the_swap_has_lost_its_lease(alice: Api) -> None:
    move(alice)
    sleeping = leases.acquire("entries", owner="sleeping")
    assert sleeping is not None
    rebuild_projection(ENTRIES)
    with pytest.raises(leases.LeaseLost):
        leases.renew(sleeping)


def test_while_writes_go_on_nothing_is_missing_or_doubled_and_no_reader_sees_a_half(
    alice: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projections, "BATCH_POSITIONS", 7)
    one, other = alice.account(), alice.account()
    deposit(one, 10_000)
    drain()
    over = threading.Event()

    def write() -> None:
        for amount in range(1, 40):
            transfer(one, other, amount)

    def follow() -> None:
        while not over.is_set():
            sequencer.sequence()
            subscriptions.run(LANE)

    def read() -> list[int]:
        counts = [0]
        while not over.is_set():
            counts.append(Entry.objects.count())
        return counts

    def rebuild() -> None:
        try:
            for _ in range(3):
                rebuild_projection(ENTRIES)
        finally:
            over.set()

    results = in_threads(write, follow, read, rebuild)
    assert not [each for each in results if isinstance(each, Exception)], results
    counts = results[2]
    assert isinstance(counts, list)
    assert counts == sorted(counts)
    drain()
    made = entries()
    assert len(made) == 2 + 2 * 39
    rebuild_projection(ENTRIES)
    assert entries() == made
