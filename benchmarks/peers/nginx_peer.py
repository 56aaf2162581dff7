"""nginx, which does less than the product and in C: no gateway in Python comes near it."""

import contextlib
import getpass
import os
from collections.abc import Iterator
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from benchmarks.databases import free_port, program
from benchmarks.gateway_site.upstream import ANSWER
from benchmarks.servers import Server, http_server

SOURCE = Path(__file__).absolute().with_name("nginx") / "nginx.conf"


@contextlib.contextmanager
def nginx(folder: Path, *, upstream_url: str) -> Iterator[Server]:
    """Run it with its files in `folder`.

    Raises:
        Skipped: it is not installed, or did not start.
    """
    argv = [program("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    folder.mkdir()
    port = free_port()
    configuration = Template(SOURCE.read_text()).substitute(
        user=getpass.getuser(), folder=folder, port=port, upstream=urlsplit(upstream_url).netloc
    )
    (folder / "nginx.conf").write_text(configuration)
    (folder / "answer.json").write_bytes(ANSWER)
    with http_server(
        argv,
        port=port,
        probe="/api/payments/stub",
        cwd=folder,
        env=os.environ,
        log=folder / "log",
    ) as server:
        yield server
