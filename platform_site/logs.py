"""Log lines: one JSON object a line, with the id of the request that caused it.

Lines never hold an Authorization header, a query string or a body; whoever logs passes the
facts it means as `extra={"fields": {...}}`, and nothing else of a record is written.
"""

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime

request_id_of_context: ContextVar[str] = ContextVar("request_id", default="")


class JSONFormatter(logging.Formatter):
    """Write a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, logger, message, request id, fields and traceback of `record`."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        request_id = request_id_of_context.get()
        if request_id:
            line["request_id"] = request_id
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TracebackFilter(logging.Filter):
    """Lets only records with a traceback through, for Django's own line about every 5xx.

    Without one it repeats what the request's line says, and Django writes it for each request
    that an open breaker turns away.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether `record` brings a traceback."""
        return record.exc_info is not None


class PlainFormatter(logging.Formatter):
    """Write a record for a person at a terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line, its fields behind the message."""
        fields = " ".join(f"{key}={value}" for key, value in getattr(record, "fields", {}).items())
        return f"{super().format(record)} {fields}".rstrip()
