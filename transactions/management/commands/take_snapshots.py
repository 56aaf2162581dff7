"""`manage.py take_snapshots`: so that a replay need not begin at the first event."""

from typing import Any

from django.core.management.base import BaseCommand

from eventstore.aggregates import take_snapshots
from transactions.aggregates import AGGREGATES


class Command(BaseCommand):
    """Take a snapshot of each stream that has grown by 1,000 events."""

    help = "Take a snapshot of each stream that has grown by 1,000 events since its last one."

    def handle(self, **_: Any) -> None:
        """Take them, and say how many there were."""
        taken = take_snapshots(AGGREGATES)
        self.stdout.write(f"{taken} snapshots taken.")
