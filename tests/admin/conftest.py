"""Fixtures of the tests of the admin."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from eventstore import config
from tests.admin import tools
from tests.admin.tools import follow_log, new_user, open_account, transfer
from users.models import User


@pytest.fixture(autouse=True)
def _lanes(settings: Any) -> Iterator[None]:
    """Let three lanes follow the log, one of which can be upset."""
    settings.EVENTSTORE_SUBSCRIPTIONS = "tests.admin.tools.SUBSCRIPTIONS"
    config.subscriptions.cache_clear()
    yield
    tools.POISON.clear()
    config.subscriptions.cache_clear()


@dataclass(frozen=True)
class Story:
    """Two people, their accounts, and 12.50 EUR that went from one to the other."""

    ann: User
    bob: User
    source: UUID
    destination: UUID
    transaction: UUID


@pytest.fixture
def story(db: None) -> Story:
    """A small ledger, placed in the log and followed by every lane."""
    ann, bob = new_user(), new_user()
    source, destination = open_account(ann, deposit=100_000), open_account(bob)
    transaction = transfer(
        source, destination, by=ann, key="order-1", reference="INV-1", metadata={"order": 7}
    )
    follow_log()
    return Story(ann, bob, source, destination, transaction)
