"""What the event store keeps beside the log, in the admin."""

from datetime import UTC, datetime

import pytest

from eventstore.models import IdempotencyRecord, Snapshot
from eventstore.store import event_store
from tests.admin.conftest import Story
from tests.admin.tools import rows_of, superuser, text_of, transfer

RECORDS = "/admin/eventstore/idempotencyrecord/"
SNAPSHOTS = "/admin/eventstore/snapshot/"

pytestmark = pytest.mark.django_db


def test_an_answer_is_shown_as_text_and_without_its_secrets(story: Story) -> None:
    record = IdempotencyRecord.objects.get(key="order-1")
    text = text_of(superuser().get(f"{RECORDS}{record.pk}/change/"))
    for shown in ('"amount": 1', '"Content-Type": "application/json"', "201", "/api/transactions"):
        assert shown in text
    assert text.count("(not shown)") == 2
    assert "ek_top" not in text
    assert "ey.top" not in text


def test_an_answer_that_is_no_json_is_shown_too(story: Story) -> None:
    record = IdempotencyRecord.objects.get(key="order-1")
    IdempotencyRecord.objects.update(body=b"plain \xff words")
    text = text_of(superuser().get(f"{RECORDS}{record.pk}/change/"))
    assert "plain \N{REPLACEMENT CHARACTER} words" in text


def test_a_record_is_found_by_its_key_and_by_its_digest(story: Story) -> None:
    transfer(story.source, story.destination, by=story.bob, key="order-1")
    transfer(story.source, story.destination, by=story.bob, key="order-10")
    client = superuser()
    found = rows_of(client.get(RECORDS, {"q": "order-1"}))
    assert {row.actor for row in found} == {str(story.ann.pk), str(story.bob.pk)}
    assert rows_of(client.get(RECORDS, {"q": found[0].digest})) == [found[0]]
    assert rows_of(client.get(RECORDS, {"q": "order"})) == []


def test_records_of_one_instant_are_paged_without_gaps(story: Story) -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    IdempotencyRecord.objects.bulk_create(
        IdempotencyRecord(
            digest=f"{number:064}",
            method="POST",
            path="/x",
            key=str(number),
            fingerprint="",
            status=201,
            headers="{}",
            body=b"{}",
            created_at=now,
        )
        for number in range(250)
    )
    client = superuser()
    seen, address = [], "?"
    while address:
        page = client.get(f"{RECORDS}{address}")
        seen += [row.digest for row in rows_of(page)]
        address = page.context["cl"].next_url
    assert len(seen) == len(set(seen)) == IdempotencyRecord.objects.count()
    back = client.get(f"{RECORDS}?p=before:{seen[-1]}")
    assert [row.digest for row in rows_of(back)] == seen[-101:-1]


def test_snapshots_of_a_stream_show_their_state(story: Story) -> None:
    for version in (1, 2):
        event_store().create_snapshot(
            "account-1",
            version=version,
            state={"posted": version},
            code_version=1,
            now=datetime.now(UTC),
        )
    client = superuser()
    found = rows_of(client.get(SNAPSHOTS, {"q": "account-1"}))
    assert [row.version for row in found] == [2, 1]
    assert rows_of(client.get(SNAPSHOTS, {"q": "account"})) == []
    row = Snapshot.objects.get(version=2)
    assert '"posted": 2' in text_of(client.get(f"{SNAPSHOTS}{row.pk}/change/"))
