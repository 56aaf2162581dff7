"""The demo's story: what the platform promises, played through real HTTP and checked.

Read `STEPS` at the end first. Each step is one small function: it calls the API as any client
would, insists on what it expects, and returns a few words on what it saw.
"""

import json
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import httpx
from django.db import DatabaseError

from platform_site.demo.stage import (
    Outcome,
    Step,
    StepFailed,
    Story,
    brief,
    call,
    command,
    get,
    move,
    signs_in,
    within_lag,
)

CURRENCY = "EUR"
DEPOSITED = 500_00
SENT = 125_00
OVERDRAWN = 10_000_00


def play(story: Story, *, show: Callable[[Outcome], None]) -> bool:
    """Play `STEPS` in order, show each outcome, up to a failure; whether there was none."""
    for step in STEPS:
        started = time.monotonic()
        try:
            seen, failure = step.play(story), None
        except StepFailed as failed:
            seen, failure = "", failed
        except (httpx.HTTPError, DatabaseError, LookupError, TypeError, ValueError) as error:
            # An answer that is missing, or not of the documented shape.
            seen, failure = "", StepFailed(expected="an answer as documented", seen=repr(error))
        show(Outcome(step=step, took_s=time.monotonic() - started, seen=seen, failure=failure))
        if failure is not None:
            return False
    return True


# The steps


def people_register(story: Story) -> str:
    """Register both users; those of an earlier run are known and only sign in."""
    new = 0
    for person in (story.alice, story.bob):
        if person.known and signs_in(story, person):
            continue
        call(
            story,
            "POST",
            "/api/users/register",
            body={"email": person.email, "password": person.password, "name": person.name},
            status=201,
        )
        new += 1
    return f"{story.alice.email}, {story.bob.email}" if new else "known from an earlier run"


def people_get_tokens(story: Story) -> str:
    """Exchange e-mail and password for an access token."""
    for person in (story.alice, story.bob):
        if not person.token and not signs_in(story, person):
            raise StepFailed(expected=f"a token for {person.email}", seen="401")
    return "bearer tokens, valid for minutes"


def people_open_accounts(story: Story) -> str:
    """Open an account each."""
    for person in (story.alice, story.bob):
        answer = call(
            story,
            "POST",
            "/api/accounts",
            token=person.token,
            body={"currency": CURRENCY, "name": f"{person.name}'s account"},
            status=201,
        )
        person.account = answer.json()["id"]
        _expect_posted(answer.json(), 0)
    return f"two accounts in {CURRENCY}"


def admin_deposits(story: Story) -> str:
    """Bring money in from outside, which only an administrator may."""
    answer = move(
        story,
        token=story.admin_key,
        key=str(uuid.uuid4()),
        body={
            "type": "deposit",
            "destination": story.alice.account,
            "amount": DEPOSITED,
            "currency": CURRENCY,
            "description": "Opening deposit",
        },
    )
    story.transactions["deposit"] = _expect_completed(answer)["id"]
    _expect_balances(story, alice=DEPOSITED, bob=0)
    return f"{answer.json()['display']} {CURRENCY}"


def alice_sends_money(story: Story) -> str:
    """Move money from one user to the other, and see both balances follow at once."""
    answer = _send(story, key=story.transfer_key)
    story.first_answer = answer
    story.transactions["transfer"] = _expect_completed(answer)["id"]
    _expect_balances(story, alice=DEPOSITED - SENT, bob=SENT)
    return f"{answer.json()['display']} {CURRENCY}; balances {_display(story)}"


def alice_repeats_herself(story: Story) -> str:
    """Send the very same request again, as a client does that lost the answer."""
    first, again = story.first_answer, _send(story, key=story.transfer_key)
    if first is None or again.content != first.content or again.status_code != first.status_code:
        raise StepFailed(expected="the first answer, byte for byte", seen=brief(again))
    if again.headers.get("Idempotent-Replayed") != "true":
        raise StepFailed(expected="the header Idempotent-Replayed: true", seen="none")
    _expect_balances(story, alice=DEPOSITED - SENT, bob=SENT)
    return "the first answer, byte for byte; no money moved"


def alice_is_refused(story: Story) -> str:
    """Send more than there is: refused, recorded, and no money moved."""
    answer = move(
        story,
        token=story.alice.token,
        key=str(uuid.uuid4()),
        body=_transfer(story, amount=OVERDRAWN),
        status=422,
    )
    problem = answer.json()
    if problem["code"] != "insufficient_funds":
        raise StepFailed(expected="the code insufficient_funds", seen=brief(answer))
    story.transactions["refused transfer"] = problem["transaction_id"]
    _expect_balances(story, alice=DEPOSITED - SENT, bob=SENT)
    return f"422 {problem['code']}; no money moved"


