"""The admin's front page, its own log, and what every page of it must be."""

import re

import pytest
from django.contrib.admin.models import LogEntry

from eventstore.models import Event
from tests.admin import tools
from tests.admin.conftest import Story
from tests.admin.tools import rows_of, run_action, staff, superuser, text_of, transfer
from tests.gateway.chain import clients
from transactions.ledger import account_stream

INLINE = re.compile(
    r"<style|<script(?![^>]*\ssrc=)[^>]*>|\sstyle=|\son\w+=|javascript:", re.IGNORECASE
)

pytestmark = pytest.mark.django_db


def test_the_front_page_bears_the_product_s_name_and_begins_with_the_ledger(story: Story) -> None:
    page = superuser().get("/admin/")
    text = text_of(page)
    assert "<title>Ledger, log and lanes | Evenkeel</title>" in text
    assert "Django" not in text
    shown = {
        app["app_label"]: [model["object_name"] for model in app["models"]]
        for app in page.context["app_list"]
    }
    assert list(shown)[:3] == ["transactions", "eventstore", "users"]
    assert shown["transactions"] == ["Account", "Transaction", "Entry", "Notification"]
    assert shown["eventstore"][:3] == ["Event", "Checkpoint", "ParkedEvent"]


def test_the_front_page_tells_how_the_log_and_its_lanes_stand(story: Story) -> None:
    tools.POISON.add(account_stream(story.destination))
    transfer(story.source, story.destination)
    tools.follow_log()
    run_action(superuser(), "/admin/eventstore/checkpoint/", "pause", "entries")
    transfer(story.source, story.destination)
    text = text_of(superuser().get("/admin/"))
    head = Event.objects.exclude(position=None).count()
    assert f"Position {head}" in text
    assert "4 wait for a position" in text
    assert "paused" in text
    assert "?subscription=picky&resolution=open" in text
    for name in ("entries", "notifications", "picky"):
        assert f"/admin/eventstore/checkpoint/{name}/change/" in text


def test_the_front_page_works_before_anything_has_happened() -> None:
    assert "No event yet." in text_of(superuser().get("/admin/"))


def test_lanes_are_not_shown_to_who_may_not_see_them(story: Story) -> None:
    text = text_of(staff("view_account").get("/admin/"))
    assert "Accounts" in text
    assert "picky" not in text
    assert "picky" in text_of(staff("view_checkpoint").get("/admin/"))


def test_no_page_needs_what_the_content_security_policy_forbids(story: Story) -> None:
    client = superuser()
    # The gateway says what browsers may do, so what they load goes through it.
    (browser,) = clients(1)
    browser.cookies = client.cookies
    event = Event.objects.get(position=1)
    run_action(client, "/admin/eventstore/checkpoint/", "pause", "picky")
    pages = [
        browser.get(url)
        for url in (
            "/admin/",
            "/admin/eventstore/event/",
            f"/admin/eventstore/event/{event.row}/change/",
            "/admin/eventstore/checkpoint/",
            "/admin/eventstore/checkpoint/picky/change/",
            "/admin/eventstore/checkpoint/picky/history/",
            f"/admin/transactions/transaction/{story.transaction}/change/",
            f"/admin/transactions/account/{story.source}/change/",
            "/admin/transactions/transaction/",
            "/admin/admin/logentry/",
        )
    ]
    pages.append(clients(1)[0].get("/admin/login/"))
    for page in pages:
        assert "default-src 'self'" in page["Content-Security-Policy"]
    pages.append(run_action(client, "/admin/eventstore/checkpoint/", "reset", "picky"))
    for page in pages:
        assert page.status_code == 200
        assert not INLINE.findall(page.content.decode()), page.request["PATH_INFO"]


def test_browsers_tell_the_admin_s_forms_where_they_come_from() -> None:
    """With `no-referrer` browsers send `Origin: null`, which the check of forms refuses."""
    (client,) = clients(1)
    page = client.get("/admin/login/")
    assert page["Referrer-Policy"] == "same-origin"
    form = {
        "username": "nobody@example.com",
        "password": "wrong",
        "csrfmiddlewaretoken": client.cookies["csrftoken"].value,
    }
    own = client.post("/admin/login/", form, headers={"origin": "http://testserver"})
    assert own.status_code == 200
    other = client.post("/admin/login/", form, headers={"origin": "null"})
    assert other.status_code == 403


def test_the_admin_s_own_log_tells_who_did_what(story: Story) -> None:
    doer = staff("change_checkpoint", email="doer@example.com")
    run_action(doer, "/admin/eventstore/checkpoint/", "pause", "picky")
    client = superuser()
    text = text_of(client.get("/admin/admin/logentry/"))
    for shown in ("doer@example.com", "Paused.", "/admin/eventstore/checkpoint/picky/change/"):
        assert shown in text
    found = rows_of(client.get("/admin/admin/logentry/", {"q": "Doer@example.com"}))
    assert found == list(LogEntry.objects.all())
    assert rows_of(client.get("/admin/admin/logentry/", {"q": "doer"})) == []
    history = text_of(client.get("/admin/eventstore/checkpoint/picky/history/"))
    assert "Paused." in history
