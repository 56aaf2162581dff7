"""History is not edited in the admin, by nobody; and only who may look, looks."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db.models import Model
from django.test import Client

from eventstore.models import Checkpoint, Event, IdempotencyRecord, ParkedEvent, Snapshot
from eventstore.store import event_store
from tests.admin import tools
from tests.admin.conftest import Story
from tests.admin.tools import new_user, run_action, staff, superuser
from transactions.ledger import account_stream
from transactions.models import Account, Entry, Notification, Transaction

SHOWN: tuple[type[Model], ...] = (
    Event,
    Checkpoint,
    ParkedEvent,
    Snapshot,
    IdempotencyRecord,
    Account,
    Transaction,
    Entry,
    Notification,
    LogEntry,
)
each_model = pytest.mark.parametrize("model", SHOWN, ids=lambda model: model.__name__)


@pytest.fixture
def everything(story: Story) -> Story:
    """A row of each of `SHOWN`."""
    stream = account_stream(story.source)
    event_store().create_snapshot(
        stream, version=1, state={"posted": 0}, code_version=1, now=datetime.now(UTC)
    )
    tools.POISON.add(stream)
    tools.transfer(story.source, story.destination)
    tools.follow_log()
    run_action(superuser(), "/admin/eventstore/checkpoint/", "pause", "picky")
    return story


def list_of(model: type[Model]) -> str:
    return f"/admin/{model._meta.app_label}/{model._meta.model_name}/"


def one_of(model: type[Model]) -> Any:
    row = model._default_manager.first()
    assert row is not None
    return row


@each_model
def test_a_superuser_may_neither_add_nor_change_nor_delete(
    everything: Story, model: type[Model]
) -> None:
    client, url, row = superuser(), list_of(model), one_of(model)
    before = model._default_manager.filter(pk=row.pk).values().get()
    values = dict.fromkeys(before, "1")
    assert client.get(f"{url}add/").status_code == 403
    assert client.post(f"{url}add/", values).status_code == 403
    assert client.post(f"{url}{row.pk}/change/", values).status_code == 403
    assert client.get(f"{url}{row.pk}/delete/").status_code == 403
    assert client.post(f"{url}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    client.post(url, {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"})
    assert model._default_manager.filter(pk=row.pk).values().get() == before


@each_model
def test_list_and_page_are_shown_without_anything_to_fill_in(
    everything: Story, model: type[Model]
) -> None:
    client, row = superuser(), one_of(model)
    assert row in tools.rows_of(client.get(list_of(model)))
    page = client.get(f"{list_of(model)}{row.pk}/change/")
    assert page.status_code == 200
    assert not page.context["adminform"].form.fields
    assert client.get(f"{list_of(model)}{row.pk}/history/").status_code == 200


@each_model
def test_only_who_may_view_sees_and_who_may_only_view_has_nothing_to_steer_with(
    everything: Story, model: type[Model]
) -> None:
    url, row = list_of(model), one_of(model)
    viewer = staff(f"view_{model._meta.model_name}")
    form = viewer.get(url).context["action_form"]
    actions = {name for name, _ in form.fields["action"].choices} if form else set()
    assert actions <= {"", "verify"}
    assert viewer.get(f"{url}{row.pk}/change/").status_code == 200
    assert staff().get(url).status_code == 403
    assert staff().get(f"{url}{row.pk}/change/").status_code == 403


@each_model
def test_who_is_not_staff_is_sent_to_the_log_in(everything: Story, model: type[Model]) -> None:
    customer = Client()
    customer.force_login(new_user())
    for client in (Client(), customer):
        answer = client.get(list_of(model))
        assert answer.status_code == 302
        assert answer["Location"].startswith("/admin/login/")


@each_model
def test_columns_without_an_index_cannot_be_filtered_by(
    everything: Story, model: type[Model]
) -> None:
    client = superuser()
    for field in model._meta.fields:
        answer = client.get(list_of(model), {f"{field.name}__isnull": "True"})
        assert answer.status_code == 400


@each_model
def test_an_order_in_the_address_is_not_heard(everything: Story, model: type[Model]) -> None:
    client = superuser()
    plain = tools.rows_of(client.get(list_of(model)))
    for order in ("0", "-1", "2.3"):
        assert tools.rows_of(client.get(list_of(model), {"o": order})) == plain
