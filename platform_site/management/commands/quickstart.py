"""`manage.py quickstart`: the whole platform on embedded defaults, and its story played."""

import os
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from platform_site import env
from platform_site.demo import folder as demo_folder
from platform_site.demo.processes import PortUnusable
from platform_site.demo.report import Progress
from platform_site.demo.run import CannotStart, run
from platform_site.supervisor import ChildFailed


class Command(BaseCommand):
    """Run web server, worker, clock and Valkey; play the demo's story; run until Ctrl-C."""

    help = (
        "Run the whole platform on embedded defaults: migrate, create a demo admin, start Valkey, "
        "web, worker and beat, play the demo story through HTTP, and run until Ctrl-C."
    )
    # `migrate` makes them, once the settings are those of the folder asked for.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--port", type=int, default=8000, help="of the web server; 0 takes a free one"
        )
        parser.add_argument(
            "--data",
            type=Path,
            default=settings.DATA_DIR,
            metavar="DIR",
            help="the folder of everything the demo keeps (default: %(default)s)",
        )
        parser.add_argument(
            "--once",
            action="store_true",
            help="stop everything after the story, and exit 1 if any of it went wrong",
        )

    def handle(self, *_args: Any, port: int, data: Path, once: bool, **_options: Any) -> None:
        """Run it all; a good story and a clean stop exit with 0."""
        folder = data.expanduser().resolve()
        try:
            demo_folder.prepare(folder)
            if folder != settings.DATA_DIR:
                _start_over_with(folder)
            went_well = run(folder=folder, port=port, once=once, progress=Progress())
        except (demo_folder.FolderUnusable, PortUnusable, CannotStart, ChildFailed) as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError("Stopped before the story was played.") from None
        if not went_well:
            raise CommandError("The story went wrong at the step marked ✗.")


def _start_over_with(folder: Path) -> None:
    """Replace this process by one whose settings are those of `folder`.

    Settings are read from `DATA_DIR` before a command sees its options.
    """
    os.execve(  # noqa: S606
        sys.executable,
        [sys.executable, *sys.orig_argv[1:]],
        env.for_child(DATA_DIR=str(folder)),
    )
