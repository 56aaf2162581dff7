"""A person is forgotten: in the log, the heads, the stores, the answers, the e-mails, the files."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from pytest_django.fixtures import Settings
from uuid_utils.compat import uuid7

from eventstore import keyring
from eventstore.clock import format_time, utc_now
from eventstore.keyring import SubjectForgotten
from eventstore.models import Event, SubjectKey
from eventstore.queries import list_events
from eventstore.store import event_store
from tests.transactions.tools import (
    Api,
    admin,
    drain,
    execute,
    open_account,
    person,
    problem_of,
    with_key,
)
from tests.users.tools import PASSWORD, at_once, new_user
from transactions.domain import commands
from transactions.domain.account import Account
from transactions.erasure import Forgotten, forget_subject
from transactions.models import Account as AccountRow
from transactions.models import Notification
from transactions.models import Transaction as TransactionRow
from transactions.stores import STORES
from transactions.verification import ledger_faults
from users.erasure import user_id_of
from users.handlers import log_in
from users.identity import InvalidCredentials, identify
from users.models import ApiKey, FailedLogin, RefreshToken, User

SECRET = "Zaphod-7f3a"
OTHERS = "Trillian-91c2"


def forget(subject: UUID) -> Forgotten:
    """Forget somebody without waiting for the memory of other processes: there are none."""
    return forget_subject(subject, wait=lambda _: None)


@dataclass(frozen=True, slots=True)
class Life:
    """Somebody whom everything tells of, and what belongs to others."""

    ford: Api
    other: Api
    root: Api
    account: UUID
    others_account: UUID
    transactions: tuple[UUID, ...]
    others_transaction: UUID

    @property
    def streams(self) -> list[str]:
        """The streams that tell of the person."""
        return [f"account-{self.account}", *(f"transaction-{each}" for each in self.transactions)]


def live() -> Life:
    """Let somebody leave traces wherever the product keeps any, and every lane follow."""
    ford = person(name=SECRET, email=f"{SECRET}@example.com")
    other, root = person(name=OTHERS), admin()
    key = with_key(ford.user, ["accounts:read"])
    opened = ford.post(
        "accounts",
        {"currency": "EUR", "name": f"{SECRET}'s savings", "metadata": {"for": SECRET}},
        key=f"open-{SECRET}",
    )
    assert opened.status_code == 201, opened.content
    account, others_account = UUID(opened.json()["id"]), other.account(name=OTHERS)
    texts = {"description": f"rent of {SECRET}", "reference": SECRET, "metadata": {"a": [SECRET]}}
    done = [
        root.deposit(account, 1000, **texts),
        ford.transfer(account, others_account, 300, **texts),
        ford.transfer(account, others_account, 10**9, **texts),
    ]
    refused = root.deposit(account, 10**15, **texts)
    others = other.transfer(others_account, account, 50, description=OTHERS)
    assert [each.status_code for each in (*done, refused, others)] == [201, 201, 422, 201, 201]
    root.post(f"accounts/{account}/freeze", {"reason": SECRET})
    root.post(f"accounts/{account}/unfreeze", {"reason": SECRET})
    ford.patch(f"accounts/{account}", {"name": f"{SECRET} again"})
    assert key.get(f"accounts/{account}").json()["name"] == f"{SECRET} again"
    drain()
    state = AccountRow.objects.values().get(pk=account)
    event_store().create_snapshot(
        f"account-{account}",
        version=1,
        state={"name": state["name"]},
        code_version=1,
        now=utc_now(),
    )
    theirs = TransactionRow.objects.filter(description=texts["description"])
    return Life(
        ford,
        other,
        root,
        account,
        others_account,
        tuple(theirs.values_list("pk", flat=True)),
        UUID(others.json()["id"]),
    )


def told() -> str:
    """Return everything in the tables of the primary store, as text."""
    cursor = connection.cursor()
    rows = []
    for table in connection.introspection.table_names(cursor):
        cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
        rows += [(table, row) for row in cursor.fetchall()]
    return repr(rows)


def told_by_stores() -> str:
    """Return every document and every event of the other stores, as text."""
    stores = [make() for make in STORES.values()]
    return repr(
        [
            (store.list_documents(after="", limit=1000), store.list_events(after=0, limit=1000))
            for store in stores
        ]
    )


@pytest.mark.django_db
def test_nothing_that_is_stored_tells_of_somebody_who_was_forgotten() -> None:
    life = live()
    assert SECRET in told()
    assert SECRET in told_by_stores()
    done = forget(life.ford.user.pk)
    assert (done.accounts_redacted, done.transactions_redacted) == (1, len(life.transactions))
    assert len(life.transactions) == 4
    assert done.snapshots_dropped == 1
    assert done.answers_deleted == 3
    assert done.answers_redacted == 2
    assert done.notifications_emptied == 5
    assert done.accounts_with_money == 1
    assert done.stores_behind.keys() == STORES.keys()
    drain()
    assert SECRET.casefold() not in told().casefold()
    assert SECRET.casefold() not in told_by_stores().casefold()
    assert list(ledger_faults()) == []


@pytest.mark.django_db
def test_who_was_forgotten_leaves_the_others_as_they_were() -> None:
    life = live()
    forget(life.ford.user.pk)
    drain()
    assert life.other.get(f"accounts/{life.others_account}").json()["name"] == OTHERS
    shown = life.other.get(f"transactions/{life.others_transaction}").json()
    assert shown["description"] == OTHERS
    assert life.other.get("users/me").json()["name"] == OTHERS
    assert OTHERS in told_by_stores()


@pytest.mark.django_db
def test_amounts_ids_and_times_stay_and_texts_are_blank_in_the_past_too() -> None:
    life = live()
    path = f"accounts/{life.account}"
    before, position = life.root.get(path).json(), Event.objects.count()
    instant = format_time(utc_now())
    forget(life.ford.user.pk)
    drain()
    for query in ("", f"?as_of=position:{position}", f"?as_of={instant}"):
        after = life.root.get(f"{path}{query}").json()
        assert (after["name"], after["metadata"]) == ("", {}), query
        assert after["balance"] == before["balance"]
        assert after["created_at"] == before["created_at"]
    for key in life.transactions:
        shown = life.root.get(f"transactions/{key}").json()
        assert (shown["description"], shown["reference"], shown["metadata"]) == ("", "", {})
        assert shown["amount"] > 0


@pytest.mark.django_db
def test_the_log_keeps_what_was_sealed_and_says_that_it_was_redacted() -> None:
    life = live()
    sealed = {each.id: each.data for each in list_events(after=0, limit=1000, filters={})}
    forget(life.ford.user.pk)
    drain()
    records = list_events(after=0, limit=1000, filters={})
    assert {each.id: each.data for each in records if each.id in sealed} == sealed
    opened = life.root.get(f"events?stream=account-{life.account}").json()["data"][0]
    assert opened["data"]["personal"]["subject"] == str(life.ford.user.pk)
    for stream in life.streams:
        *_, last = event_store().get_events(stream)
        assert last.type in {"AccountRedacted", "TransactionRedacted"}
    story = life.root.get(f"transactions/{life.transactions[0]}/events")
    assert SECRET not in story.content.decode()


@pytest.mark.django_db
def test_no_credential_of_somebody_who_was_forgotten_is_accepted() -> None:
    ford = person(email="ford@example.com", name=SECRET)
    key = with_key(ford.user, ["accounts:read"])
    pair = log_in(email="ford@example.com", password=PASSWORD, address="1.2.3.4", now=utc_now())
    with pytest.raises(InvalidCredentials):
        log_in(email="ford@example.com", password="wrong", address="1.2.3.4", now=utc_now())
    forget(ford.user.pk)
    for credential in (ford.credential, key.credential, pair.access_token):
        with pytest.raises(InvalidCredentials):
            identify(f"Bearer {credential}", now=utc_now())
    with pytest.raises(InvalidCredentials):
        log_in(email="ford@example.com", password=PASSWORD, address="1.2.3.4", now=utc_now())
    user = User.objects.get(pk=ford.user.pk)
    assert user.email == f"{user.pk}@forgotten.invalid"
    assert (user.name, user.is_active, user.has_usable_password()) == ("", False, False)
    assert not ApiKey.objects.filter(user=user).exists()
    assert not RefreshToken.objects.filter(user=user).exists()
    # That of the last attempt alone: it tried an address that is nobody's any more.
    assert FailedLogin.objects.count() == 1


@pytest.mark.django_db
def test_an_address_that_was_forgotten_can_be_registered_again_by_somebody_new() -> None:
    ford = new_user(email="ford@example.com")
    forget(ford.pk)
    assert new_user(email="ford@example.com").pk != ford.pk


@pytest.mark.django_db
def test_nothing_can_be_told_of_somebody_who_was_forgotten() -> None:
    life = live()
    forget(life.ford.user.pk)
    told_again = life.root.deposit(life.account, 100, description="for a friend")
    assert (
        "leave out names" in problem_of(told_again, status=409, code="subject_forgotten")["detail"]
    )
    assert life.root.deposit(life.account, 100).status_code == 201
    with pytest.raises(SubjectForgotten):
        execute(commands.ChangeAccount(id=life.account, name="again"))


@pytest.mark.django_db
def test_an_answer_to_another_is_given_again_without_the_text_and_without_a_second_effect() -> None:
    ford, root = person(), admin()
    account = ford.account()
    first = root.deposit(account, 100, description=SECRET, key="one-key")
    forget(ford.user.pk)
    again = root.deposit(account, 100, description=SECRET, key="one-key")
    assert again.status_code == 201
    assert again["Idempotent-Replayed"] == "true"
    assert again.json() == {**first.json(), "description": ""}
    assert root.posted(account) == 100


@pytest.mark.django_db
def test_who_is_forgotten_twice_is_forgotten_once() -> None:
    life = live()
    forget(life.ford.user.pk)
    events = Event.objects.count()
    again = forget(life.ford.user.pk)
    counted = {
        again.accounts_redacted,
        again.transactions_redacted,
        again.snapshots_dropped,
        again.answers_deleted,
        again.answers_redacted,
        again.notifications_emptied,
    }
    assert counted == {0}
    assert Event.objects.count() == events


@pytest.mark.django_db
def test_what_others_make_of_a_key_that_they_still_remember_is_emptied_too() -> None:
    life = live()
    waited: list[float] = []

    def remember(seconds: float) -> None:
        waited.append(seconds)
        event_store().create_snapshot(
            f"account-{life.account}", version=1, state=SECRET, code_version=1, now=utc_now()
        )
        Notification.objects.filter(user=life.ford.user.pk).update(body=f"Hello {SECRET}")

    forget_subject(life.ford.user.pk, wait=remember)
    assert waited == [keyring.CACHE_S]
    assert SECRET.casefold() not in told().casefold()


class Killed(BaseException):
    """The process ends here."""


@contextmanager
def killed_before_write(number: int) -> Iterator[None]:
    """Let nothing reach the database from its write `number` on, counted from 1.

    A death before a read leaves what one before the next write leaves.
    """
    sent = 0

    def count(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal sent
        sent += not sql.startswith(("SELECT", "SAVEPOINT", "RELEASE", "ROLLBACK"))
        if sent >= number and not sql.startswith("ROLLBACK"):
            raise Killed
        return execute(sql, params, many, context)

    with connection.execute_wrapper(count):
        yield


@pytest.mark.django_db(transaction=True)
def test_a_run_that_was_killed_before_any_of_its_writes_is_finished_by_another() -> None:
    root, number, finished = admin(), 0, False
    while not finished:
        number += 1
        assert number < 200
        ford = person(email=f"{SECRET}-{number}@example.com", name=SECRET)
        account = ford.account(name=SECRET)
        root.deposit(account, 100, description=SECRET)
        try:
            with killed_before_write(number):
                forget(ford.user.pk)
            finished = True
        except Killed:
            # Found by address, as long as anything is left to forget.
            if SECRET.casefold() in told().casefold():
                assert user_id_of(f"{SECRET}-{number}@example.com") == ford.user.pk
            forget(ford.user.pk)
        assert SECRET.casefold() not in told().casefold(), number
        assert SubjectKey.objects.get(pk=ford.user.pk).key is None
    assert number > 15
    drain()
    assert SECRET not in told_by_stores()
    assert list(ledger_faults()) == []


@pytest.mark.django_db(transaction=True)
def test_somebody_is_forgotten_while_others_write_of_them() -> None:
    owner = new_user(name=SECRET)
    account = open_account(owner).id
    names: list[str] = []

    def keep_naming() -> None:
        ends_s, number = time.monotonic() + 60, 0
        # Writers take turns in no order, so nobody can say after how many names it is over.
        while time.monotonic() < ends_s:
            number += 1
            try:
                changed: Account = execute(
                    commands.ChangeAccount(id=account, name=f"{SECRET} {number}")
                )
            except SubjectForgotten:
                return
            names.append(changed.name)
        raise AssertionError("nobody was refused")

    def forget_when_named() -> None:
        while len(names) < 3:
            pass
        forget(owner.pk)

    at_once([keep_naming, keep_naming, forget_when_named])
    assert len(names) >= 3
    assert AccountRow.objects.get(pk=account).name == ""
    assert SECRET not in told()
    drain()
    assert SECRET not in told_by_stores()
    assert list(ledger_faults()) == []


@pytest.mark.django_db(transaction=True)
def test_two_who_tell_something_of_a_new_person_at_once_use_one_key() -> None:
    for _ in range(10):
        owner = new_user()
        command = commands.OpenAccount(id=uuid7(), owner=owner.pk, currency="EUR", name="one")
        other = commands.OpenAccount(id=uuid7(), owner=owner.pk, currency="EUR", name="two")
        first, second = at_once([lambda c=c: execute(c) for c in (command, other)])  # type: ignore[misc]
        assert (first.name, second.name) == ("one", "two")
        opened = [
            event_store().event_of(next(event_store().get_events(f"account-{each.id}")))
            for each in (first, second)
        ]
        assert [each.name for each in opened] == ["one", "two"]  # type: ignore[attr-defined]


@pytest.mark.django_db(transaction=True)
def test_no_file_of_the_embedded_stores_holds_the_text_of_somebody_who_was_forgotten(
    tmp_path: Path, settings: Settings
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("the files of a server are its own")
    # Some builds of SQLite overwrite what they delete; the product counts on none of them.
    connection.cursor().execute("PRAGMA secure_delete = OFF")
    life = live()
    forget(life.ford.user.pk)
    drain()
    connection.close()
    primary = Path(connection.settings_dict["NAME"])
    files = [*tmp_path.rglob("*.sqlite3*"), *primary.parent.glob(f"{primary.name}*")]
    assert len(files) >= 3
    for file in files:
        content = file.read_bytes()
        assert SECRET.encode() not in content, file.name
        assert SECRET.lower().encode() not in content, file.name
    assert any(OTHERS.encode() in file.read_bytes() for file in files)


@pytest.mark.django_db(transaction=True)
def test_the_command_says_what_it_has_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "CACHE_S", 0.0)
    ford = person(email="ford@example.com")
    ford.account(name=SECRET, balance=5)
    out, talk = StringIO(), StringIO()
    call_command("forget_subject", "Ford@example.com", stdout=out, stderr=talk)
    assert "accounts redacted: 1\n" in out.getvalue()
    assert f"The user {ford.user.pk} is forgotten.\n" in out.getvalue()
    assert "Money is left" in talk.getvalue()
    assert "mongodb has yet to follow" in talk.getvalue()
    out = StringIO()
    call_command("forget_subject", str(ford.user.pk), "--json", stdout=out, stderr=talk)
    result = json.loads(out.getvalue())
    assert result["subject"] == str(ford.user.pk)
    assert (result["accounts_redacted"], result["accounts_with_money"]) == (0, 1)


@pytest.mark.django_db
@pytest.mark.parametrize("who", ["nobody@example.com", "nobody"])
def test_the_command_refuses_who_is_not_known(who: str) -> None:
    with pytest.raises(CommandError, match=who):
        call_command("forget_subject", who, stdout=StringIO(), stderr=StringIO())
