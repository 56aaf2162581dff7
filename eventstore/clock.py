"""Time as text, one form everywhere."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the present instant, aware, in UTC."""
    return datetime.now(UTC)


def format_time(instant: datetime) -> str:
    """Return `instant` as RFC 3339 in UTC with six digits: `2026-01-02T03:04:05.000006Z`.

    Raises:
        ValueError: `instant` is naive: nobody could tell which instant that is.
    """
    if instant.utcoffset() is None:
        raise ValueError(f"{instant.isoformat()} has no time zone")
    return f"{instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
