"""`manage.py verify_events`: prove that nothing was changed behind the system's back."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console

from eventstore.integrity import Fault
from eventstore.queries import LogStatus, log_status
from transactions.verification import ledger_checks


class Command(BaseCommand):
    """Recompute every hash, position, version, tree head, head row and sum."""

    help = (
        "Recompute every hash, check that positions and versions are dense, that the log is what"
        " its signed tree heads say, that each head row is what its events make, that all money"
        " sums up to zero and that what is held are open holds. Names the first thing broken and"
        " exits 1."
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
        with self._progress() as tell:
            name = ""

            def on_progress(events: int) -> None:
                tell(f"Checking {name}: {events:,} events")

            for name, faults in ledger_checks(stream=stream, on_progress=on_progress):
                tell(f"Checking {name}")
                fault = next(faults, None)
                if fault is not None:
                    return fault
        return None

    @contextmanager
    def _progress(self) -> Iterator[Callable[[str], None]]:
        """Show on a terminal what is being done; yield what changes the text."""
        if not self.stderr.isatty():
            yield lambda _: None
            return
        with Console(stderr=True).status("Checking") as status:
            yield status.update


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
