"""The stand-alone verifier finds whatever was changed in an export, as a process of its own."""

import json
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytest_django.fixtures import Settings

from eventstore import notes, tree_heads
from eventstore.models import TreeHead
from tests.eventstore.test_merkle import naive_root
from tests.transactions.tools import admin, drain
from transactions.api.log_answers import export_parts

pytestmark = pytest.mark.django_db

VERIFIER = Path(__file__).parents[2] / "docs" / "verify_export.py"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
ORIGIN = "audited.example/log"
PROCESS_TIMEOUT_S = 60


def base64_of(key: Ed25519PrivateKey) -> str:
    return b64encode(notes.public_bytes(key)).decode()


@dataclass(frozen=True)
class Export:
    """An export of a real log, of which an older note was kept."""

    lines: list[bytes]
    note: str
    folder: Path

    @property
    def manifest(self) -> dict[str, Any]:
        manifest: dict[str, Any] = json.loads(self.lines[-1])["manifest"]
        return manifest

    def verify(
        self,
        *parts: Sequence[bytes],
        key: Ed25519PrivateKey = KEY,
        note: str | None = None,
        more: Sequence[str] = (),
    ) -> tuple[int, str]:
        """Run the verifier on parts of lines; return its exit code and what it printed."""
        paths = [self.folder / f"part-{number}.ndjson" for number in range(1, len(parts) + 1)]
        for path, lines in zip(paths, parts, strict=True):
            path.write_bytes(b"".join(lines))
        if note is not None:
            (self.folder / "note.txt").write_text(note, "utf-8")
            more = [*more, "--note", "note.txt"]
        done = subprocess.run(
            # Isolated: it sees neither this checkout nor its settings.
            [sys.executable, "-I", str(VERIFIER), "--public-key", base64_of(key), *more]
            + [path.name for path in paths],
            cwd=self.folder,
            env={},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=PROCESS_TIMEOUT_S,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout


@pytest.fixture
def log(settings: Settings, tmp_path: Path) -> Export:
    """Ten transfers, signed for after the first five and at the end."""
    settings.EVENTSTORE_TREE_HEAD_KEY = b64encode(KEY.private_bytes_raw()).decode()
    settings.EVENTSTORE_LOG_ORIGIN = ORIGIN
    settings.DOCUMENT_STORE_FILE = tmp_path / "document.sqlite3"
    settings.GLOBAL_STORE_FILE = tmp_path / "global.sqlite3"
    settings.REDIS_URL = ""
    root = admin()
    account, other = root.account(balance=10_000), root.account()
    kept = None
    for number in range(10):
        root.transfer(account, other, 1 + number, description='Miete \u2028 \U0001f4b8 \x7f \\ "')
        if number == 4:
            drain()
            kept = tree_heads.sign()
    drain()
    tree_heads.sign()
    assert kept is not None
    return Export(export(), kept.note, tmp_path)


def export(*, after: int = 0, limit: int = 1000) -> list[bytes]:
    return b"".join(export_parts(after=after, limit=limit)).splitlines(keepends=True)


def with_manifest(lines: Sequence[bytes], manifest: dict[str, Any]) -> list[bytes]:
    """Return lines of events with a manifest that fits them, as a forger would make it."""
    positions = [json.loads(line)["position"] for line in lines]
    fitting = {
        **manifest,
        "from": positions[0] if positions else None,
        "to": positions[-1] if positions else None,
        "count": len(lines),
        "sha256": sha256(b"".join(lines)).hexdigest(),
    }
    return [*lines, json.dumps({"manifest": fitting}).encode().replace(b": ", b":", 1) + b"\n"]


def rechained(lines: Sequence[bytes]) -> list[bytes]:
    """Return lines of events whose hashes were all made anew."""
    previous, found = bytes(32), []
    for line in lines:
        canonical = line[:-76] + b"}"
        previous = sha256(previous + canonical).digest()
        found.append(canonical[:-1] + f',"hash":"{previous.hex()}"}}\n'.encode())
    return found


def changed(lines: Sequence[bytes]) -> list[bytes]:
    """Return lines with another amount in one of them."""
    at = next(at for at, line in enumerate(lines) if b'"amount":3,' in line)
    return [*lines[:at], lines[at].replace(b'"amount":3,', b'"amount":9,'), *lines[at + 1 :]]


def test_a_real_export_holds(log: Export) -> None:
    count = len(log.lines) - 1
    code, said = log.verify(log.lines, note=log.note)
    assert (code, said.splitlines()[-1]) == (0, "OK: everything holds")
    assert f"part-1.ndjson: events 1 to {count}, as its manifest says" in said
    assert f"part-1.ndjson: signed for events 1 to {count}, which are these" in said
    kept = log.note.split("\n")[1]
    assert f"note.txt: signed for events 1 to {kept}, which are these" in said


@pytest.mark.parametrize("size", [1, 7, 20])
def test_parts_hold_together(log: Export, size: int) -> None:
    count = len(log.lines) - 1
    parts = [export(after=after, limit=size) for after in range(0, count + size, size)]
    code, said = log.verify(*parts)
    assert (code, said.splitlines()[-1]) == (0, "OK: everything holds")


def test_what_is_not_signed_yet_is_named(log: Export) -> None:
    count = len(log.lines) - 1
    admin().account()
    drain()
    code, said = log.verify(export())
    assert code == 0
    assert f"NOT SIGNED YET: events {count + 1} to {count + 1};" in said


DAMAGE: dict[str, tuple[Callable[[list[bytes], dict[str, Any]], list[bytes]], str]] = {
    "an amount": (
        lambda events, manifest: with_manifest(changed(events), manifest),
        "is not what its hash says",
    ),
    "an amount, with all hashes behind it made anew": (
        lambda events, manifest: with_manifest(rechained(changed(events)), manifest),
        "was signed for a different log",
    ),
    "a byte that the manifest covers": (
        lambda events, manifest: [*changed(events), manifest_line(manifest)],
        "is not what its hash says",
    ),
    "a hash": (
        lambda events, manifest: with_manifest(
            [*events[:3], events[3][:-6] + b'000"}\n', *events[4:]], manifest
        ),
        "is not what its hash says",
    ),
    "a dropped line": (
        lambda events, manifest: with_manifest([*events[:8], *events[9:]], manifest),
        "position 9 is missing; next is 10",
    ),
    "a dropped first line": (
        lambda events, manifest: with_manifest(events[1:], manifest),
        "position 1 is missing; next is 2",
    ),
    "swapped lines": (
        lambda events, manifest: with_manifest([events[1], events[0], *events[2:]], manifest),
        "position 1 is missing; next is 2",
    ),
    "a doubled line": (
        lambda events, manifest: with_manifest([events[0], *events], manifest),
        "position 2 is missing; next is 1",
    ),
    "the end, cut off": (
        lambda events, manifest: with_manifest(events[:-2], manifest),
        "what comes behind is missing",
    ),
    "the end, cut off with the manifest": (lambda events, _: events[:-2], "it has no manifest"),
    "the end, cut off within a line": (
        lambda events, manifest: [*events, manifest_line(manifest)[:-20]],
        "cannot be read",
    ),
    "the end, cut off before the manifest's own numbers": (
        lambda events, manifest: [*events[:-1], manifest_line(manifest)],
        "does not have the events that its manifest names",
    ),
    "the digest in the manifest": (
        lambda events, manifest: [*events, manifest_line({**manifest, "sha256": "00" * 32})],
        "its bytes are not those of its manifest",
    ),
    "the size in the head": (
        lambda events, manifest: [*events, with_head(manifest, tree_size=5)],
        "its tree head is not what its note says",
    ),
    "the signature": (
        lambda events, manifest: [
            *events,
            with_head(manifest, note=manifest["tree_head"]["note"][:-5] + "AAA=\n"),
        ],
        "its signature is not right",
    ),
    "the note, signed with a key of the forger's own": (
        lambda events, manifest: [*events, with_head(manifest, **signed_by_other(manifest))],
        "it was not signed with the public key given",
    ),
    "the note that is none": (
        lambda events, manifest: [*events, with_head(manifest, note="\n")],
        "its note is no checkpoint",
    ),
    "the head that is none": (
        lambda events, manifest: [*events, manifest_line({**manifest, "tree_head": {}})],
        "its tree head has not the members of one",
    ),
    "no head at all": (
        lambda events, manifest: [*events, manifest_line({**manifest, "tree_head": None})],
        "nothing is signed",
    ),
    "a member that stands there twice": (
        lambda events, manifest: with_manifest(
            rechained([events[0].replace(b'{"data":', b'{"data":1,"data":'), *events[1:]]), manifest
        ),
        "a member stands there twice",
    ),
    "spaces, with all hashes made anew": (
        lambda events, manifest: with_manifest(
            rechained([events[0].replace(b'"version":1', b'"version": 1'), *events[1:]]), manifest
        ),
        "is not in the canonical form",
    ),
    "a line that is no event": (
        lambda events, manifest: ([events[0], b"[]\n", manifest_line(manifest)]),
        "is no event of an export",
    ),
    "something behind the manifest": (
        lambda events, manifest: [*events, *with_manifest(events, manifest)[-1:] * 2],
        "something stands behind the manifest",
    ),
    "nothing": (lambda _, manifest: with_manifest([], manifest), "has no events"),
    "an empty file": (lambda *_: [], "it has no manifest"),
}


def manifest_line(manifest: dict[str, Any]) -> bytes:
    return b'{"manifest":' + json.dumps(manifest).encode() + b"}\n"


def with_head(manifest: dict[str, Any], **changes: Any) -> bytes:
    return manifest_line({**manifest, "tree_head": {**manifest["tree_head"], **changes}})


def signed_by_other(manifest: dict[str, Any]) -> dict[str, Any]:
    head = manifest["tree_head"]
    checkpoint = notes.Checkpoint(
        origin=ORIGIN, tree_size=head["tree_size"], root_hash=bytes.fromhex(head["root_hash"])
    )
    return {"note": notes.sign(checkpoint, OTHER), "public_key": base64_of(OTHER)}


@pytest.mark.parametrize("damage", DAMAGE)
def test_whatever_was_changed_is_a_fault(log: Export, damage: str) -> None:
    do, sentence = DAMAGE[damage]
    *events, _ = log.lines
    code, said = log.verify(do(events, log.manifest))
    assert code == 1, said
    last = said.splitlines()[-1]
    assert last.startswith("FAULT: ")
    assert sentence in last


def test_another_public_key_verifies_nothing(log: Export) -> None:
    code, said = log.verify(log.lines, key=OTHER)
    assert (code, "it was not signed with the public key given" in said) == (1, True)


def test_a_former_key_is_taken_beside_the_present_one(log: Export) -> None:
    code, _ = log.verify(log.lines, key=OTHER, more=["--public-key", base64_of(KEY)])
    assert code == 0


def test_parts_in_another_order_or_without_one_are_a_fault(log: Export) -> None:
    first, second, third = (export(after=after, limit=20) for after in (0, 20, 40))
    for parts in ((second, first, third), (first, third), (second, third)):
        code, said = log.verify(*parts)
        assert (code, "is missing; next is" in said) == (1, True)
    code, said = log.verify(first, second)
    assert (code, "what comes behind is missing" in said) == (1, True)


def test_a_kept_note_tells_of_a_log_that_was_signed_anew(log: Export) -> None:
    """Whoever has the database and the key makes another log, which only the note betrays."""
    *events, _ = log.lines
    forged = rechained(changed(events))
    tree = [sha256(b"\x00" + bytes.fromhex(json.loads(each)["hash"])).digest() for each in forged]
    root = naive_root(tree)
    checkpoint = notes.Checkpoint(origin=ORIGIN, tree_size=len(forged), root_hash=root)
    head = {**log.manifest["tree_head"], "root_hash": root.hex()}
    head["note"] = notes.sign(checkpoint, KEY)
    lines = with_manifest(forged, {**log.manifest, "tree_head": head})
    code, _ = log.verify(lines)
    assert code == 0, "nothing in it betrays it"
    code, said = log.verify(lines, note=log.note)
    assert (code, "note.txt: its tree head" in said) == (1, True)
    assert "was signed for a different log" in said


def test_a_kept_note_tells_of_a_cut_log_with_an_older_head(log: Export) -> None:
    newest = TreeHead.objects.get(tree_size=len(log.lines) - 1)
    older = TreeHead.objects.exclude(tree_size=newest.tree_size).get()
    *events, _ = log.lines
    head = {
        **log.manifest["tree_head"],
        "tree_size": older.tree_size,
        "root_hash": bytes(older.root_hash).hex(),
        "note": older.note,
    }
    manifest = {**log.manifest, "tree_head": head}
    lines = with_manifest(events[: older.tree_size], manifest)
    assert log.verify(lines)[0] == 0, "nothing in it betrays it"
    code, said = log.verify(lines, note=newest.note)
    assert (code, "what comes behind is missing" in said) == (1, True)
