"""What must be true of accounts for a movement: exactly at the border, and on which side of it."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from transactions.domain.account import Account
from transactions.domain.preconditions import (
    KINDS,
    Kind,
    Precondition,
    PreconditionFailed,
    check,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
ID, OTHER = UUID(int=1), UUID(int=2)
ACCOUNT = Account(
    id=ID,
    owner=UUID(int=3),
    ledger="main",
    currency="EUR",
    name="",
    status="open",
    overdraft_limit=50,
    posted=100,
    held=30,
    metadata={},
    version=7,
    created_at=NOW,
    updated_at=NOW,
)


@pytest.mark.parametrize(
    ("kind", "value", "holds"),
    [
        ("version", 6, False),
        ("version", 7, True),
        ("version", 8, False),
        ("posted_gte", 99, True),
        ("posted_gte", 100, True),
        ("posted_gte", 101, False),
        ("posted_lte", 99, False),
        ("posted_lte", 100, True),
        ("posted_lte", 101, True),
        # Available is what may leave: without what is reserved, with what may be owed.
        ("available_gte", 119, True),
        ("available_gte", 120, True),
        ("available_gte", 121, False),
    ],
)
def test_a_border_belongs_to_it(kind: Kind, value: int, holds: bool) -> None:
    assert Precondition(account=ID, kind=kind, value=value).holds_for(ACCOUNT) is holds


def test_every_kind_is_tried() -> None:
    assert set(KINDS) == {"version", "posted_gte", "posted_lte", "available_gte"}


def test_a_debt_is_less_than_nothing() -> None:
    owing = replace(ACCOUNT, posted=-20, held=0)
    assert Precondition(account=ID, kind="posted_lte", value=-20).holds_for(owing)
    assert not Precondition(account=ID, kind="posted_gte", value=-19).holds_for(owing)


def test_the_first_that_is_not_met_is_named_and_no_other_is_looked_at() -> None:
    asked: list[UUID] = []

    def account_of(account: UUID) -> Account:
        asked.append(account)
        return replace(ACCOUNT, id=account)

    wanted = [
        Precondition(account=ID, kind="version", value=7),
        Precondition(account=OTHER, kind="posted_gte", value=101),
        Precondition(account=ID, kind="version", value=1),
    ]
    with pytest.raises(PreconditionFailed, match=f"Precondition 1 .* posted_gte 101 .* {OTHER}"):
        check(wanted, account_of)
    assert asked == [ID, OTHER]


def test_without_conditions_nothing_is_asked_and_with_good_ones_nothing_is_said() -> None:
    check([], lambda _: pytest.fail("nobody was to be asked"))
    check([Precondition(account=ID, kind="version", value=7)] * 2, lambda _: ACCOUNT)
