"""One effect a key, however often and from wherever a request is sent."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError, connection

from eventstore.bus import CommandBus, Execute
from eventstore.clock import utc_now
from eventstore.messages import Context, Envelope, Idempotency, Outcome, Response
from eventstore.middleware import idempotency as module
from eventstore.middleware.durable import durable
from eventstore.middleware.idempotency import (
    KEPT,
    IdempotencyKeyReused,
    digest,
    idempotency,
    purge,
)
from eventstore.models import Event as EventRow
from eventstore.models import IdempotencyRecord
from eventstore.store import event_store
from tests.eventstore.product import (
    BUG,
    FULL,
    CounterIsFull,
    RaiseCounter,
    begin,
    raise_counter,
)
from tests.eventstore.tools import in_threads

pytestmark = pytest.mark.django_db(transaction=True)

COMMANDS = CommandBus(
    handlers={RaiseCounter: raise_counter}, begin=begin, middleware=(durable, idempotency)
)
ALICE, BOB = UUID(int=1), UUID(int=2)
_answers = count()


def present(total: Any) -> Response:
    """Make an answer that differs every time it is made."""
    body = json.dumps({"total": total, "answer": next(_answers)}).encode() + b"\x00\xff"
    return Response(status=201, body=body, headers={"Location": "/counters/a", "X-É": "ß"})


def request(
    *,
    key: str = "key-1",
    by: int = 1,
    body: str = "",
    actor: UUID | None = ALICE,
    path: str = "/api/counters",
    method: str = "POST",
    now: datetime | None = None,
) -> Envelope:
    return Envelope(
        command=RaiseCounter(counter="counter-a", by=by),
        context=Context(now=now or utc_now(), actor=actor),
        idempotency=Idempotency(
            actor=actor,
            method=method,
            path=path,
            key=key,
            fingerprint=body or f"body-{by}",
            present=present,
        ),
    )


def raised() -> int:
    return EventRow.objects.filter(type="CounterRaised").count()


def test_a_repeated_request_has_one_effect_and_the_same_answer_byte_for_byte() -> None:
    first = COMMANDS.execute(request())
    second = COMMANDS.execute(request())
    assert first.response is not None
    assert second.response == first.response
    assert (first.replayed, second.replayed) == (False, True)
    assert first.value == 1
    assert raised() == 1


def test_the_record_says_whose_request_it_was() -> None:
    COMMANDS.execute(request())
    record = IdempotencyRecord.objects.get()
    assert (record.actor, record.method, record.path, record.key, record.fingerprint) == (
        str(ALICE),
        "POST",
        "/api/counters",
        "key-1",
        "body-1",
    )
    assert record.status == 201


def test_the_same_key_with_another_body_is_refused() -> None:
    COMMANDS.execute(request(by=1))
    with pytest.raises(IdempotencyKeyReused, match="another body"):
        COMMANDS.execute(request(by=2))
    assert raised() == 1


@pytest.mark.parametrize(
    "other",
    [
        request(actor=BOB),
        request(actor=None),
        request(path="/api/others"),
        request(method="PUT"),
        request(key="key-2"),
        request(key="KEY-1"),
    ],
)
def test_a_key_is_known_within_its_actor_method_and_path(other: Envelope) -> None:
    COMMANDS.execute(request())
    assert not COMMANDS.execute(other).replayed
    assert raised() == 2


def test_no_two_scopes_run_into_each_other() -> None:
    claim = request().idempotency
    assert claim is not None
    shifted = replace(claim, path="/api/counterskey", key="-1")
    assert digest(replace(claim, path="/api/counters", key="key-1")) != digest(shifted)


def test_a_request_without_a_key_is_executed_each_time() -> None:
    without = replace(request(), idempotency=None)
    assert [COMMANDS.execute(without).value for _ in range(2)] == [1, 2]
    assert COMMANDS.execute(without).response is None
    assert not IdempotencyRecord.objects.exists()


def test_a_refusal_stores_nothing_and_the_key_can_be_used_again() -> None:
    with pytest.raises(CounterIsFull):
        COMMANDS.execute(request(by=FULL + 1))
    assert not IdempotencyRecord.objects.exists()
    assert COMMANDS.execute(request(by=1)).value == 1


def test_a_bug_stores_nothing() -> None:
    with pytest.raises(RuntimeError):
        COMMANDS.execute(request(by=BUG))
    assert not IdempotencyRecord.objects.exists()
    assert raised() == 0


def test_an_answer_that_cannot_be_made_takes_the_effect_back() -> None:
    def broken(_: Any) -> Response:
        raise RuntimeError("no words")

    envelope = request()
    assert envelope.idempotency is not None
    unanswerable = replace(envelope, idempotency=replace(envelope.idempotency, present=broken))
    with pytest.raises(RuntimeError, match="no words"):
        COMMANDS.execute(unanswerable)
    assert (raised(), IdempotencyRecord.objects.count()) == (0, 0)


def test_one_key_from_six_threads_at_once_is_one_effect_and_one_answer() -> None:
    for number in range(3):
        key = f"key-{number}"
        results = in_threads(*[partial(COMMANDS.execute, request(key=key))] * 6)
        outcomes = [result for result in results if isinstance(result, Outcome)]
        assert len(outcomes) == 6, results
        assert sum(not outcome.replayed for outcome in outcomes) == 1
        assert len({outcome.response.body for outcome in outcomes if outcome.response}) == 1
        assert raised() == number + 1


def test_one_key_with_two_bodies_at_once_is_one_effect_and_one_refusal() -> None:
    results = in_threads(
        partial(COMMANDS.execute, request(by=1)), partial(COMMANDS.execute, request(by=2))
    )
    assert sorted(type(result).__name__ for result in results) == [
        "IdempotencyKeyReused",
        "Outcome",
    ]
    assert raised() == 1


def test_a_request_that_is_overtaken_between_look_and_insert_is_decided_anew() -> None:
    overtaken = 0

    def overtake(
        execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        nonlocal overtaken
        if sql.startswith("INSERT") and "idempotencyrecord" in sql:
            overtaken += 1
            if overtaken == 1:
                execute(sql, params, many, context)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(overtake):
        assert COMMANDS.execute(request()).value == 1
    assert overtaken == 2
    assert (raised(), IdempotencyRecord.objects.count()) == (1, 1)


def test_a_commit_that_was_reported_as_an_error_is_not_repeated() -> None:
    def connection_lost(proceed: Execute) -> Execute:
        def execute(batch: Sequence[Envelope]) -> list[Outcome]:
            proceed(batch)
            raise OperationalError(2013, "Lost connection during query")

        return execute

    ambiguous = CommandBus(
        handlers={RaiseCounter: raise_counter},
        begin=begin,
        middleware=(connection_lost, durable, idempotency),
    )
    with pytest.raises(OperationalError):
        ambiguous.execute(request())
    assert COMMANDS.execute(request()).replayed
    assert raised() == 1


def test_one_key_twice_in_a_batch_is_one_effect() -> None:
    outcomes = COMMANDS.execute_many([request(key="a"), request(key="b"), request(key="a")])
    assert [outcome.replayed for outcome in outcomes] == [False, False, True]
    assert outcomes[2].response == outcomes[0].response != outcomes[1].response
    assert raised() == 2


def test_one_key_with_two_bodies_in_a_batch_is_refused_the_second_time() -> None:
    outcomes = COMMANDS.execute_many([request(by=1), request(by=2)])
    assert isinstance(outcomes[1].error, IdempotencyKeyReused)
    assert raised() == 1


def test_one_key_twice_in_a_batch_behind_a_refusal_is_refused_alike() -> None:
    outcomes = COMMANDS.execute_many([request(by=FULL + 1), request(by=FULL + 1), request(by=2)])
    assert [type(outcome.error) for outcome in outcomes] == [
        CounterIsFull,
        CounterIsFull,
        IdempotencyKeyReused,
    ]
    assert raised() == 0
    assert not IdempotencyRecord.objects.exists()


def test_a_batch_of_known_and_new_requests_executes_the_new_ones() -> None:
    known = COMMANDS.execute(request(key="known"))
    outcomes = COMMANDS.execute_many(
        [request(key="new"), request(key="known"), replace(request(), idempotency=None)]
    )
    assert [outcome.replayed for outcome in outcomes] == [False, True, False]
    assert outcomes[1].response == known.response
    assert [outcome.value for outcome in outcomes] == [2, None, 3]


def test_a_record_older_than_30_days_is_as_if_it_were_not_there() -> None:
    now = utc_now()
    assert timedelta(days=30) == KEPT
    COMMANDS.execute(request(now=now - KEPT - timedelta(seconds=1)))
    assert not COMMANDS.execute(request(by=5, now=now)).replayed
    assert raised() == 2
    assert IdempotencyRecord.objects.get().fingerprint == "body-5"


def test_a_record_of_30_days_is_still_there() -> None:
    now = utc_now()
    COMMANDS.execute(request(now=now - KEPT))
    assert COMMANDS.execute(request(now=now)).replayed


def test_an_old_key_twice_in_a_batch_is_one_new_effect(caplog: pytest.LogCaptureFixture) -> None:
    now = utc_now()
    COMMANDS.execute(request(now=now - KEPT * 2))
    outcomes = COMMANDS.execute_many([request(now=now), request(now=now)])
    assert [outcome.replayed for outcome in outcomes] == [False, True]
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert "executing each alone" not in caplog.text
    assert raised() == 2


def test_old_records_are_purged_in_bounded_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PURGE_BATCH_SIZE", 3)
    now = utc_now()
    for age in (*[KEPT + timedelta(hours=1)] * 8, KEPT - timedelta(hours=1), timedelta(0)):
        COMMANDS.execute(request(key=f"key-{next(_answers)}", now=now - age))
    assert purge(batches_max=2) == 6
    assert purge() == 2
    assert purge() == 0
    assert IdempotencyRecord.objects.count() == 2
    assert len(list(event_store().get_events("counter-a"))) == 11
