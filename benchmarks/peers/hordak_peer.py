"""django-hordak as a peer: double-entry bookkeeping for Django, on the same kind of server.

A transfer is what its manual says, `Account.transfer_to` in a transaction: a transaction and two
legs, whose sum a trigger of the database checks. It knows no idempotency and no history of
events, and lets an account go below zero; `checked` also locks the two accounts and looks at the
balance first, which is what its users must do themselves.
"""

import random
from typing import Any

from benchmarks.databases import HOST
from benchmarks.threads import per_second

ENGINES = {"mysql": "django.db.backends.mysql", "postgresql": "django.db.backends.postgresql"}
FUNDS = 10**6


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
        outside = Account.objects.create(
            name="outside", type=AccountType.liability, currencies=["EUR"]
        )
        for account in self._accounts:
            self._transfer(outside, account, FUNDS)

    def transfers(self, *, threads: int, count: int, checked: bool = False) -> float:
        """Make transfers, one a commit, in so many threads; transfers a second."""
        from django.db import connections

        def run(_: int) -> int:
            for _each in range(count // threads):
                source, destination = random.sample(self._accounts, 2)
                if checked:
                    self._checked_transfer(source.pk, destination.pk, 1)
                else:
                    self._transfer(source, destination, 1)
            return count // threads

        return per_second(threads, run, close=connections.close_all)

    def _transfer(self, source: Any, destination: Any, amount: int) -> None:
        from django.db import transaction
        from moneyed import Money

        with transaction.atomic():
            # Money leaves a liability by a debit, so its side is the second one.
            destination.transfer_to(source, Money(amount, "EUR"))

    def _checked_transfer(self, source: int, destination: int, amount: int) -> None:
        from django.db import transaction
        from hordak.models import Account
        from moneyed import Money

        with transaction.atomic():
            # `of` keeps the parents of its tree, which are joined, out of the lock.
            rows = Account.objects.filter(pk__in=[source, destination]).order_by("pk")
            locked = {row.pk: row for row in rows.select_related(None).select_for_update()}
            if locked[source].get_balance()["EUR"] < Money(amount, "EUR"):
                raise ValueError("insufficient funds")
            locked[destination].transfer_to(locked[source], Money(amount, "EUR"))


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
