"""The site's Celery app with two more tasks: one that is well, and one that kills its process."""

import os
import signal
from pathlib import Path

from platform_site.celery import app


@app.task(name="tests.note")
def note(path: str) -> None:
    """Append a line to the file `path`."""
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")


@app.task(name="tests.die")
def die(path: str) -> None:
    """Append a line to the file `path`, then die as if out of memory."""
    note.run(path)
    os.kill(os.getpid(), signal.SIGKILL)
