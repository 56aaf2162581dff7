"""What the path of a request says: which service it is for, and whether it is counted."""

API = "/api/"
ADMIN = "/admin/"
# First segments under /api/ that the gateway answers itself.
OWN = frozenset({"", "discovery", "docs", "schema"})
# Of these, the ones that read like a manual: they are neither limited nor counted.
_MANUAL = frozenset({"docs", "schema"})
OPERATIONS = ("/health", "/metrics")
# Every service that there may be.
NAMES = ("transactions", "accounts", "users", "events", "analytics", "payments")


def api_segment(path: str) -> str | None:
    """Return the first segment under /api/ of a decoded path, or None outside of it."""
    return path[len(API) :].split("/", 1)[0] if path.startswith(API) else None


def label(path: str) -> str:
    """Return a name for a decoded path out of a small fixed set, for metrics."""
    segment = api_segment(path)
    if segment in NAMES:
        return str(segment)
    if segment in OWN or path.startswith(OPERATIONS):
        return "gateway"
    first = path[1:].partition("/")[0]
    return first if first in {"admin", "static"} else "unknown"


def is_counted(path: str) -> bool:
    """Say whether the rate limit counts this request: all of /api/ apart from its manual."""
    segment = api_segment(path)
    return segment is not None and segment not in _MANUAL
