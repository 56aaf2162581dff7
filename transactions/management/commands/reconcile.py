"""`manage.py reconcile`: compare each store with the log, and mend it."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from eventstore.reconciliation import Difference, reconcile
from eventstore.store import LogBroken
from eventstore.stores import StoreUnavailable
from transactions.aggregates import FOLDS
from transactions.stores import STORES

SHOWN_MAX = 100


class Command(BaseCommand):
    """Find what is missing, extra, altered or stale in a store."""

    help = (
        "Compare every event and document of each store with the log, as far as its lane has"
        " come. Exits 1 while they differ."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Describe the options."""
        parser.add_argument("--store", choices=sorted(STORES), help="this store only")
        parser.add_argument("--repair", action="store_true", help="mend the store from the log")
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, *, store: str | None, repair: bool, json: bool, **_: Any) -> None:
        """Compare, and say what was found."""
        found: dict[str, list[Difference]] = {}
        for name in [store] if store else list(STORES):
            found[name] = _compare(name, repair=repair)
            if not json:
                self._print(name, found[name], repair=repair)
        differences = sum(map(len, found.values()))
        # A repair is believed only after another look.
        is_mended = repair and not any(_compare(name) for name in found if found[name])
        if json:
            is_ok = is_mended or not differences
            self.stdout.write(_as_json(found, is_ok=is_ok, repaired=repair))
        if differences and not repair:
            raise CommandError(f"{differences} differences; --repair mends them from the log.")
        if differences and not is_mended:
            raise CommandError("Some differences are still there after the repair.")

    def _print(self, name: str, differences: list[Difference], *, repair: bool) -> None:
        for difference in differences[:SHOWN_MAX]:
            self.stdout.write(f"{name}: {difference.kind} {difference.subject}")
        if len(differences) > SHOWN_MAX:
            self.stdout.write(f"{name}: and {len(differences) - SHOWN_MAX} more")
        done = "mended" if repair else "found"
        self.stdout.write(
            f"{name}: {len(differences)} differences {done}"
            if differences
            else f"{name}: agrees with the log"
        )


def _compare(name: str, *, repair: bool = False) -> list[Difference]:
    try:
        return list(reconcile(STORES[name](), FOLDS, repair=repair))
    except StoreUnavailable as error:
        raise CommandError(f"{error.detail}. Start the store, then try again.") from error
    except LogBroken as error:
        raise CommandError(f"{error.detail} `verify_events` says more.") from error


def _as_json(found: dict[str, list[Difference]], *, is_ok: bool, repaired: bool) -> str:
    return json.dumps(
        {
            "ok": is_ok,
            "repaired": repaired,
            "stores": {
                name: [{"kind": each.kind, "subject": each.subject} for each in differences]
                for name, differences in found.items()
            },
        }
    )
