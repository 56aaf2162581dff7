#!/usr/bin/env python3
"""Verify an export of the log without the system that made it; see verify.md beside this file.

    python verify_export.py --public-key BASE64 [--note FILE ...] PART [PART ...]

Needs Python 3.11 and the package `cryptography`. Reads every part once and keeps one line at a
time in memory. Prints what it found; exits 0 when everything holds and 1 when anything does not.
"""

import argparse
import json
import re
import sys
from base64 import b64decode
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LINE_BYTES_MAX = 16 * 1024 * 1024
MEMBERS = {
    "data",
    "id",
    "metadata",
    "occurred_at",
    "position",
    "schema_version",
    "stream",
    "type",
    "version",
}
EVENT_LINE = re.compile(rb'(\{.*),"hash":"([0-9a-f]{64})"\}\n', re.DOTALL)
# Four bytes that name the key, and an Ed25519 signature; lines of other kinds are passed over.
SIGNATURE_LINE = re.compile(r"\u2014 (\S+) ([A-Za-z0-9+/]{91}=)")


class Fault(Exception):
    """Something is not as it has to be."""


@dataclass(frozen=True)
class Head:
    """A signed tree head whose signature is right, and where it was found."""

    source: str
    tree_size: int
    root_hash: bytes


@dataclass
class Log:
    """What was read of the log so far: its last hash, and the peaks of its Merkle tree."""

    position: int = 0
    last_hash: bytes = bytes(32)
    peaks: list[tuple[int, bytes]] = field(default_factory=list)

    def add(self, canonical: bytes, hash_: bytes) -> None:
        """Chain an event onto the one before it (SHA-256), and add it to the tree (RFC 6962)."""
        if sha256(self.last_hash + canonical).digest() != hash_:
            raise Fault(
                f"the event at position {self.position + 1} is not what its hash says, or does"
                " not follow on the event before it"
            )
        self.position, self.last_hash = self.position + 1, hash_
        height, node = 0, sha256(b"\x00" + hash_).digest()
        while self.peaks and self.peaks[-1][0] == height:
            node = sha256(b"\x01" + self.peaks.pop()[1] + node).digest()
            height += 1
        self.peaks.append((height, node))

    def root(self) -> bytes:
        """Return the root of the tree over all events so far, of which there is one at least."""
        root = self.peaks[-1][1]
        for _, peak in reversed(self.peaks[:-1]):
            root = sha256(b"\x01" + peak + root).digest()
        return root


def no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; raise `ValueError` when one member of it stands there twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands there twice")
    return found


def parse(text: bytes, what: str) -> Any:
    """Return a JSON value; raise `Fault` for anything that two readers may read differently."""
    try:
        return json.loads(text.decode(), object_pairs_hook=no_doubles)
    except (ValueError, RecursionError) as error:
        raise Fault(f"{what} cannot be read: {error}") from None


