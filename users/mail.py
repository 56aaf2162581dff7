"""E-mail as files: the demo's stand-in for a mail server."""

import hashlib
import os
import re
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

FILE_NAME_LENGTH_MAX = 150
_SAFE = re.compile(r"[A-Za-z0-9_+=-][A-Za-z0-9._+=-]*", re.ASCII)


class FileBackend(BaseEmailBackend):
    """Writes each message to `settings.EMAIL_FILE_PATH`, named after its Message-ID.

    A file appears whole or not at all, and is never overwritten: a message that is sent again
    with the same Message-ID, after a crash or by a second worker, is there once.
    """

    # Whether sending a message twice is the same as sending it once; other backends do not say.
    idempotent = True

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Write the messages; return how many are there now.

        Raises:
            OSError: a file could not be written, unless `fail_silently`.
        """
        folder = Path(settings.EMAIL_FILE_PATH)
        sent = 0
        for email in email_messages:
            if not email.recipients():
                continue
            message = email.message()
            content = message.as_bytes()
            try:
                folder.mkdir(parents=True, exist_ok=True)
                _write_once(folder / file_name(str(message["Message-ID"])), content)
            except OSError:
                if not self.fail_silently:
                    raise
            else:
                sent += 1
        return sent


def file_name(message_id: str) -> str:
    """Return the name of the file for `message_id`: its local part and `.eml`.

    A local part that could not be a file's name, or would leave the folder, is replaced by its
    SHA-256, so different ones stay different.
    """
    local = message_id.strip().removeprefix("<").removesuffix(">").rpartition("@")[0]
    if not _SAFE.fullmatch(local) or len(local) > FILE_NAME_LENGTH_MAX:
        local = hashlib.sha256(message_id.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{local}.eml"


def _write_once(path: Path, content: bytes) -> None:
    """Write `path` durably, unless it exists."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, fails when its name is taken.
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        Path(temporary).unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
