"""`manage.py forget_subject`: forget who a person was, and keep what was done with money."""

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from eventstore.errors import PlatformError
from transactions.erasure import Forgotten, forget_subject
from users.erasure import user_id_of


class Command(BaseCommand):
    """Forget a person for good."""

    help = (
        "Forget a person for good: end their credentials, empty what accounts, transactions and"
        " e-mails tell of them, and throw the key away with which the log is sealed. Amounts, ids"
        " and times stay. It cannot be undone; run it again when it was cut short."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Describe the options."""
        parser.add_argument("who", help="the e-mail address or the id of the user")
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, *, who: str, json: bool, **_: Any) -> None:
        """Forget the person, and say what was done."""
        try:
            subject = user_id_of(who)
            self.stderr.write(f"Forgetting the user {subject}.")
            done = forget_subject(subject)
        except PlatformError as error:
            raise CommandError(error.detail) from error
        if json:
            self.stdout.write(_as_json(done))
            return
        for name, count in asdict(done).items():
            if type(count) is int and count:
                self.stdout.write(f"{name.replace('_', ' ')}: {count}")
        self.stdout.write(f"The user {subject} is forgotten.")
        self._say_what_is_left(done)

    def _say_what_is_left(self, done: Forgotten) -> None:
        for store, events in done.stores_behind.items():
            self.stderr.write(f"{store} has yet to follow {events} events, and forgets with them.")
        for store in done.stores_parked:
            self.stderr.write(
                f"{store} has parked an event of this person, and remembers until that is retried."
            )
        if done.accounts_with_money:
            self.stderr.write("Money is left on accounts that only administrators reach now.")
        if done.file_rewritten is False:
            self.stderr.write(
                "The database was busy, so its file may hold deleted text until it is used again:"
                " run this once more in a quiet hour."
            )


def _as_json(done: Forgotten) -> str:
    return json.dumps({**asdict(done), "subject": str(done.subject)})
