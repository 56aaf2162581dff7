"""Signed notes, and the checkpoints of a log written as one. Pure functions.

A note is text, an empty line, and signatures; a checkpoint is a note that tells the size and the
root of a log's Merkle tree. Source: C2SP, signed-note and tlog-checkpoint (https://c2sp.org).
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURES_MAX = 16
_ED25519 = b"\x01"
_SIGNATURE_LINE = re.compile(r"\u2014 ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class InvalidNote(ValueError):
    """The text is no note, or nobody whom one knows has signed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The size and the root of the tree of the log that is called `origin`."""

    origin: str
    tree_size: int
    root_hash: bytes

    def text(self) -> str:
        """Return the text that is signed."""
        return f"{self.origin}\n{self.tree_size}\n{b64encode(self.root_hash).decode()}\n"


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """Return the 32 bytes of the public key that belongs to `key`."""
    return key.public_key().public_bytes_raw()


def key_id(name: str, public_key: bytes) -> bytes:
    """Return the four bytes by which a signature tells whose it is."""
    return sha256(name.encode() + b"\n" + _ED25519 + public_key).digest()[:4]


def sign(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> str:
    """Return `checkpoint` as a note, signed in the name of its origin."""
    text = checkpoint.text()
    signed = key_id(checkpoint.origin, public_bytes(key)) + key.sign(text.encode())
    return f"{text}\n\u2014 {checkpoint.origin} {b64encode(signed).decode()}\n"


def read(note: str, *, origin: str, public_key: bytes) -> Checkpoint:
    """Return the checkpoint in `note`, which the holder of `public_key` must have signed.

    Signatures of others are passed over, as the format wants it.

    Raises:
        InvalidNote: it is no checkpoint of `origin`, or was not signed with this key.
    """
    text, separator, signatures = note.rpartition("\n\n")
    text += "\n"
    lines = signatures.removesuffix("\n").split("\n")
    if not separator or not signatures.endswith("\n") or len(lines) > SIGNATURES_MAX:
        raise InvalidNote("this is no signed note")
    wanted = key_id(origin, public_key)
    known = [each for each in map(_signature, lines) if each[:2] == (origin, wanted)]
    if not known:
        raise InvalidNote(f"{origin} has not signed it with the key {wanted.hex()}")
    for _, _, signature in known:
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature, text.encode())
        except InvalidSignature:
            raise InvalidNote("its signature is not right") from None
    return _checkpoint(text, origin)


def _signature(line: str) -> tuple[str, bytes, bytes]:
    match = _SIGNATURE_LINE.fullmatch(line)
    try:
        signed = b64decode(match[2], validate=True) if match else b""
    except NotBase64:
        signed = b""
    if match is None or len(signed) <= 4:
        raise InvalidNote("one of its signatures is malformed")
    return match[1], signed[:4], signed[4:]


def _checkpoint(text: str, origin: str) -> Checkpoint:
    try:
        name, size, root, end = text.split("\n")
        root_hash = b64decode(root, validate=True)
    except ValueError as error:
        raise InvalidNote("it is no checkpoint") from error
    if end or name != origin or not _SIZE.fullmatch(size) or len(root_hash) != 32:
        raise InvalidNote("it is no checkpoint of this log")
    return Checkpoint(origin=origin, tree_size=int(size), root_hash=root_hash)
