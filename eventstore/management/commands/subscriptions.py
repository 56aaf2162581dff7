"""`manage.py subscriptions`: the lanes that follow the log."""

import json
from argparse import SUPPRESS
from dataclasses import asdict
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from eventstore import config, subscriptions
from eventstore.errors import PlatformError
from eventstore.models import ParkedEvent
from eventstore.queries import lane_status

PARKED_SHOWN_MAX = 500
OUTPUT_COLUMNS = 160


class Command(BaseCommand):
    """List, pause, resume and reset lanes; list, retry and skip what they have parked."""

    help = "The lanes that follow the log: their positions, their lag, and what they have parked."

    def add_arguments(self, parser: CommandParser) -> None:
        """Describe the actions."""
        parser.add_argument("--json", action="store_true", help="print tables as JSON")
        actions = parser.add_subparsers(dest="action", title="actions")
        _takes_json(actions.add_parser("list", help="every lane (the default)"))
        for name, text in (
            ("pause", "stop a lane"),
            ("resume", "let a lane run again"),
        ):
            actions.add_parser(name, help=text).add_argument("name")
        reset = actions.add_parser("reset", help="let a lane handle events again")
        reset.add_argument("name")
        reset.add_argument("--to", type=int, required=True, metavar="POSITION")
        _takes_json(actions.add_parser("parked", help="events that a lane could not handle"))
        actions.add_parser("retry", help="handle a parked event again").add_argument("id", type=int)
        skip = actions.add_parser("skip", help="give a parked event up")
        skip.add_argument("id", type=int)
        skip.add_argument("--reason", required=True)

    def handle(self, *, action: str | None, json: bool, **options: Any) -> None:
        """Do what `action` says."""
        try:
            self._act(action, as_json=json, options=options)
        except PlatformError as error:
            raise CommandError(error.detail) from error

    def _act(self, action: str | None, *, as_json: bool, options: dict[str, Any]) -> None:
        match action:
            case "pause":
                subscriptions.pause(self._lane(options["name"]).name)
            case "resume":
                subscriptions.resume(self._lane(options["name"]).name)
            case "reset":
                subscriptions.reset(self._lane(options["name"]).name, to=options["to"])
            case "parked":
                self._print_parked(as_json=as_json)
            case "retry":
                row = self._parked_event(options["id"])
                handled = subscriptions.retry_parked(self._lane(row.subscription), row.pk)
                if not handled:
                    row.refresh_from_db()
                    if row.resolution:
                        raise CommandError("Somebody else has dealt with it meanwhile.")
                    raise CommandError(f"It failed again: {row.error}")
                self.stderr.write(f"{handled} events handled.")
            case "skip":
                row = self._parked_event(options["id"])
                subscriptions.skip_parked(row.subscription, row.pk, reason=options["reason"])
            case _:
                self._print([asdict(lane) for lane in lane_status()], as_json=as_json)

    def _lane(self, name: str) -> subscriptions.Subscription:
        lanes = {lane.name: lane for lane in config.subscriptions()}
        if name not in lanes:
            raise CommandError(f"There is no lane {name}; there are {', '.join(lanes)}.")
        return lanes[name]

    def _parked_event(self, parked_id: int) -> ParkedEvent:
        row = ParkedEvent.objects.filter(pk=parked_id, resolution="").first()
        if row is None:
            raise CommandError(f"No event is parked under {parked_id}.")
        return row

    def _print_parked(self, *, as_json: bool) -> None:
        rows = ParkedEvent.objects.filter(resolution="").order_by("subscription", "position")
        self._print([_parked(row) for row in rows[:PARKED_SHOWN_MAX]], as_json=as_json)
        more = rows.count() - PARKED_SHOWN_MAX
        if more > 0:
            self.stderr.write(f"and {more} more")

    def _print(self, rows: list[dict[str, Any]], *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(rows))
            return
        if not rows:
            self.stderr.write("Nothing.")
            return
        table = Table(*rows[0])
        for row in rows:
            table.add_row(*(_cell(value) for value in row.values()))
        # Whole words where nobody looks at a screen: a log, a pipe.
        width = None if self.stdout.isatty() else OUTPUT_COLUMNS
        Console(file=cast("IO[str]", self.stdout), width=width).print(table)


def _takes_json(action: CommandParser) -> None:
    # Behind the action too. Without a default: it would undo what stands in front of the action.
    action.add_argument(
        "--json", action="store_true", default=SUPPRESS, help="print the table as JSON"
    )


def _cell(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _parked(row: ParkedEvent) -> dict[str, Any]:
    return {
        "id": row.pk,
        "subscription": row.subscription,
        "stream": row.stream,
        "position": row.position,
        "error": row.error,
    }
