"""django-hordak as a peer: double-entry bookkeeping for Django, on the same kind of server.

A transfer is what its manual says, `Account.transfer_to` in a transaction: a transaction and two
legs, whose sum a trigger of the database checks. It knows no idempotency and no history of
events, and lets an account go below zero: whoever does not want that must lock the account and
sum up its legs first, which would cost more with every transfer and is not measured here.
"""

import random
from typing import Any

from benchmarks.databases import HOST
from benchmarks.threads import per_second

ENGINES = {"mysql": "django.db.backends.mysql", "postgresql": "django.db.backends.postgresql"}


class HordakPeer:
    """Measures transfers.

    Args:
        vendor: of the server: `mysql` or `postgresql`.
        accounts: how many there are.
    """

    def __init__(self, *, vendor: str, port: int, user: str, database: str, accounts: int) -> None:
        _set_up(vendor=vendor, port=port, user=user, database=database)
        from hordak.models import Account, AccountType

        self._accounts = [
            Account.objects.create(
                name=f"account {number}", type=AccountType.liability, currencies=["EUR"]
            )
            for number in range(accounts)
        ]

    def transfers(self, *, threads: int, count: int) -> float:
        """Make transfers, one a commit, in so many threads; transfers a second."""
        from django.db import connections

        def run(_: int) -> int:
            for _each in range(count // threads):
                source, destination = random.sample(self._accounts, 2)
                self._transfer(source, destination)
            return count // threads

        return per_second(threads, run, close=connections.close_all)

    def _transfer(self, source: Any, destination: Any) -> None:
        from django.db import transaction
        from moneyed import Money

        with transaction.atomic():
            # Money leaves a liability by a debit, so its side is the second one.
            destination.transfer_to(source, Money(1, "EUR"))


def _set_up(*, vendor: str, port: int, user: str, database: str) -> None:
    import django
    from django.conf import settings
    from django.core.management import call_command

    options: dict[str, Any] = {}
    if vendor == "mysql":
        options = {"charset": "utf8mb4", "isolation_level": "read committed"}
    settings.configure(
        SECRET_KEY="bench",
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "mptt",
            "djmoney",
            "hordak",
        ],
        DATABASES={
            "default": {
                "ENGINE": ENGINES[vendor],
                "NAME": database,
                "HOST": HOST,
                "PORT": port,
                "USER": user,
                "CONN_MAX_AGE": None,
                "OPTIONS": options,
            }
        },
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
        DEFAULT_CURRENCY="EUR",
        HORDAK_CURRENCIES=["EUR"],
        CURRENCIES=["EUR"],
    )
    django.setup()
    call_command("migrate", verbosity=0)
