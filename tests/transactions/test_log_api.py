"""Tree heads, inclusion proofs and exports of the log, through the API."""

import json
from base64 import b64decode
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.conf import settings
from pytest_django.fixtures import Settings
from uuid_utils.compat import uuid7

from eventstore import tree_heads
from eventstore.models import Event, TreeHead
from eventstore.sequencer import sequence
from tests.transactions.tools import Api, drain, problem_of
from transactions.api import log_answers
from transactions.api.streams import streamed

pytestmark = pytest.mark.django_db


def sha(*parts: bytes) -> bytes:
    return sha256(b"".join(parts)).digest()


def fill(root: Api, transfers: int = 3) -> int:
    """Let money move, sealed descriptions included; return how many events there are."""
    account, other = root.account(balance=10_000, name="Rainy days"), root.account()
    for number in range(transfers):
        root.transfer(account, other, 1 + number, description="Miete für März \u2028 \U0001f4b8")
    drain()
    return Event.objects.count()


def export(root: Api, query: str = "") -> bytes:
    answer = root.get(f"events/export{query}")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/x-ndjson"
    assert answer.streaming
    body: bytes = b"".join(answer.streaming_content)
    return body


def parts_of(body: bytes) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the events and the manifest of an export."""
    *lines, last = body.splitlines(keepends=True)
    manifest = json.loads(last)["manifest"]
    assert manifest["sha256"] == sha256(b"".join(lines)).hexdigest()
    return [json.loads(line) for line in lines], manifest


def test_a_tree_head_is_a_signed_checkpoint(root: Api) -> None:
    count = fill(root)
    head = root.get("events/tree-head").json()
    assert list(head) == ["tree_size", "root_hash", "signed_at", "key_id", "public_key", "note"]
    text, _, signature = head["note"].partition("\n\n")
    origin, size, root_hash = text.split("\n")
    assert (origin, int(size)) == (settings.EVENTSTORE_LOG_ORIGIN, head["tree_size"])
    assert b64decode(root_hash).hex() == head["root_hash"]
    assert head["tree_size"] == count
    dash, name, signed = signature.rstrip("\n").split(" ")
    assert (dash, name) == ("\u2014", origin)
    key = b64decode(head["public_key"])
    key_id = sha(origin.encode(), b"\n\x01", key)[:4]
    assert (b64decode(signed)[:4], head["key_id"]) == (key_id, key_id.hex())
    Ed25519PublicKey.from_public_bytes(key).verify(b64decode(signed)[4:], f"{text}\n".encode())


def test_without_events_there_is_no_tree_head(root: Api) -> None:
    problem_of(root.get("events/tree-head"), status=404, code="tree_head_not_found")


def test_the_tree_head_is_the_newest_that_was_signed(root: Api) -> None:
    count = fill(root)
    first = root.get("events/tree-head").json()
    fill(root)
    assert root.get("events/tree-head").json() == first
    tree_heads.sign()
    assert root.get("events/tree-head").json()["tree_size"] == 2 * count - 1


def test_a_proof_leads_from_the_event_to_the_signed_root(root: Api) -> None:
    count = fill(root)
    head = root.get("events/tree-head").json()
    for event in Event.objects.order_by("position"):
        proof = root.get(f"events/{event.id}/proof").json()
        assert list(proof) == [
            "leaf_index",
            "leaf_hash",
            "tree_size",
            "root_hash",
            "path",
            "tree_head",
        ]
        hash_ = sha(b"\x00", bytes.fromhex(event.hash_hex))
        assert proof["leaf_hash"] == hash_.hex()
        index, last = proof["leaf_index"], count - 1
        assert index == (event.position or 0) - 1
        # RFC 9162, section 2.1.3.2.
        for beside in map(bytes.fromhex, proof["path"]):
            if index % 2 or index == last:
                hash_ = sha(b"\x01", beside, hash_)
                while index % 2 == 0 and index:
                    index, last = index // 2, last // 2
            else:
                hash_ = sha(b"\x01", hash_, beside)
            index, last = index // 2, last // 2
        assert last == 0
        assert hash_.hex() == proof["root_hash"] == head["root_hash"]
        assert (proof["tree_size"], proof["tree_head"]) == (count, head)


def test_an_event_that_no_head_covers_is_proved_later(root: Api) -> None:
    account = root.account()
    event = Event.objects.get(stream=f"account-{account}")

    def not_yet() -> None:
        answer = root.get(f"events/{event.id}/proof")
        assert problem_of(answer, status=409, code="not_yet_in_tree")["retryable"] is True
        assert int(answer["Retry-After"]) >= 1

    not_yet()
    sequence()
    not_yet()
    tree_heads.sign()
    assert root.get(f"events/{event.id}/proof").status_code == 200


@pytest.mark.parametrize("event", [str(uuid7()), "x", "tree-head"])
def test_there_is_no_proof_of_what_does_not_exist(root: Api, event: str) -> None:
    problem_of(root.get(f"events/{event}/proof"), status=404, code="event_not_found")


def test_an_export_has_every_event_as_it_is_shown_and_as_it_was_hashed(root: Api) -> None:
    count = fill(root)
    body = export(root)
    events, manifest = parts_of(body)
    assert events == root.get("events?limit=200").json()["data"]
    assert any("personal" in event["data"] for event in events), "sealed, as the hash covers it"
    assert b"Miete" not in body
    assert (manifest["from"], manifest["to"], manifest["count"]) == (1, count, count)
    assert list(manifest) == ["from", "to", "count", "sha256", "tree_head"]
    assert manifest["tree_head"] == root.get("events/tree-head").json()
    previous = bytes(32)
    for line in body.splitlines()[:-1]:
        hash_ = bytes.fromhex(json.loads(line)["hash"])
        assert sha(previous, line[:-75] + b"}") == hash_
        previous = hash_


@pytest.mark.parametrize("size", [1, 2, 7])
def test_an_export_is_resumed_behind_its_last_event(
    root: Api, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_answers, "EXPORT_BATCH_SIZE", 3)
    fill(root)
    whole, _ = parts_of(export(root))
    found: list[dict[str, Any]] = []
    after = 0
    while True:
        events, manifest = parts_of(export(root, f"?after={after}&limit={size}"))
        if not events:
            break
        bounds = (after + 1, after + len(events), len(events))
        assert (manifest["from"], manifest["to"], manifest["count"]) == bounds
        assert len(events) <= size
        found += events
        after = manifest["to"]
    assert found == whole
    assert (manifest["from"], manifest["to"], manifest["count"]) == (None, None, 0)


def test_an_empty_log_has_an_empty_export(root: Api) -> None:
    events, manifest = parts_of(export(root))
    assert events == []
    assert manifest == {
        "from": None,
        "to": None,
        "count": 0,
        "sha256": sha256().hexdigest(),
        "tree_head": None,
    }


def test_an_export_has_only_what_has_a_position(root: Api) -> None:
    count = fill(root)
    root.account()
    assert parts_of(export(root))[1]["count"] == count


def test_an_export_has_every_event_that_its_tree_head_covers(root: Api) -> None:
    fill(root)
    answer = root.get("events/export?limit=1000")
    chunks = iter(answer.streaming_content)
    first = next(chunks)
    # What is placed and signed while a client reads is not in this export, nor is its head.
    fill(root)
    tree_heads.sign()
    events, manifest = parts_of(first + b"".join(chunks))
    assert manifest["tree_head"]["tree_size"] <= len(events)
    assert TreeHead.objects.count() == 2


def test_an_export_is_read_in_batches_while_it_is_sent(
    root: Api, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(log_answers, "EXPORT_BATCH_SIZE", 5)
    fill(root)
    tree_heads.sign()
    answer = root.get("events/export", **{"Accept-Encoding": "gzip, br"})
    assert "Content-Length" not in answer.headers
    assert "Content-Encoding" not in answer.headers
    chunks = iter(answer.streaming_content)
    with django_assert_num_queries(2):  # the newest head, and the first batch
        assert next(chunks).count(b"\n") == 5
    with django_assert_num_queries(1):
        assert next(chunks).count(b"\n") == 5


def test_a_client_that_reads_too_slowly_is_cut_off_without_a_manifest(
    root: Api, caplog: pytest.LogCaptureFixture
) -> None:
    fill(root)
    times = iter([0.0, 601.0])
    parts = streamed(
        log_answers.export_parts(after=0, limit=3), name="export", monotonic=lambda: next(times)
    )
    assert b"manifest" not in next(parts)
    with pytest.raises(TimeoutError):
        next(parts)
    assert "A stream was broken off: export" in caplog.text


@pytest.mark.parametrize("accept", ["application/x-ndjson", "application/json", "*/*"])
def test_an_export_is_lines_of_json_whatever_json_is_asked_for(root: Api, accept: str) -> None:
    fill(root)
    answer = root.get("events/export?limit=1", Accept=accept)
    assert answer["Content-Type"] == "application/x-ndjson"
    assert answer["Content-Disposition"] == 'attachment; filename="events-after-0.ndjson"'


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=1000001", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("after=-1", "after"),
        ("after=1.5", "after"),
        ("cursor=x", "cursor"),
        ("type=AccountOpened", "type"),
    ],
)
def test_what_an_export_cannot_do_is_refused(root: Api, query: str, parameter: str) -> None:
    answer = root.get(f"events/export?{query}")
    problem_of(answer, status=422, code="validation_failed")
    assert parameter in {fault["parameter"] for fault in answer.json()["errors"]}


@pytest.mark.parametrize("path", ["tree-head", "export", f"{uuid7()}/proof"])
def test_proofs_are_for_auditors_only(alice: Api, path: str) -> None:
    problem_of(alice.get(f"events/{path}"), status=403, code="missing_scope")
    problem_of(Api(alice.user, "").get(f"events/{path}"), status=401, code="not_authenticated")


def test_a_log_that_is_not_what_was_signed_is_not_signed_for_again(
    root: Api, settings: Settings
) -> None:
    fill(root)
    tree_heads.sign()
    TreeHead.objects.update(root_hash=bytes(32))
    event = Event.objects.get(position=1)
    problem_of(root.get(f"events/{event.id}/proof"), status=500, code="internal_error")
