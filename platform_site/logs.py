"""Log lines: one JSON object a line, with the id of the request that caused it.

Lines never hold an Authorization header, a query string or a body; whoever logs passes the
facts it means as `extra={"fields": {...}}`, and nothing else of a record is written.

# Note [A line is ASCII]

Whatever is not ASCII is written as `\\uXXXX`. Who reads the log line by line, or looks at it on a
terminal, may take the likes of U+0085, U+009B and U+2028 for the end of a line or for a command,
and a client can put each of them into a path.
"""

import json
import logging
import os
import threading
import time
from contextvars import ContextVar
from typing import Any

import msgspec

request_id_of_context: ContextVar[str] = ContextVar("request_id", default="")
# The ids of the trace and of the span, when `platform_site.tracing` is at work.
trace_of_context: ContextVar[tuple[str, str] | None] = ContextVar("trace", default=None)

_encode = msgspec.json.Encoder(enc_hook=str).encode


class JSONFormatter(logging.Formatter):
    """Write a record as one line of JSON."""

    _second: tuple[int, str] = (-1, "")

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, logger, message, ids, fields and traceback of `record`."""
        line: dict[str, Any] = {
            "time": self._time(record.created),
            "level": _LEVELS.get(record.levelno) or record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        request_id = request_id_of_context.get()
        if request_id:
            line["request_id"] = request_id
        trace = trace_of_context.get()
        if trace is not None:
            line["trace_id"], line["span_id"] = trace
        fields = getattr(record, "fields", None)
        if fields:
            line.update(fields)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _one_line(line)

    def _time(self, created_s: float) -> str:
        """Return the time in RFC 3339; all but its fraction is the same for a whole second."""
        microseconds = round(created_s * 1e6)
        second = microseconds // 1_000_000
        known, text = self._second
        if second != known:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second, text
        return f"{text}.{microseconds % 1_000_000:06d}Z"


_LEVELS = {
    level: logging.getLevelName(level).lower()
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
}


def _one_line(line: dict[str, Any]) -> str:
    try:
        encoded = _encode(line)
        if encoded.isascii():  # See Note [A line is ASCII].
            return encoded.decode("ascii")
    except (UnicodeEncodeError, OverflowError, TypeError):  # Half a character, a huge number.
        pass
    return json.dumps(line, default=str, skipkeys=True)


class LineRecord(logging.LogRecord):
    """A record of nothing but a logger, a level, a message and fields.

    Looking for the line of code, the thread and the process that log takes longer than all the
    rest. A request's line is written ten thousand times a second, always by the same line of code.

    Args:
        name: the logger's name.
        level: such as `logging.INFO`.
        message: the message, without arguments.
        fields: the facts.
    """

    def __init__(self, name: str, level: int, message: str, fields: dict[str, Any]) -> None:
        now_s = time.time()
        self.__dict__ = {
            **_NO_ORIGIN,
            "name": name,
            "msg": message,
            "levelno": level,
            "levelname": logging.getLevelName(level),
            "created": now_s,
            "msecs": now_s % 1 * 1000,
            "process": os.getpid(),
            "thread": threading.get_ident(),
            "fields": fields,
        }


# Every other attribute that a formatter may ask a record for.
_NO_ORIGIN = {**logging.LogRecord("", 0, "", 0, "", None, None).__dict__, "threadName": ""}


class TracebackFilter(logging.Filter):
    """Lets only records with a traceback through, for Django's own line about every 5xx.

    Without one it repeats what the request's line says, and Django writes it for each request
    that an open breaker turns away.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether `record` brings a traceback."""
        return record.exc_info is not None


class RarelyFilter(logging.Filter):
    """Lets one record of each logger through per `INTERVAL_S`: for what repeats itself."""

    INTERVAL_S = 60.0

    def __init__(self) -> None:
        super().__init__()
        self._next_s: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the last record of this logger is long enough ago."""
        if record.created < self._next_s.get(record.name, 0.0):
            return False
        self._next_s[record.name] = record.created + self.INTERVAL_S
        return True


class PlainFormatter(logging.Formatter):
    """Write a record for a person at a terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line, its fields behind the message."""
        fields = " ".join(f"{key}={value}" for key, value in getattr(record, "fields", {}).items())
        return f"{super().format(record)} {fields}".rstrip()
