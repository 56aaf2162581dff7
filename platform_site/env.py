"""Typed readers of the environment: the only place that reads `os.environ`.

Each reader names its variable, so that a value that cannot be used is refused at start with
the variable's name and an example of what would do. `docs/configuration.md` lists them all.
"""

import os
import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp
from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off", ""})
_RATE = re.compile(r"^(?P<count>\d+)/(?P<length>\d*)(?P<unit>[smhd])$")
_ORIGIN = re.compile(r"[^\s+\x00-\x1f]{1,200}")
DATABASE_CONNECT_TIMEOUT_S = 5
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def text(name: str, default: str = "") -> str:
    """Return the variable `name`, or `default` when it is unset or empty."""
    return os.environ.get(name) or default


def flag(name: str, *, default: bool = False) -> bool:
    """Return the variable `name` as a boolean; raise `ImproperlyConfigured` for other words."""
    value = os.environ.get(name)
    if value is None:
        return default
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise ImproperlyConfigured(f"{name}={value!r} is not a yes or a no: write 1 or 0.")


def integer(name: str, default: int, *, minimum: int = 0) -> int:
    """Return the variable `name` as an integer of at least `minimum`."""
    value = os.environ.get(name)
    if not value:
        return default
    try:
        number = int(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name}={value!r} is not a whole number.") from None
    if number < minimum:
        raise ImproperlyConfigured(f"{name}={value} is too small: at least {minimum}.")
    return number


def names(name: str, default: str = "") -> list[str]:
    """Return the variable `name`, a list separated by commas, without empty items."""
    return [item.strip() for item in text(name, default).split(",") if item.strip()]


def chosen(name: str, choices: Collection[str]) -> list[str]:
    """Return the variable `name`, a list separated by commas, each item one of `choices`."""
    items = names(name)
    for item in items:
        if item not in choices:
            raise ImproperlyConfigured(f"{name}: {item!r} is none of {', '.join(choices)}.")
    return items


def service_urls(services: Collection[str]) -> dict[str, str]:
    """Return `SERVICE_<NAME>_URL` of each of `services`: where it runs, or nothing."""
    return {each: _base_url(f"SERVICE_{each.upper()}_URL") for each in services}


def _base_url(name: str) -> str:
    value = text(name).rstrip("/")
    parts = urlsplit(value)
    more = parts.path or parts.query or parts.fragment or parts.username
    if value and (parts.scheme not in {"http", "https"} or not parts.hostname or more):
        raise ImproperlyConfigured(f"{name}={value!r} must read http://HOST:PORT, without a path.")
    return value


def origins(name: str) -> list[str]:
    """Return the variable `name`, origins such as `https://app.example`, separated by commas."""
    items = names(name)
    for item in items:
        parts = urlsplit(item)
        if f"{parts.scheme}://{parts.netloc}" != item or parts.scheme not in {"http", "https"}:
            raise ImproperlyConfigured(f"{name}: {item!r} must read https://HOST, without a path.")
    return items


def shared_folder(name: str) -> str:
    """Return the variable `name`, a folder, created when it is missing; nothing when it is unset.

    An empty variable is removed: `prometheus_client` would take it for the current folder.
    """
    folder = text(name)
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
    else:
        os.environ.pop(name, None)
    return folder


def present(*candidates: str) -> list[str]:
    """Return those of `candidates` that are set to something."""
    return [name for name in candidates if os.environ.get(name)]


def rate(name: str, default: str) -> tuple[int, int]:
    """Return the variable `name`, such as `100/15m`, as (count, window in seconds)."""
    value = text(name, default)
    match = _RATE.match(value)
    if match is None or int(match["count"]) < 1 or match["length"] == "0":
        raise ImproperlyConfigured(
            f"{name}={value!r} is not a rate: write COUNT/WINDOW, such as 100/15m or 20/h."
        )
    return int(match["count"]), int(match["length"] or 1) * _UNIT_S[match["unit"]]


