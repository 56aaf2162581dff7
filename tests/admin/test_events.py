"""The audit browser: finding events, following them, and proving them."""

import re
from typing import Any

import pytest
from uuid_utils.compat import uuid7

from eventstore import keyring
from eventstore.models import Event
from tests.admin import tools
from tests.admin.conftest import Story
from tests.admin.tools import follow_log, rows_of, run_action, superuser, text_of, transfer
from transactions.domain.commands import OpenAccount
from transactions.ledger import account_stream, transaction_stream

URL = "/admin/eventstore/event/"

pytestmark = pytest.mark.django_db


def found(term: object, **filters: str) -> list[Event]:
    return rows_of(superuser().get(URL, {"q": str(term), **filters}))


def at(position: int) -> Event:
    return Event.objects.get(position=position)


def test_events_are_listed_newest_first_with_what_tells_them_apart(story: Story) -> None:
    page = superuser().get(URL)
    positions = [row.position for row in rows_of(page)]
    assert positions == sorted(positions, reverse=True)
    text = text_of(page)
    newest = rows_of(page)[0]
    for shown in (
        newest.type,
        newest.stream,
        str(story.ann.pk),
        str(story.transaction),
        newest.occurred_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    ):
        assert shown in text


def test_a_search_finds_exactly_what_is_named(story: Story) -> None:
    event = Event.objects.get(type="AccountDebited", stream=account_stream(story.source))
    assert found(event.position) == [event]
    assert found(event.id) == found(f"  {event.id.hex} ") == [event]
    stream = account_stream(story.source)
    assert [row.version for row in found(stream)] == [3, 2, 1]
    assert {row.stream for row in found(stream)} == {stream}
    operation = found(story.transaction)
    assert [row.type for row in operation] == [
        "TransactionCompleted",
        "AccountCredited",
        "AccountDebited",
        "TransactionCreated",
    ]
    assert {row.actor for row in found(story.bob.pk)} == {str(story.bob.pk)}
    assert {row.type for row in found("AccountOpened")} == {"AccountOpened"}


@pytest.mark.parametrize(
    "term", ["account-", "%", "0", "9" * 30, "-1", "²", "Debited", "' OR 1=1 --"]
)
def test_a_search_finds_nothing_by_a_part_of_a_name(story: Story, term: str) -> None:
    assert found(term) == []


def test_a_filter_narrows_down_to_one_type_and_joins_a_search(story: Story) -> None:
    rows = rows_of(superuser().get(URL, {"type": "AccountCredited"}))
    assert {row.type for row in rows} == {"AccountCredited"}
    both = found(account_stream(story.source), type="AccountCredited")
    assert [row.version for row in both] == [2]


def test_a_page_shows_the_event_and_leads_to_its_neighbours(story: Story) -> None:
    client = superuser()
    event = Event.objects.get(type="AccountDebited", stream=account_stream(story.source))
    assert event.position is not None
    page = client.get(f"{URL}{event.row}/change/")
    text = text_of(page)
    assert '"amount": 1250' in text
    for shown in (
        event.hash_hex,
        at(event.position - 1).hash_hex,
        "a-request",
        "Verified just now",
    ):
        assert shown in text
    around = {at(event.position - 1).row, at(event.position + 1).row}
    around.add(Event.objects.get(stream=event.stream, version=event.version - 1).row)
    assert around == {int(row) for row in re.findall(rf'{URL}(\d+)/change/"', text)}
    assert f"/admin/transactions/account/{story.source}/change/" in text
    assert f"/admin/users/user/{story.ann.pk}/change/" in text
    created = Event.objects.get(stream=transaction_stream(story.transaction), version=1)
    about = f"/admin/transactions/transaction/{story.transaction}/change/"
    assert about in text_of(client.get(f"{URL}{created.row}/change/"))


def test_an_event_has_a_page_under_its_id_too(story: Story) -> None:
    page = superuser().get(f"{URL}{at(1).id}/change/")
    assert page.context["original"] == at(1)


def test_selected_events_are_verified(story: Story) -> None:
    keys = Event.objects.values_list("row", flat=True)
    text = text_of(run_action(superuser(), URL, "verify", *keys))
    assert f"{len(keys)} events are as they were written" in text
    assert "manage.py verify_events" in text


def test_the_first_broken_event_is_named(story: Story) -> None:
    for position in (5, 7):
        Event.objects.filter(position=position).update(data='{"amount":1}')
    keys = Event.objects.values_list("row", flat=True)
    client = superuser()
    text = text_of(run_action(client, URL, "verify", *keys))
    assert f"The first that is broken: event {at(5).id} (position 5" in text
    assert "its hash does not match" in text_of(client.get(f"{URL}{at(5).row}/change/"))
    assert "Verified just now" in text_of(client.get(f"{URL}{at(6).row}/change/"))
    fine = run_action(client, URL, "verify", at(4).row, at(6).row)
    assert "2 events are as they were written" in text_of(fine)


