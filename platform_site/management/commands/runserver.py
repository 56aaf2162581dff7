"""`manage.py runserver`: the web server alone, as the quickstart and production run it."""

import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from platform_site.demo.processes import HOST, PROJECT, web_command

PORT = 8_000


class Command(BaseCommand):
    """Takes the place of Django's own, which would serve Django without the gateway before it."""

    help = "Serve the site, gateway included. It does not start again when the code changes."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take an address."""
        parser.add_argument(
            "address",
            nargs="?",
            default=f"{HOST}:{PORT}",
            help=f"[HOST:]PORT to listen on; {HOST}:{PORT} by default.",
        )

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002
        """Become the web server."""
        host, _, port = options["address"].rpartition(":")
        if not port.isdecimal():
            raise CommandError(f"{options['address']!r} is no address: write [HOST:]PORT.")
        command = web_command(host.strip("[]") or HOST, int(port))
        self.stderr.write(f"Serving http://{host or HOST}:{port}; Ctrl-C ends it.")
        os.chdir(PROJECT)
        os.execv(command[0], command)  # noqa: S606 - a fixed program, and no shell to fool
