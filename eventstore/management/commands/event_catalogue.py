"""`manage.py event_catalogue`: every event ever stored, with its schema."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from eventstore import catalogue, config
from eventstore.errors import PlatformError


class Command(BaseCommand):
    """Print, check or extend the catalogue of events."""

    help = (
        "Print every event with its schema, as the code has it. With --check FILE, exit 1 when the"
        " code breaks what FILE promises; with --write FILE, add what is new to it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Describe the options."""
        choice = parser.add_mutually_exclusive_group()
        choice.add_argument("--check", type=Path, metavar="FILE")
        choice.add_argument("--write", type=Path, metavar="FILE")

    def handle(self, *, check: Path | None, write: Path | None, **_: Any) -> None:
        """Do what was asked."""
        if check is not None:
            self._check(check)
        elif write is not None:
            try:
                new = catalogue.write(write, config.codec())
            except PlatformError as error:
                raise CommandError(error.detail) from error
            self.stderr.write(f"Added: {', '.join(new) or 'nothing'}.")
        else:
            self.stdout.write(catalogue.render(catalogue.event_schemas(config.codec())).rstrip())

    def _check(self, path: Path) -> None:
        promised = catalogue.read(path)
        if not promised:
            raise CommandError(f"{path} promises nothing: run `event_catalogue --write {path}`.")
        if broken := list(catalogue.faults(config.codec(), promised)):
            raise CommandError("\n".join(broken))
        self.stdout.write(f"{len(promised)} events are as they were promised.")
