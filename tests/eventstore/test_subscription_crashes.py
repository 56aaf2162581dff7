"""Lanes whose workers meet or are killed, with real threads and processes."""

import pytest

from eventstore import subscriptions
from eventstore.models import Checkpoint
from eventstore.stores.sqlite import SQLiteStore
from eventstore.subscriptions import Subscription
from tests.eventstore.product import EFFECTS, follow
from tests.eventstore.tools import (
    effects,
    expire_lease,
    in_threads,
    start_process,
    wait_for,
    write_log,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("effects_table")]


def test_four_workers_of_one_lane_at_once_have_each_effect_once() -> None:
    write_log(*["counter-a", "counter-b"] * 10)
    lane = Subscription(
        name="effects", handle=EFFECTS.handle, in_transaction=True, batch_size_max=3
    )
    results = in_threads(*[lambda: sum(subscriptions.run(lane) for _ in range(5))] * 4)
    assert sum(each for each in results if isinstance(each, int)) == 20, results
    assert sorted(effects()) == sorted(
        (stream, version) for stream in ("counter-a", "counter-b") for version in range(1, 11)
    )


def test_a_worker_killed_between_handling_and_commit_has_each_effect_once() -> None:
    write_log("counter-a", "counter-b", "counter-a")
    assert wait_for(start_process("have_effects_and_die")) == [-9]
    assert effects() == []
    # The dead one still has the lease; nobody goes on before its end.
    assert subscriptions.run(EFFECTS) == 0
    expire_lease("effects")
    assert subscriptions.run(EFFECTS) == 3
    assert effects() == [("counter-a", 1), ("counter-b", 1), ("counter-a", 2)]


def test_a_worker_killed_between_the_store_and_its_checkpoint_writes_the_same_again(
    copy: SQLiteStore,
) -> None:
    records = write_log("counter-a", "counter-b", "counter-a")
    assert wait_for(start_process("replicate_and_die", str(copy.path))) == [-9]
    assert copy.list_events(after=0, limit=10) == records
    before = copy.list_documents(after="", limit=10)
    assert [(document.stream, document.version) for document in before] == [
        ("counter-a", 2),
        ("counter-b", 1),
    ]
    assert Checkpoint.objects.get(name="copy").position == 0
    expire_lease("copy")
    assert subscriptions.run(follow(copy)) == 3
    assert copy.list_events(after=0, limit=10) == records
    assert copy.list_documents(after="", limit=10) == before
