"""The proofs of the log as auditors see them: tree heads, inclusion proofs, and exports."""

from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from rest_framework import serializers
from rest_framework.renderers import JSONRenderer

from eventstore import tree_heads
from eventstore.clock import format_time
from eventstore.records import Record
from eventstore.store import event_store
from eventstore.tree_heads import Proof, TreeHeadNotFound
from transactions.api.presenters import encode
from users.api.fields import TimestampField

EXPORT_TYPE = "application/x-ndjson"
EXPORT_LIMIT_DEFAULT = 100_000
EXPORT_LIMIT_MAX = 1_000_000
EXPORT_BATCH_SIZE = 500
# A client that reads too slowly is cut off, so that it does not hold a thread for ever.


class TreeHead(serializers.Serializer[Any]):
    """A signed tree head."""

    tree_size = serializers.IntegerField(help_text="How many events it covers, from the first on.")
    root_hash = serializers.CharField(help_text="Hex, of the Merkle tree of RFC 6962.")
    signed_at = TimestampField()
    key_id = serializers.CharField(help_text="Hex, of the key as signed notes name it.")
    public_key = serializers.CharField(help_text="Base64 of the 32 bytes of an Ed25519 key.")
    note = serializers.CharField(help_text="A signed checkpoint (C2SP).")


class InclusionProof(serializers.Serializer[Any]):
    """That an event is in the tree of a signed head."""

    leaf_index = serializers.IntegerField(help_text="The position of the event less one.")
    leaf_hash = serializers.CharField(help_text="Hex, of a zero byte and the event's hash.")
    tree_size = serializers.IntegerField()
    root_hash = serializers.CharField(help_text="Hex.")
    path = serializers.ListField(
        child=serializers.CharField(), help_text="Hex, from the leaf upwards (RFC 9162, 2.1.3)."
    )
    tree_head = TreeHead()


class NDJSONRenderer(JSONRenderer):
    """Takes part in the choice of a form by `Accept`; the view makes the lines itself."""

    media_type = EXPORT_TYPE
    format = "ndjson"


def present_tree_head(head: Any) -> dict[str, Any]:
    """Return a signed tree head as the API shows it."""
    return {
        "tree_size": head.tree_size,
        "root_hash": bytes(head.root_hash).hex(),
        "signed_at": format_time(head.signed_at),
        "key_id": head.key_id,
        "public_key": b64encode(bytes(head.public_key)).decode(),
        "note": head.note,
    }


def present_proof(proof: Proof) -> dict[str, Any]:
    """Return an inclusion proof as the API shows it."""
    return {
        "leaf_index": proof.index,
        "leaf_hash": proof.leaf.hex(),
        "tree_size": proof.head.tree_size,
        "root_hash": bytes(proof.head.root_hash).hex(),
        "path": [each.hex() for each in proof.path],
        "tree_head": present_tree_head(proof.head),
    }


def event_line(record: Record) -> bytes:
    """Return a line of an export: the bytes that the event's hash covers, and then the hash.

    So an auditor needs no canonical form: what stands before the hash is what was hashed.
    """
    return b'%b,"hash":"%b"}\n' % (
        record.canonical_bytes()[:-1],
        (record.hash or b"").hex().encode(),
    )


def export_parts(*, after: int, limit: int) -> Iterator[bytes]:
    """Yield an export: the lines of up to 500 events at a time, and the manifest.

    Its tree head is the newest one of before the first event was read, so that an export that
    was not cut short by its limit has all events that the head covers.

    Args:
        after: the position behind which it begins.
        limit: events at most.
    """
    try:
        head = present_tree_head(tree_heads.newest_or_first())
    except TreeHeadNotFound:
        head = None
    digest, first, last, count = sha256(), None, after, 0
    while count < limit:
        wanted = min(EXPORT_BATCH_SIZE, limit - count)
        records = event_store().read_log(after=last, limit=wanted)
        if records:
            part = b"".join(map(event_line, records))
            digest.update(part)
            first, last, count = first or records[0].place, records[-1].place, count + len(records)
            yield part
        if len(records) < wanted:
            break
    manifest = {
        "from": first,
        "to": last if count else None,
        "count": count,
        "sha256": digest.hexdigest(),
        "tree_head": head,
    }
    yield encode({"manifest": manifest}) + b"\n"
