"""What events tell of a person, sealed with a key of that person's own.

# Note [Forgetting]

The log can neither change nor lose an event, and a person may ask to be forgotten. So the members
of an event that tell something of a person are stored encrypted, under a key that belongs to this
person alone (AES-256-GCM, NIST SP 800-38D, with the event's id as associated data, so that a
sealed text can be moved to no other event). Whoever empties the key has emptied every event, in
every copy of the log, at once; and since the hashes cover the sealed text, the chain stays whole.

A key is kept in memory for `CACHE_S` seconds: so long another process may still read what has
been forgotten.
"""

import os
import time
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from threading import Lock
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.db import connection

from eventstore.clock import utc_now
from eventstore.errors import PlatformError
from eventstore.models import SubjectKey
from eventstore.tables import Table

KEY_BYTES = 32
NONCE_BYTES = 12
CACHE_S = 5.0
CACHE_SIZE_MAX = 10_000

_KEYS = Table(SubjectKey, columns=("subject", "key", "forgotten_at"))
_NEW_KEYS = Table(SubjectKey, columns=("subject", "key", "created_at"))


class SubjectForgotten(PlatformError):
    """Something would be recorded of a person who was forgotten."""

    code = "subject_forgotten"


def writing_keys(subjects: Iterable[UUID]) -> dict[UUID, bytes]:
    """Return the keys of `subjects`, made where they are missing, inside the caller's transaction.

    The keys are locked against being forgotten until the transaction ends.

    Raises:
        SubjectForgotten: one of them was forgotten, so nothing may be told of that person.
    """
    wanted = set(subjects)
    found = _live_keys(wanted)
    if missing := sorted(wanted - found.keys()):
        now = utc_now()
        # Two may tell something of a new person at once: the second waits here for the first,
        # changes nothing, and takes the key that the first has made.
        _NEW_KEYS.upsert(
            [(subject, os.urandom(KEY_BYTES), now) for subject in missing], update=("subject",)
        )
        found |= _live_keys(missing)
    return found


def _live_keys(subjects: Iterable[UUID]) -> dict[UUID, bytes]:
    suffix = " LOCK IN SHARE MODE" if connection.vendor == "mysql" else ""
    found: dict[UUID, bytes] = {}
    for subject, key, forgotten_at in _KEYS.rows(subjects, suffix=suffix):
        if key is None or forgotten_at is not None:
            raise SubjectForgotten(
                f"What was known of {subject} was forgotten at their own wish: leave out names,"
                " descriptions, references, reasons and metadata."
            )
        found[subject] = key
    return found


def seal(key: bytes, *, subject: UUID, event: UUID, personal: str) -> dict[str, str]:
    """Return what is stored in an event instead of `personal`, the JSON of those members."""
    nonce = os.urandom(NONCE_BYTES)
    sealed = nonce + AESGCM(key).encrypt(nonce, personal.encode(), event.bytes)
    return {"sealed": b64encode(sealed).decode(), "subject": str(subject)}


def unseal(sealed: Mapping[str, str], *, event: UUID) -> bytes | None:
    """Return the JSON that was sealed into `event`; None when its key is gone.

    Raises:
        ValueError: it was not sealed with this key, or into another event.
    """
    subject = UUID(sealed["subject"])
    stored = b64decode(sealed["sealed"])
    # The second time past the memory: a key that was read within a transaction which was rolled
    # back then has never been one.
    for may_be_remembered in (True, False):
        key = _reading_key(subject, may_be_remembered=may_be_remembered)
        if key is None:
            return None
        try:
            return AESGCM(key).decrypt(stored[:NONCE_BYTES], stored[NONCE_BYTES:], event.bytes)
        except InvalidTag:
            continue
    raise ValueError(f"what is sealed in event {event} was not sealed there")


_cache: dict[UUID, tuple[float, bytes | None]] = {}
_cache_lock = Lock()


def _reading_key(subject: UUID, *, may_be_remembered: bool) -> bytes | None:
    until, key = _cache.get(subject, (0.0, None))
    now = time.monotonic()
    if may_be_remembered and now < until:
        return key
    row = SubjectKey.objects.filter(pk=subject).first()
    key = bytes(row.key) if row is not None and row.key is not None else None
    with _cache_lock:
        if len(_cache) >= CACHE_SIZE_MAX:
            _cache.clear()
        _cache[subject] = (now + CACHE_S, key)
    return key


def close(subject: UUID) -> None:
    """Let nothing more be told of `subject`; waits for those who are just recording something."""
    now = utc_now()
    row, _ = SubjectKey.objects.get_or_create(
        pk=subject, defaults={"key": None, "created_at": now, "forgotten_at": now}
    )
    if row.forgotten_at is None:
        SubjectKey.objects.filter(pk=subject).update(forgotten_at=now)


def forget(subject: UUID) -> None:
    """Empty the key of `subject`, for good: nobody can open what was sealed with it any more."""
    close(subject)
    SubjectKey.objects.filter(pk=subject).update(key=None)
    with _cache_lock:
        _cache.clear()
