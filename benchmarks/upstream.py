"""The process that requests are proxied to, whoever proxies them."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.databases import HOST, free_port
from benchmarks.servers import Server, http_server

PROJECT = Path(__file__).absolute().parents[1]


@contextlib.contextmanager
def upstream(folder: Path) -> Iterator[Server]:
    """Run the stub of `benchmarks.gateway_site`."""
    port = free_port()
    argv = [
        sys.executable, "-m", "granian", "--interface=rsgi", "--loop=uvloop", "--workers=1",
        f"--host={HOST}", f"--port={port}", "--no-ws", "--backpressure=1024",
        "benchmarks.gateway_site.upstream:application",
    ]  # fmt: skip
    with http_server(
        argv, port=port, probe="/", cwd=PROJECT, env=os.environ, log=folder / "upstream.log"
    ) as server:
        yield server