def data_dir() -> Path:
    """Return the folder of everything embedded (`DATA_DIR`), created when it is missing."""
    folder = Path(text("DATA_DIR", "var")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def secret_key(folder: Path) -> str:
    """Return `SECRET_KEY`, or a key made once and kept in `folder`, readable by its owner only."""
    return text("SECRET_KEY") or _kept(
        folder / "secret_key", make=lambda: secrets.token_urlsafe(50)
    )


def tree_head_key(folder: Path) -> str:
    """Return `TREE_HEAD_KEY`, or a key made once and kept in `folder` like `secret_key`.

    It is the seed of an Ed25519 key: 32 bytes in base64.
    """
    given = text("TREE_HEAD_KEY")
    if given:
        return _bytes_32("TREE_HEAD_KEY", given)
    made = _kept(folder / "tree_head_key", make=lambda: b64encode(secrets.token_bytes(32)).decode())
    return _bytes_32(str(folder / "tree_head_key"), made)


def former_tree_head_keys() -> list[str]:
    """Return `TREE_HEAD_FORMER_KEYS`: public keys of 32 bytes in base64."""
    return [_bytes_32("TREE_HEAD_FORMER_KEYS", key) for key in names("TREE_HEAD_FORMER_KEYS")]


def _bytes_32(name: str, value: str) -> str:
    try:
        length = len(b64decode(value, validate=True))
    except ValueError:
        length = 0
    if length != 32:
        raise ImproperlyConfigured(
            f"{name} must hold 32 bytes in base64, as `openssl rand -base64 32` makes them."
        )
    return value


def log_origin() -> str:
    """Return `LOG_ORIGIN`, the name under which the log signs (C2SP: no spaces, no plus sign)."""
    name = text("LOG_ORIGIN", "evenkeel.example/log")
    if not _ORIGIN.fullmatch(name):
        raise ImproperlyConfigured(
            f"LOG_ORIGIN={name!r} is not a name: write one like pay.example.com/log."
        )
    return name


def _kept(path: Path, *, make: Callable[[], str]) -> str:
    """Return what `path` holds, made when it is missing, by one process for all."""
    if not path.exists():
        # Written whole before it gets its name, so that no other process reads half of it.
        descriptor, temporary = mkstemp(dir=path.parent, prefix=f".{path.name}")
        with os.fdopen(descriptor, "w") as file:
            file.write(make())
        with suppress(FileExistsError):
            os.link(temporary, path)
        Path(temporary).unlink()
    return path.read_text().strip()


def _lock_timeout_s() -> int:
    return integer("DATABASE_LOCK_TIMEOUT_S", 8, minimum=1)


def database(name: str, *, embedded: Path) -> dict[str, Any]:
    """Return Django's settings of the primary store: `mysql://` when `name` is set, else SQLite.

    Args:
        name: the variable, such as `DATABASE_URL`.
        embedded: the SQLite file that stands in when the variable is unset.
    """
    url = text(name)
    if not url:
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(embedded),
            "CONN_MAX_AGE": None,
            "OPTIONS": {
                # A transaction that reads first and writes later would fail when another
                # writer came between; taking the write lock at once makes it wait instead.
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                # FULL: a commit that was answered survives a power cut.
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
            },
        }
    parts = urlsplit(url)
    if parts.scheme not in {"mysql", "mariadb"} or not parts.path.strip("/"):
        raise ImproperlyConfigured(f"{name} must read mysql://USER:PASSWORD@HOST:PORT/DATABASE.")
    return {
        "ENGINE": "platform_site.database.mysql",
        "NAME": parts.path.strip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "127.0.0.1",
        "PORT": parts.port or 3306,
        # Each request and each task gives its connection back to the pool, which checks it.
        "CONN_MAX_AGE": 0,
        "OPTIONS": {
            "charset": "utf8mb4",
            # Under REPEATABLE READ the sequencer's claim locks gaps and blocks inserts.
            "isolation_level": "read committed",
            "connect_timeout": DATABASE_CONNECT_TIMEOUT_S,
            # A server that has stopped, or a cable that was cut, says nothing at all.
            "read_timeout": integer("DATABASE_READ_TIMEOUT_S", 60),
            # A row that stays locked is tried for again within a request's time, and given up
            # then; the server's own 50 seconds are longer than any request has.
            "init_command": f"SET SESSION innodb_lock_wait_timeout = {_lock_timeout_s()}",
            "pool": _database_pool(),
        },
        "TEST": {"CHARSET": "utf8mb4"},
    }


def _database_pool() -> dict[str, float]:
    """Return this process's part of the connections to the primary store: see `PoolConfig`."""
    processes = integer("WEB_PROCESS_COUNT", 1, minimum=1)
    size_max = integer("DATABASE_POOL_SIZE_MAX", 20, minimum=1)
    size_min = integer("DATABASE_POOL_SIZE_MIN", 5)
    if size_min > size_max:
        raise ImproperlyConfigured(
            f"DATABASE_POOL_SIZE_MIN={size_min} is more than DATABASE_POOL_SIZE_MAX={size_max}."
        )
    return {
        "size_max": max(1, size_max // processes),
        "size_min": size_min // processes,
        "acquire_timeout_s": integer("DATABASE_POOL_ACQUIRE_TIMEOUT_S", 30, minimum=1),
        "idle_s": integer("DATABASE_POOL_IDLE_S", 300, minimum=1),
    }


def for_child(**changes: str) -> dict[str, str]:
    """Return the environment for a child process: this one's, with `changes`."""
    return {**os.environ, **changes}
