"""Fixtures of the tests of the contract: a small world that every operation can be asked about."""

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
from pytest_django.fixtures import Settings

from eventstore import queries
from tests.transactions.tools import Api, admin, deposit, drain, open_account, transfer, with_key
from users.scopes import ALL_SCOPES, TIERS


@dataclass(frozen=True, slots=True)
class World:
    """What there is to ask for."""

    api: Api
    accounts: tuple[UUID, UUID]
    transaction: UUID
    event: UUID

    def known(self, name: str) -> UUID | None:
        """Return an id of the kind that a parameter or member of this name holds."""
        return {
            "account": self.accounts[0],
            "source": self.accounts[0],
            "destination": self.accounts[1],
            "transaction": self.transaction,
            "event": self.event,
            "owner": self.api.user.pk,
        }.get(name)


@pytest.fixture
def world(db: None, settings: Settings, tmp_path: Path) -> World:
    """An administrator with a key without limits, and two accounts between which money moved."""
    settings.DOCUMENT_STORE_FILE = tmp_path / "document.sqlite3"
    settings.GLOBAL_STORE_FILE = tmp_path / "global.sqlite3"
    settings.EMAIL_FILE_PATH = tmp_path / "mail"
    settings.REDIS_URL = ""
    # Limits that no tier lifts: of single views, and of whoever has no credentials.
    settings.RATE_LIMIT_TIERS = dict.fromkeys(TIERS)
    settings.REGISTRATION_RATE = "100000/h"
    settings.TOKEN_RATE = "100000/m"
    api = with_key(admin().user, ALL_SCOPES)
    first, second = (open_account(api.user).id for _ in range(2))
    deposit(first, 10**15)
    moved = transfer(first, second, 100)
    drain()
    story = queries.list_events(after=0, limit=1, filters={"stream": f"transaction-{moved.id}"})
    return World(api=api, accounts=(first, second), transaction=moved.id, event=story[0].id)
