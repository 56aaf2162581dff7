"""`manage.py verify_events`: prove that nothing was changed behind the system's back."""

import json
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console

from eventstore.integrity import Fault
from eventstore.queries import LogStatus, log_status
from transactions.verification import ledger_checks


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
        fault = self._first_fault(stream)
        status = log_status()
        if json:
            self.stdout.write(_as_json(fault, status))
        elif fault is None:
            waiting = f", {status.unsequenced} more wait for theirs" if status.unsequenced else ""
            self.stdout.write(f"Verified {status.head} positions{waiting}: the log is whole.")
        if fault is not None:
            raise CommandError(f"{fault.subject}: {fault.detail}")

    def _first_fault(self, stream: str | None) -> Fault | None:
        for name, faults in ledger_checks(stream=stream):
            with self._showing(f"Checking {name}"):
                fault = next(faults, None)
            if fault is not None:
                return fault
        return None

    def _showing(self, text: str) -> AbstractContextManager[object]:
        """Show on a terminal what is being done."""
        return Console(stderr=True).status(text) if self.stderr.isatty() else nullcontext()


def _as_json(fault: Fault | None, status: LogStatus) -> str:
    first = {"subject": fault.subject, "detail": fault.detail} if fault else None
    return json.dumps(
        {
            "ok": fault is None,
            "events": status.head,
            "unsequenced": status.unsequenced,
            "first_fault": first,
        }
    )
