"""`manage.py create_api_key`: a key on behalf of the operator."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import validate_email
from django.utils import timezone

from eventstore.errors import PlatformError
from users.key_handlers import grant_api_key
from users.models import KEY_NAME_LENGTH_MAX
from users.scopes import DEFAULT_TIER, SCOPES, TIERS


class Command(BaseCommand):
    """Creates a key and prints its secret, alone, on stdout; everything else goes to stderr."""

    help = (
        "Create an API key for a user and print its secret, which cannot be shown again. "
        "Scopes beyond everybody's are granted to the user for keys."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--email", required=True, help="whose key it will be")
        parser.add_argument(
            "--scopes", required=True, help=f"separated by commas, of: {', '.join(SCOPES)}"
        )
        parser.add_argument("--name", default="created by the operator", help="what it is for")
        parser.add_argument("--tier", default=DEFAULT_TIER, choices=TIERS, help="its rate limit")
        parser.add_argument(
            "--create-user", action="store_true", help="create the user if there is none"
        )

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002
        """Create the key."""
        scopes = [scope.strip() for scope in options["scopes"].split(",") if scope.strip()]
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown or not scopes:
            what = f"Unknown: {', '.join(unknown)}." if unknown else "No scope is given."
            raise CommandError(f"{what} The scopes are {', '.join(SCOPES)}.")
        name = options["name"]
        if not 1 <= len(name) <= KEY_NAME_LENGTH_MAX:
            raise CommandError(f"--name has 1 to {KEY_NAME_LENGTH_MAX} characters.")
        try:
            validate_email(options["email"])
            key, secret = grant_api_key(
                email=options["email"],
                name=name,
                scopes=scopes,
                tier=options["tier"],
                create_user=options["create_user"],
                now=timezone.now(),
            )
        except ValidationError:
            raise CommandError(f"{options['email']!r} is not an e-mail address.") from None
        except PlatformError as error:
            raise CommandError(error.detail) from None
        self.stderr.write(
            f"API key {key.prefix} of {key.user.email}: {', '.join(key.scopes)}; tier {key.tier}."
        )
        self.stdout.write(secret)
