"""What the steps of the demo's story are made of: calls that insist on their answer, and waits."""

import io
import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from django.core.management import CommandError, call_command
from django.db import connections

LAG_TIMEOUT_S = 15.0
POLL_INTERVAL_S = 0.2
REQUEST_TIMEOUT_S = 20.0
SEEN_LENGTH_MAX = 600


class StepFailed(Exception):
    """A step did not see what it should have."""

    def __init__(self, *, expected: str, seen: str) -> None:
        super().__init__(f"expected {expected}; seen {seen}")
        self.expected = expected
        self.seen = seen


@dataclass(slots=True, kw_only=True)
class Person:
    """A user of the demo, who signs in with a password and owns one account in this story.

    Args:
        known: whether an earlier run registered them, as far as anyone remembers.
    """

    name: str
    email: str
    password: str
    known: bool
    token: str = ""
    account: str = ""


@dataclass(slots=True, kw_only=True)
class Story:
    """What the steps share: where the platform is, who plays, and what has happened so far.

    Args:
        http: a client whose base address is the platform's.
        admin_key: an API key with every scope and without a rate limit.
        alice, bob: the users, who may be known from an earlier run.
        mail_folder: where the platform writes its e-mail.
    """

    http: httpx.Client
    admin_key: str
    alice: Person
    bob: Person
    mail_folder: Path
    transfer_key: str = field(default_factory=lambda: str(uuid.uuid4()))
    first_answer: httpx.Response | None = None
    transactions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the story: a title, and the function that plays it."""

    title: str
    play: Callable[[Story], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a step went: what it saw, or why it failed, and how long it took."""

    step: Step
    took_s: float
    seen: str = ""
    failure: StepFailed | None = None


def signs_in(story: Story, person: Person) -> bool:
    """Fetch a token for `person`; whether they are known."""
    answer = story.http.post(
        "/api/users/token", json={"email": person.email, "password": person.password}
    )
    if answer.status_code == 200:
        person.token = answer.json()["access_token"]
    elif answer.status_code != 401:
        raise StepFailed(expected="200 or 401", seen=brief(answer))
    return answer.status_code == 200


def call(
    story: Story,
    method: str,
    path: str,
    *,
    status: int,
    token: str = "",
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """Make one call and insist on the status of its answer."""
    authorization = {"Authorization": f"Bearer {token}"} if token else {}
    answer = story.http.request(
        method, path, json=body, headers={**authorization, **(headers or {})}
    )
    if answer.status_code != status:
        raise StepFailed(expected=f"{status} from {method} {path}", seen=brief(answer))
    return answer


def get(story: Story, path: str) -> dict[str, Any]:
    """Read one resource as the administrator, whom no rate limit stops."""
    answer: dict[str, Any] = call(story, "GET", path, token=story.admin_key, status=200).json()
    return answer


def move(
    story: Story, *, token: str, key: str, body: Mapping[str, Any], status: int = 201
) -> httpx.Response:
    """Ask for a transaction under the idempotency key `key`, with the credentials `token`."""
    return call(
        story,
        "POST",
        "/api/transactions",
        token=token,
        body=body,
        headers={"Idempotency-Key": key},
        status=status,
    )


def within_lag(look: Callable[[], tuple[bool, str]], *, expected: str) -> str:
    """Look again until it is so, `LAG_TIMEOUT_S` at most, and return what was seen.

    Args:
        look: answers whether it is so, and what there is to see now.
        expected: what `look` looks for, in words.
    """
    deadline = time.monotonic() + LAG_TIMEOUT_S
    while True:
        so, seen = look()
        if so:
            return seen
        if time.monotonic() > deadline:
            raise StepFailed(
                expected=f"{expected} within {LAG_TIMEOUT_S:.0f} s", seen=seen or "nothing"
            )
        time.sleep(POLL_INTERVAL_S)


def command(name: str) -> tuple[bool, str]:
    """Run a management command that prints JSON; whether it succeeds, and what it prints."""
    output = io.StringIO()
    try:
        call_command(name, json=True, stdout=output)
    except CommandError as error:
        return False, f"{error} {output.getvalue()}"[:SEEN_LENGTH_MAX]
    finally:
        connections.close_all()
    return True, output.getvalue()


def brief(answer: httpx.Response) -> str:
    """Return an answer in one line: its status, and its code and detail if it is a problem."""
    try:
        body = json.dumps(answer.json())
    except ValueError:
        body = answer.text
    return f"{answer.status_code} {body[:SEEN_LENGTH_MAX]}"
