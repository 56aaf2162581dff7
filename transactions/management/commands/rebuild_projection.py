"""`manage.py rebuild_projection NAME`: make a projection again from the log, and swap it in."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from rich.console import Console
from rich.progress import Progress

from eventstore.errors import PlatformError
from eventstore.projections import Rebuilt, rebuild_projection
from transactions.projectors import PROJECTIONS


class Command(BaseCommand):
    """Rebuild one projection beside the live one, while writes go on."""

    help = (
        "Make a projection again from the first event on, beside the live one, and swap it in."
        " Writes and reads go on meanwhile. A rebuild that was killed is taken up by the next."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Describe the options."""
        parser.add_argument("name", choices=sorted(PROJECTIONS), help="of the projection's lane")
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, *, name: str, json: bool, **_: Any) -> None:
        """Rebuild, and say what was done."""
        shown: AbstractContextManager[Progress | None] = nullcontext()
        if self.stderr.isatty():
            shown = Progress(console=Console(stderr=True))
        try:
            with shown as progress:
                done = rebuild_projection(PROJECTIONS[name], progress=_showing(progress, name))
        except (PlatformError, OperationalError) as error:
            raise CommandError(
                f"{name}: {error} The live projection is whole; run it again."
            ) from error
        if json:
            self.stdout.write(_as_json(name, done))
        else:
            self.stdout.write(
                f"{name}: {done.rows} rows of {done.events} events in {done.seconds:.1f} s"
                f" ({done.events_per_s:.0f} events/s), now live."
            )


def _showing(progress: Progress | None, name: str) -> Callable[[int, int], None]:
    if progress is None:
        return lambda _done, _all: None
    task = progress.add_task(f"Rebuilding {name}")
    return lambda done, total: progress.update(task, completed=done, total=total)


def _as_json(name: str, done: Rebuilt) -> str:
    return json.dumps(
        {
            "ok": True,
            "projection": name,
            "events": done.events,
            "rows": done.rows,
            "seconds": round(done.seconds, 3),
            "events_per_s": round(done.events_per_s, 1),
        }
    )
