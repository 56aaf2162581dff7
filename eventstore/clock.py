"""Time as text, one form everywhere."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the present instant, aware, in UTC."""
    return datetime.now(UTC)


def format_time(instant: datetime) -> str:
    """Return `instant` as RFC 3339 in UTC with six digits: `2026-01-02T03:04:05.000006Z`."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