def lines_of(file: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield the lines of a part; raise `Fault` for one that is too long or has no end."""
    while line := file.readline(LINE_BYTES_MAX):
        if not line.endswith(b"\n"):
            raise Fault(f"{name}: it breaks off in the middle of a line, or a line is too long")
        yield line


def check_event(line: bytes, name: str, log: Log) -> None:
    """Check one line of an export, and add its event to `log`."""
    expected = log.position + 1
    what = f"{name}: the line of position {expected}"
    match = EVENT_LINE.fullmatch(line)
    if match is None:
        raise Fault(f"{what} is no event of an export")
    canonical, hash_ = match[1] + b"}", bytes.fromhex(match[2].decode())
    event = parse(canonical, what)
    if set(event) != MEMBERS:
        raise Fault(f"{what} has not the members of an event")
    if event["position"] != expected or type(event["position"]) is not int:
        raise Fault(f"{name}: position {expected} is missing; next is {event['position']!r}")
    rendered = json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if rendered.encode("utf-8", "surrogatepass") != canonical:
        raise Fault(f"{what} is not in the canonical form")
    log.add(canonical, hash_)


def check_part(path: Path, log: Log, roots: dict[int, bytes]) -> None:
    """Check one part against its manifest, and its events one onto the other.

    Args:
        roots: by size of the tree; those that have a key are filled in on the way.
    """
    digest, first = sha256(), log.position + 1
    manifest: dict[str, Any] | None = None
    with path.open("rb") as file:
        for line in lines_of(file, path.name):
            if manifest is not None:
                raise Fault(f"{path.name}: something stands behind the manifest")
            if line.startswith(b'{"manifest":'):
                manifest = parse_manifest(line, path.name)
                continue
            check_event(line, path.name, log)
            digest.update(line)
            if log.position in roots:
                roots[log.position] = log.root()
    if manifest is None:
        raise Fault(f"{path.name}: it has no manifest, so it was broken off")
    count = log.position - first + 1
    bounds = (first, log.position) if count else (None, None)
    if (manifest.get("from"), manifest.get("to"), manifest.get("count")) != (*bounds, count):
        raise Fault(f"{path.name}: it does not have the events that its manifest names")
    if manifest.get("sha256") != digest.hexdigest():
        raise Fault(f"{path.name}: its bytes are not those of its manifest")
    held = f"events {first} to {log.position}" if count else "no events"
    say(f"{path.name}: {held}, as its manifest says")


def manifest_head(path: Path) -> Any:
    """Return the tree head in the manifest of a part, not verified yet; None without one."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LINE_BYTES_MAX))
        last = (deque(file, maxlen=1) or (b"",))[-1]
    if not last.startswith(b'{"manifest":'):
        raise Fault(f"{path.name}: it has no manifest, so it was broken off")
    return parse_manifest(last, path.name).get("tree_head")


def parse_manifest(line: bytes, name: str) -> dict[str, Any]:
    """Return the members of a manifest."""
    manifest = parse(line, f"{name}: the manifest")["manifest"]
    if not isinstance(manifest, dict):
        raise Fault(f"{name}: its manifest is no object")
    return manifest


def read_note(note: str, source: str, keys: Sequence[bytes]) -> tuple[Head, bytes]:
    """Return the head in a signed checkpoint, and which of `keys` signed it.

    Source: C2SP, signed-note and tlog-checkpoint.
    """
    text, separator, signatures = note.rpartition("\n\n")
    text += "\n"
    try:
        origin, size, root, end = text.split("\n")
        head = Head(source, int(size), b64decode(root, validate=True))
    except ValueError:
        raise Fault(f"{source}: its note is no checkpoint") from None
    if not separator or end or size != str(head.tree_size) or len(head.root_hash) != 32:
        raise Fault(f"{source}: its note is no checkpoint")
    for line in signatures.splitlines():
        match = SIGNATURE_LINE.fullmatch(line)
        if match is None or match[1] != origin:
            continue
        signed = b64decode(match[2])
        for key in keys:
            if signed[:4] == sha256(origin.encode() + b"\n\x01" + key).digest()[:4]:
                try:
                    Ed25519PublicKey.from_public_bytes(key).verify(signed[4:], text.encode())
                except InvalidSignature:
                    raise Fault(f"{source}: its signature is not right") from None
                return head, key
    raise Fault(f"{source}: it was not signed with the public key given")


def check_manifest_head(head: Any, source: str, keys: Sequence[bytes]) -> Head:
    """Return the head that a manifest names, when its note says the same and is signed."""
    try:
        note, size, root = head["note"], head["tree_size"], bytes.fromhex(head["root_hash"])
        public_key = b64decode(head["public_key"], validate=True)
    except (TypeError, KeyError, ValueError):
        raise Fault(f"{source}: its tree head has not the members of one") from None
    signed, key = read_note(note, source, keys)
    if (signed.tree_size, signed.root_hash, key) != (size, root, public_key):
        raise Fault(f"{source}: its tree head is not what its note says")
    return signed


def verify(parts: Sequence[Path], notes: Sequence[Path], keys: Sequence[bytes]) -> None:
    """Verify an export in `parts`, in their order, with the signed notes that were kept."""
    heads = [read_note(path.read_text("utf-8"), path.name, keys)[0] for path in notes]
    for path in parts:
        head = manifest_head(path)
        if head is not None:
            heads.append(check_manifest_head(head, path.name, keys))
    log, roots = Log(), {head.tree_size: b"" for head in heads}
    for path in parts:
        check_part(path, log, roots)
    if not log.position:
        raise Fault("the export has no events")
    say(f"chain: {log.position} events, each one onto the one before it, from the first on")
    for head in heads:
        if head.tree_size > log.position:
            raise Fault(
                f"{head.source}: its tree head covers {head.tree_size} events, but the export"
                f" ends with event {log.position}: what comes behind is missing"
            )
        if roots[head.tree_size] != head.root_hash:
            raise Fault(
                f"{head.source}: its tree head of {head.tree_size} events was signed for a"
                " different log"
            )
        say(f"{head.source}: signed for events 1 to {head.tree_size}, which are these")
    signed_to = max((head.tree_size for head in heads), default=0)
    if not signed_to:
        raise Fault("nothing is signed: neither the parts nor the notes have a tree head")
    if signed_to < log.position:
        say(f"NOT SIGNED YET: events {signed_to + 1} to {log.position}; export again in a minute")


def public_key_of(text: str) -> bytes:
    """Return the 32 bytes of a public key in base64."""
    key = b64decode(text, validate=True)
    if len(key) != 32:
        raise ValueError(text)
    return key


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")


def main() -> int:
    """Verify what the command line names; return the exit code."""
    parser = argparse.ArgumentParser(description="Verify an export of the log.")
    parser.add_argument(
        "--public-key",
        action="append",
        required=True,
        type=public_key_of,
        metavar="BASE64",
        help="the log's key, as it was told to you; more than one when it has changed",
    )
    parser.add_argument(
        "--note",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a signed note that you have kept from before; as many as you like",
    )
    parser.add_argument("part", nargs="+", type=Path, help="the export, or its parts in order")
    given = parser.parse_args()
    try:
        verify(given.part, given.note, given.public_key)
    except (Fault, OSError) as error:
        say(f"FAULT: {error}")
        return 1
    say("OK: everything holds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
