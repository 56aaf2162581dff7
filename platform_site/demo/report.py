"""What quickstart prints: progress on standard error, results on standard output."""

import shlex
import time
from collections.abc import Callable

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from platform_site.demo.stage import Outcome, Story

TITLE_WIDTH = 38


class Progress:
    """Says what happens, each line with the seconds since the start."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._started = time.monotonic()

    def say(self, sentence: str) -> None:
        """Print one line; may be called from any thread."""
        elapsed = f"{time.monotonic() - self._started:6.1f} s"
        self._console.print(Text.assemble((f"{elapsed}  ", "dim"), sentence), soft_wrap=True)


def step_printer() -> Callable[[Outcome], None]:
    """Return a function that prints each step of the story as it ends."""
    console = Console(highlight=False)

    def show(outcome: Outcome) -> None:
        title = f"{outcome.step.title:<{TITLE_WIDTH}}"
        took = f"[dim]{outcome.took_s:5.2f} s[/dim]"
        if outcome.failure is None:
            console.print(
                f"  [green]✓[/green] {title} {took}  {escape(outcome.seen)}", soft_wrap=True
            )
            return
        console.print(f"  [red]✗[/red] {title} {took}", soft_wrap=True)
        for label, text in (
            ("expected", outcome.failure.expected),
            ("seen", outcome.failure.seen),
        ):
            console.print(f"      [bold]{label}[/bold] {escape(text)}", soft_wrap=True)

    return show


def curl_lines(*, url: str, story: Story) -> list[tuple[str, str]]:
    """Return three calls to try: what each does, and a line for a shell.

    They authenticate with the demo's API key, which does not expire as a token does.
    """
    authorization = f"Authorization: Bearer {story.admin_key}"
    transfer = story.transactions["transfer"]
    body = (
        f'{{"type": "transfer", "source": "{story.alice.account}", '
        f'"destination": "{story.bob.account}", "amount": 250, "currency": "EUR"}}'
    )

    def curl(*arguments: str) -> str:
        return shlex.join(["curl", "-sS", *arguments, "-H", authorization])

    return [
        ("Alice's account", curl(f"{url}/api/accounts/{story.alice.account}")),
        (
            "Send 2.50 EUR to Bob; paste it twice and the money moves once",
            curl(
                f"{url}/api/transactions",
                "-H",
                "Content-Type: application/json",
                "-H",
                f"Idempotency-Key: pasted-{transfer}",
                "-d",
                body,
            ),
        ),
        ("The events of the transfer above", curl(f"{url}/api/transactions/{transfer}/events")),
    ]


def print_summary(*, url: str, story: Story, email: str, password: str) -> None:
    """Print addresses, credentials and three calls, without wrapping: they are for pasting."""
    lines = [
        "",
        f"  API       {url}/api/",
        f"  API docs  {url}/api/docs",
        f"  Admin     {url}/admin/",
        "",
        f"  Admin     {email}  password  {password}",
        *(
            f"  {person.name:<9} {person.email}  password  {person.password}"
            for person in (story.alice, story.bob)
        ),
        f"  API key   {story.admin_key}  (every scope, no rate limit)",
        "",
    ]
    for what, line in curl_lines(url=url, story=story):
        lines += [f"  # {what}", f"  {line}", ""]
    print("\n".join(lines), flush=True)  # noqa: T201
