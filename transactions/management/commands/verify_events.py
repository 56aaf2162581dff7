"""`manage.py verify_events`: prove that nothing was changed behind the system's back."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from eventstore.queries import log_status
from transactions.verification import ledger_faults


class Command(BaseCommand):
    """Recompute every hash, position, version, head and sum."""

    help = (
        "Recompute every hash, check that positions and versions are dense, that each head row is"
        " what its events make, and that all money sums up to zero. Names the first thing broken"
        " and exits 1."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Describe the options."""
        parser.add_argument("--stream", help="check the head of this stream only, and the chain")
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, *, stream: str | None, json: bool, **_: Any) -> None:
        """Verify, and say what was found."""
        fault = next(ledger_faults(stream=stream), None)
        status = log_status()
        if json:
            self.stdout.write(_as_json(fault, status.head, status.unsequenced))
        elif fault is None:
            waiting = f", {status.unsequenced} more wait for theirs" if status.unsequenced else ""
            self.stdout.write(f"Verified {status.head} positions{waiting}: the log is whole.")
        if fault is not None:
            raise CommandError(f"{fault.subject}: {fault.detail}")


def _as_json(fault: Any, head: int, unsequenced: int) -> str:
    first = {"subject": fault.subject, "detail": fault.detail} if fault else None
    return json.dumps(
        {"ok": fault is None, "events": head, "unsequenced": unsequenced, "first_fault": first}
    )