def test_an_event_whose_predecessor_is_gone_is_broken(story: Story) -> None:
    Event.objects.filter(position=4).delete()
    text = text_of(run_action(superuser(), URL, "verify", at(5).row))
    assert "position 4: is missing" in text


def test_what_waits_for_its_position_is_shown_apart(story: Story) -> None:
    transfer(story.source, story.destination)
    client = superuser()
    assert all(row.position for row in rows_of(client.get(URL)))
    waiting = rows_of(client.get(URL, {"place": "waiting"}))
    assert len(waiting) == 4
    assert found(waiting[0].id) == [waiting[0]]
    assert "waits for its position" in text_of(client.get(f"{URL}{waiting[0].row}/change/"))
    run_action(client, URL, "verify", waiting[0].row)
    follow_log()
    assert rows_of(client.get(URL, {"place": "waiting"})) == []


def walk(client: Any, url: str, direction: str, **parameters: str) -> list[list[Any]]:
    """Return the pages from `url` on, following their links."""
    pages = []
    page = client.get(url, parameters)
    while True:
        pages.append(rows_of(page))
        address = getattr(page.context["cl"], f"{direction}_url")
        if not address:
            return pages
        page = client.get(f"{url.partition('?')[0]}{address}")


@pytest.fixture
def many(story: Story) -> Story:
    """More than two pages of events."""
    for _ in range(60):
        transfer(story.source, story.destination, amount=1)
    follow_log()
    return story


def test_pages_hold_every_event_once_forwards_and_backwards(many: Story) -> None:
    client = superuser()
    pages = walk(client, URL, "next")
    assert [len(page) for page in pages[:-1]] == [100] * (len(pages) - 1)
    assert len(pages) == 3
    positions = [row.position for page in pages for row in page]
    assert positions == list(range(Event.objects.count(), 0, -1))
    last = f"{URL}?p=after:{pages[1][-1].row}"
    assert walk(client, last, "previous") == pages[::-1]


def test_pages_of_a_stream_are_in_the_order_of_its_versions(many: Story) -> None:
    pages = walk(superuser(), URL, "next", q=account_stream(many.destination))
    versions = [row.version for page in pages for row in page]
    assert versions == list(range(62, 0, -1))


def test_a_page_stays_the_same_while_events_arrive(many: Story) -> None:
    client = superuser()
    second = client.get(URL).context["cl"].next_url
    before = rows_of(client.get(f"{URL}{second}"))
    transfer(many.source, many.destination)
    follow_log()
    assert rows_of(client.get(f"{URL}{second}")) == before


@pytest.mark.parametrize("page", ["7", "after:", "after:x", "before:999999999", "sideways:3", "²"])
def test_an_unknown_page_is_the_first(story: Story, page: str) -> None:
    client = superuser()
    assert rows_of(client.get(URL, {"p": page})) == rows_of(client.get(URL))


def test_an_action_is_never_offered_for_more_than_the_page(many: Story) -> None:
    page = superuser().get(URL)
    assert page.context["cl"].next_url
    assert b'class="question' not in page.content


def test_what_was_typed_is_shown_as_text(story: Story) -> None:
    text = '<script src="/x.js"></script>'
    tools.transfer(story.source, story.destination, by=story.ann, description=text)
    follow_log()
    client = superuser()
    event = Event.objects.filter(type="TransactionCreated").latest("position")
    assert text.encode() not in client.get(f"{URL}{event.row}/change/").content
    assert text.encode() not in client.get(URL, {"q": text}).content


def test_what_is_sealed_is_opened_for_who_may_see_keys_until_the_person_is_forgotten() -> None:
    owner, account = tools.new_user(), uuid7()
    name = "Zaphods savings"
    tools.execute(OpenAccount(id=account, owner=owner.pk, currency="EUR", name=name))
    event = Event.objects.get(stream=account_stream(account))
    address = f"{URL}{event.row}/change/"
    assert name in text_of(superuser().get(address))
    assert name in text_of(tools.staff("view_event", "view_subjectkey").get(address))
    refused = text_of(tools.staff("view_event").get(address))
    assert name not in refused
    assert "takes the permission to view subject keys" in refused
    keyring.forget(owner.pk)
    forgotten = text_of(superuser().get(address))
    assert name not in forgotten
    assert "It was forgotten with the person" in forgotten