def events_read_back(story: Story) -> str:
    """Read the transfer's story, and the same events in the log of everything."""
    transfer = story.transactions["transfer"]

    def told() -> tuple[bool, str]:
        events = get(story, f"/api/transactions/{transfer}/events")["data"]
        in_log = get(story, f"/api/events?transaction={transfer}")["data"]
        types = [event["type"] for event in events]
        positions = [event["position"] for event in events]
        so = (
            {"AccountDebited", "AccountCredited", "TransactionCompleted"} <= set(types)
            and positions == sorted(positions)
            and [event["id"] for event in events] == [event["id"] for event in in_log]
        )
        return so, ", ".join(f"{at} {name}" for at, name in zip(positions, types, strict=True))

    return within_lag(told, expected="the transfer's events, in both places and in order")


def mail_is_written(story: Story) -> str:
    """See the notifications of both users, which a lane behind the log writes."""
    transfer = story.transactions["transfer"]

    def written() -> tuple[bool, str]:
        folder = story.mail_folder
        files = list(folder.glob("*.eml")) if folder.is_dir() else []
        found = [path.name for path in files if transfer in path.read_text(errors="replace")]
        return len(found) == 2, f"{len(found)} in {folder}"

    return within_lag(written, expected="two e-mails about the transfer")


def stores_confirm(story: Story) -> str:
    """See each transaction confirmed by all three stores."""

    def confirmed() -> tuple[bool, str]:
        for name, transaction in story.transactions.items():
            stores = get(story, f"/api/transactions/{transaction}")["stores"]
            if len(stores) != 3 or set(stores.values()) != {"confirmed"}:
                return False, f"{name}: {stores}"
        return True, f"{', '.join(story.transactions)} in {', '.join(stores)}"

    return within_lag(confirmed, expected="`confirmed` from every store")


def log_is_whole(_story: Story) -> str:
    """Recompute hashes, positions, versions, balances and sums (`manage.py verify_events`)."""
    whole, printed = command("verify_events")
    if not whole:
        raise StepFailed(expected="a whole log from verify_events", seen=printed)
    return f"{json.loads(printed)['events']} events: every hash, balance and sum recomputed"


def stores_agree(_story: Story) -> str:
    """Compare every row of every store with the log (`manage.py reconcile`)."""
    within_lag(lambda: command("reconcile"), expected="no difference from reconcile")
    return "no difference in any row"


def _transfer(story: Story, *, amount: int) -> dict[str, Any]:
    return {
        "type": "transfer",
        "source": story.alice.account,
        "destination": story.bob.account,
        "amount": amount,
        "currency": CURRENCY,
        "description": "Rent",
    }


def _send(story: Story, *, key: str) -> httpx.Response:
    return move(story, token=story.alice.token, key=key, body=_transfer(story, amount=SENT))


def _expect_completed(answer: httpx.Response) -> dict[str, Any]:
    transaction: dict[str, Any] = answer.json()
    if transaction["status"] != "completed":
        raise StepFailed(expected="the status completed", seen=brief(answer))
    return transaction


def _expect_posted(account: Mapping[str, Any], amount: int) -> None:
    posted = account["balance"]["posted"]
    if posted["amount"] != amount:
        raise StepFailed(expected=f"a balance of {amount} minor units", seen=str(posted))


def _expect_balances(story: Story, *, alice: int, bob: int) -> None:
    for person, amount in ((story.alice, alice), (story.bob, bob)):
        _expect_posted(get(story, f"/api/accounts/{person.account}"), amount)


def _display(story: Story) -> str:
    shown = (
        get(story, f"/api/accounts/{person.account}")["balance"]["posted"]["display"]
        for person in (story.alice, story.bob)
    )
    return " and ".join(shown)


STEPS = (
    Step("Alice and Bob register", people_register),
    Step("Both get an access token", people_get_tokens),
    Step("Each opens an account", people_open_accounts),
    Step("The admin deposits money with Alice", admin_deposits),
    Step("Alice sends Bob a part of it", alice_sends_money),
    Step("Alice sends the same request again", alice_repeats_herself),
    Step("Alice sends more than she has", alice_is_refused),
    Step("The events of the transfer read back", events_read_back),
    Step("An e-mail tells about it", mail_is_written),
    Step("All three stores confirm", stores_confirm),
    Step("The log is whole", log_is_whole),
    Step("All three stores agree with the log", stores_agree),
)
