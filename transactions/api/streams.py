"""Long answers, sent while they are made."""

import logging
import time
from collections.abc import Callable, Iterator

from django.db import close_old_connections, connection

logger = logging.getLogger(__name__)

STREAM_TIMEOUT_S = 600.0


def streamed(
    parts: Iterator[bytes], *, name: str, monotonic: Callable[[], float] = time.monotonic
) -> Iterator[bytes]:
    """Yield `parts`, holding no connection to the database while the client reads.

    The status has been sent, so an error can be told only by an end that comes too early: the
    server breaks the connection off, and the log knows why.

    Args:
        name: what is sent, for the log, such as `export`.
        monotonic: returns seconds.

    Raises:
        TimeoutError: the client has not read all of it within `STREAM_TIMEOUT_S`.
    """
    ends_s = monotonic() + STREAM_TIMEOUT_S
    try:
        for part in parts:
            # Whoever runs this inside of a transaction needs its connection for longer.
            if not connection.in_atomic_block:
                close_old_connections()
            yield part
            if monotonic() > ends_s:
                raise TimeoutError(f"it was not read within {STREAM_TIMEOUT_S:.0f} s")
    except Exception:
        logger.exception("A stream was broken off: %s", name)
        raise
