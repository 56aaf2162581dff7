"""Checkpoints are signed as C2SP says, and nothing else is taken for one."""

from base64 import b64decode, b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from eventstore import notes
from eventstore.notes import Checkpoint, InvalidNote

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
ORIGIN = "evenkeel.example/log"
CHECKPOINT = Checkpoint(origin=ORIGIN, tree_size=20852163, root_hash=bytes(range(32)))
NOTE = notes.sign(CHECKPOINT, KEY)
SIGNATURE = NOTE.split(" ")[-1].rstrip("\n")


def read(note: str, *, origin: str = ORIGIN, key: Ed25519PrivateKey = KEY) -> Checkpoint:
    return notes.read(note, origin=origin, public_key=notes.public_bytes(key))


def test_a_note_is_written_as_the_format_says() -> None:
    text, _, signature = NOTE.partition("\n\n")
    assert text.split("\n") == [ORIGIN, "20852163", b64encode(bytes(range(32))).decode()]
    assert signature == f"\u2014 {ORIGIN} {SIGNATURE}\n"
    signed = b64decode(SIGNATURE)
    assert (len(signed), signed[:4]) == (68, notes.key_id(ORIGIN, notes.public_bytes(KEY)))
    KEY.public_key().verify(signed[4:], f"{text}\n".encode())


def test_a_key_is_named_as_in_the_notes_of_go() -> None:
    # From the documentation of golang.org/x/mod/sumdb/note: NAME+ID+KEY, with the kind of key.
    name, id_ = "PeterNeumann", "c74f20a3"
    key = "ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    assert notes.key_id(name, b64decode(key)[1:]).hex() == id_


def test_a_note_is_read_as_it_was_signed() -> None:
    assert read(NOTE) == CHECKPOINT


def test_signatures_of_others_are_passed_over() -> None:
    cosigned = f"{NOTE}\u2014 witness.example {b64encode(bytes(76)).decode()}\n"
    assert read(cosigned) == CHECKPOINT


DAMAGE: dict[str, Any] = {
    "another size": NOTE.replace("20852163", "20852164"),
    "another root": NOTE.replace("AAECAwQ", "BAECAwQ"),
    "another origin": NOTE.replace(ORIGIN, "evil.example/log"),
    "a line more": NOTE.replace("\n\n", "\nmore\n\n"),
    "a hyphen for a dash": NOTE.replace("\u2014", "-"),
    "no signature": NOTE.partition("\n\n")[0] + "\n\n",
    "no end": NOTE.rstrip("\n"),
    "no text": NOTE.partition("\n\n")[2],
    "a changed signature": NOTE.replace(SIGNATURE, f"{SIGNATURE[:-4]}AAA="),
    "a cut signature": NOTE.replace(SIGNATURE, SIGNATURE[:40]),
    "no base64": NOTE.replace(SIGNATURE, "A"),
    "only the name of the key": NOTE.replace(SIGNATURE, SIGNATURE[:4] + "=="),
    "too many signatures": NOTE + f"\u2014 other.example {SIGNATURE}\n" * 16,
    "nothing": "",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_was_not_signed_so_is_refused(damage: str) -> None:
    assert DAMAGE[damage] != NOTE
    with pytest.raises(InvalidNote):
        read(DAMAGE[damage])


def test_a_note_of_somebody_else_is_refused() -> None:
    with pytest.raises(InvalidNote):
        read(NOTE, key=OTHER)
    with pytest.raises(InvalidNote):
        read(NOTE, origin="other.example/log")


@pytest.mark.parametrize("text", ["{o}\n01\n{r}\n", "{o}\n-1\n{r}\n", "{o}\n1\nAAAA\n", "{o}\n1\n"])
def test_a_signed_text_that_is_no_checkpoint_is_refused(text: str) -> None:
    root = b64encode(bytes(32)).decode()
    signed_text = text.format(o=ORIGIN, r=root)
    signed = notes.key_id(ORIGIN, notes.public_bytes(KEY)) + KEY.sign(signed_text.encode())
    with pytest.raises(InvalidNote, match="checkpoint"):
        read(f"{signed_text}\n\u2014 {ORIGIN} {b64encode(signed).decode()}\n")
