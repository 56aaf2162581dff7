"""The command that moves money many times, and the two ways in which its items are checked."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rest_framework.exceptions import ValidationError

from eventstore.bus import CommandBus
from eventstore.errors import InvalidInput
from eventstore.messages import Command, Context, Idempotency, Outcome, Response
from eventstore.middleware.durable import durable
from eventstore.store import ConcurrencyConflict
from tests.transactions.tools import (
    Api,
    balance,
    envelope,
    execute,
    nothing_written,
    open_account,
    transfer_command,
)
from transactions.api.batch_items import ItemReader
from transactions.dispatch import commands as bus
from transactions.domain.batches import BatchRefused
from transactions.domain.commands import BatchItem, CreateBatch

A, B = UUID("01a20574-e53c-759f-a21b-a4b06677040e"), UUID("01A20574-e53c-759f-a21b-a4b06677040F")
CLAIM = Idempotency(
    actor=None,
    method="POST",
    path="/api/transactions/batch",
    key="k",
    fingerprint="",
    present=lambda _: Response(status=201, body=b""),
)


def reader(*, atomic: bool = False) -> ItemReader:
    return ItemReader(atomic=atomic, claim=CLAIM, present=CLAIM.present)


def values_of(item: Any, *, atomic: bool) -> dict[str, Any] | None:
    """Return what the serializer makes of an item; None for one that it refuses."""
    try:
        return reader(atomic=atomic).exactly(item)
    except ValidationError:
        return None


NAMES = [
    "type",
    "source",
    "destination",
    "amount",
    "currency",
    "description",
    "reference",
    "metadata",
    "consistency",
    "hold",
    "expires_in",
    "preconditions",
    "idempotency_key",
    "recipient",
]
TEXTS = st.text(max_size=4) | st.sampled_from(
    ["", " ", "x" * 140, "x" * 141, "x" * 500, "x" * 501, "é", "a\n", "\x00", "\ud800", "\u2028"]
)
IDS = st.sampled_from([str(A), str(A).upper(), A.hex, f"{{{A}}}", f"urn:uuid:{A}", f"{A}\n", ""])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 2_592_001)
    | st.sampled_from([10**15, 2**63, 2**64, 2**70, 1.0, 1e300, -0.0])
    | TEXTS
    | IDS
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
)
PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "type": st.sampled_from(["transfer", "deposit", "withdrawal"]),
    "source": IDS,
    "destination": IDS,
    "amount": st.integers(),
    "currency": st.sampled_from(["EUR", "JPY", "eur", "XXQ", "EUR\n", ""]),
    "description": TEXTS,
    "reference": TEXTS,
    "metadata": st.dictionaries(TEXTS, JSON, max_size=3),
    "consistency": st.sampled_from(["eventual", "all"]),
    "hold": st.booleans(),
    "expires_in": st.integers(-1, 2_592_002),
    "preconditions": st.lists(
        st.fixed_dictionaries({"account": IDS}, optional={"version": st.integers(-1, 3)}),
        max_size=2,
    ),
    "idempotency_key": TEXTS | st.sampled_from(["k", "a b", "x" * 255, "x" * 256, "\x7f"]),
}


@st.composite
def items(draw: st.DrawFn) -> Any:
    """Items as clients send them, most of them right or nearly right."""
    if draw(st.integers(0, 19)) == 0:
        return draw(JSON)
    kind = draw(PLAIN["type"])
    wanted = {"type", "amount", "currency"} | {
        "transfer": {"source", "destination"},
        "deposit": {"destination"},
        "withdrawal": {"source"},
    }[kind]
    wanted |= draw(st.sets(st.sampled_from(sorted(PLAIN.keys() - {"source", "destination"}))))
    item = {name: draw(PLAIN[name]) for name in sorted(wanted)}
    item["type"] = kind
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        name = draw(st.sampled_from(NAMES))
        if draw(st.booleans()):
            item.pop(name, None)
        else:
            item[name] = draw(JSON)
    return item


def plain(**more: Any) -> dict[str, Any]:
    ends = {"source": str(A), "destination": str(B)}
    return {"type": "transfer", "amount": 5, "currency": "EUR", **ends, **more}


@given(item=items(), atomic=st.booleans())
@example(item=plain(source=A.hex), atomic=True)
@example(item=plain(description="\x00"), atomic=True)
@example(item=plain(description="\ud800"), atomic=True)
@example(item=plain(description="x" * 501), atomic=True)
@example(item=plain(amount=True), atomic=True)
@example(item=plain(amount=5.0), atomic=True)
@example(item=plain(currency=""), atomic=True)
@example(item=plain(metadata={"a": 2**63}), atomic=True)
@example(item=plain(metadata={"a": "\x00"}), atomic=True)
@example(item=plain(hold=False, expires_in=5), atomic=True)
@example(item=plain(hold=True, expires_in=2_592_001), atomic=True)
@example(item=plain(idempotency_key="k"), atomic=True)
@example(item=plain(idempotency_key="a b"), atomic=False)
@example(item=plain(idempotency_key="é"), atomic=False)
@example(item=plain(idempotency_key=""), atomic=False)
@example(item={"type": "deposit", **plain(type="deposit")}, atomic=False)
def test_what_is_taken_quickly_the_serializer_takes_with_the_same_values(
    item: Any, atomic: bool
) -> None:
    quick = reader(atomic=atomic).quickly(item)
    if quick is not None:
        assert quick == values_of(item, atomic=atomic)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"description": "Miete für Mai 🌊", "reference": "2026-05", "metadata": {"a": [1, {}]}},
        {"hold": True, "expires_in": 60},
        {"idempotency_key": "k"},
    ],
)
def test_a_usual_item_is_taken_quickly(more: dict[str, Any]) -> None:
    quick = reader().quickly(plain(**more))
    assert quick is not None
    assert quick == values_of(plain(**more), atomic=False)
    assert (quick["source"], quick["destination"]) == (A, B)


def test_a_slow_item_and_a_quick_one_make_the_same_command() -> None:
    quick = reader().read(plain()).wanted
    slow = reader().read(plain(preconditions=[])).wanted
    assert not isinstance(quick, InvalidInput)
    assert not isinstance(slow, InvalidInput)
    assert {**as_dict(quick), "id": None} == {**as_dict(slow), "id": None}


def as_dict(command: Any) -> dict[str, Any]:
    return {name: getattr(command, name) for name in command.__dataclass_fields__}


def test_the_fingerprint_of_an_item_is_that_of_its_value_without_the_key() -> None:
    first = reader().read(plain(idempotency_key="a")).idempotency
    turned = dict(reversed(plain(idempotency_key="b").items()))
    second = reader().read(turned).idempotency
    other = reader().read(plain(idempotency_key="a", amount=6)).idempotency
    assert first is not None
    assert second is not None
    assert other is not None
    assert (first.fingerprint, first.key, second.key) == (second.fingerprint, "a", "b")
    assert other.fingerprint != first.fingerprint
    assert first.path != CLAIM.path


@pytest.mark.django_db
def test_the_command_checks_its_items_whoever_made_them(alice: Api) -> None:
    source, destination = alice.account(balance=100), alice.account()
    batch = (BatchItem(wanted=transfer_command(source, destination, -5)),)
    with nothing_written():
        with pytest.raises(BatchRefused) as refused:
            execute(CreateBatch(items=batch, atomic=True), alice.user)
        assert refused.value.extra["cause"] == "amount_out_of_range"
        outcomes: list[Outcome] = execute(CreateBatch(items=batch, atomic=False), alice.user)
    assert [each.error.code for each in outcomes if each.error] == ["amount_out_of_range"]


@pytest.mark.django_db
@pytest.mark.parametrize("count", [0, 1001])
def test_the_command_bounds_the_number_of_its_items(alice: Api, count: int) -> None:
    item = BatchItem(wanted=transfer_command(uuid4(), uuid4(), 5))
    with nothing_written(), pytest.raises(InvalidInput):
        execute(CreateBatch(items=(item,) * count, atomic=True), alice.user)


@pytest.mark.django_db
def test_a_batch_among_others_that_is_refused_takes_nothing_along(alice: Api) -> None:
    source, destination = alice.account(balance=100), open_account(alice.user).id
    right = BatchItem(wanted=transfer_command(source, destination, 10))
    wrong = BatchItem(wanted=transfer_command(source, destination, 1000))
    batches = [
        (right,),
        (right, wrong),
        (BatchItem(wanted=transfer_command(source, destination, 5)),),
    ]
    outcomes = bus.execute_many(
        [envelope(CreateBatch(items=items, atomic=True), alice.user) for items in batches]
    )
    assert [each.error.code if each.error else None for each in outcomes] == [
        None,
        "batch_refused",
        None,
    ]
    assert balance(destination) == 15


class Try(Command):
    """A command that loses a race the first time."""


class Nothing:
    """A unit of work without work."""

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Drop nothing."""
        yield

    def flush(self) -> None:
        """Write nothing."""


@pytest.mark.django_db
def test_a_race_that_a_handler_loses_is_no_refusal_but_tried_again() -> None:
    tries = []

    def handle(command: Try, unit: Nothing, context: Context) -> int:
        tries.append(command)
        if len(tries) == 1:
            raise ConcurrencyConflict("Another request with this key was first.")
        return len(tries)

    racing = CommandBus(handlers={Try: handle}, begin=lambda _: Nothing(), middleware=[durable])
    assert racing.execute(envelope(Try())).value == 2
