"""Where the time of one HTTP transfer goes: middleware by middleware, statement by statement.

The whole chain in one process without the web server, one request at a time: what is measured is
the work itself, without the waiting that comes from load. Layers are measured by the processor
time of this process, which others on the machine do not disturb; statements by the clock, because
their work is done by the database.
"""

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import pairwise
from statistics import median
from typing import Any
from uuid import uuid4

from benchmarks.load import Client

REQUESTS = 400
PARTS = ("view", "bus")
WARM_UP = 50
STATEMENT_LENGTH_MAX = 70
_NAMES = re.compile(r"[`\"]")


class RequestProfile:
    """Builds the site in this process, with a clock around every layer."""

    def __init__(self) -> None:
        import django

        django.setup()
        self._layers: dict[str, float] = {}
        self._order: list[str] = []
        self._parts: dict[str, float] = defaultdict(float)
        self._statements: dict[str, list[float]] = defaultdict(list)
        self._handler = self._timed_handler()

    def table(self, *, secret: str, accounts: list[str]) -> str:
        """Send transfers through the chain; return what each layer and statement took."""
        client = Client(url="http://localhost", secret=secret, accounts=accounts)
        for _ in range(WARM_UP):
            self._send(client)
        self._layers.update(dict.fromkeys(self._layers, 0.0))
        self._parts.clear()
        self._statements.clear()
        started_s, started_cpu_s = time.perf_counter(), time.thread_time()
        with self._timed_database():
            for _ in range(REQUESTS):
                self._send(client)
        cpu_us = (time.thread_time() - started_cpu_s) / REQUESTS * 1e6
        elapsed_us = (time.perf_counter() - started_s) / REQUESTS * 1e6
        return "\n".join(self._lines(cpu_us, elapsed_us))

    def _lines(self, cpu_us: float, elapsed_us: float) -> Iterator[str]:
        yield f"one transfer: {elapsed_us:,.0f} us, of which this process computes {cpu_us:,.0f}\n"
        yield f"{'layer, processor time of its own':<75}{'us':>8}{'share':>8}"
        names = ["Django's handler", *self._order, "view, with what it calls but the bus", "bus"]
        measured = [*(self._layers[name] for name in self._order), *map(self._parts.get, PARTS)]
        inclusive_us = [cpu_us, *((each or 0.0) / REQUESTS * 1e6 for each in measured), 0.0]
        for name, (own_us, below_us) in zip(names, pairwise(inclusive_us), strict=True):
            alone_us = own_us - below_us
            yield f"{name:<75}{alone_us:>8,.0f}{alone_us / cpu_us:>8.1%}"
        yield f"\n{'statement, median':<75}{'us':>8}{'a req.':>8}"
        all_us = 0.0
        for statement, times_s in self._statements.items():
            each_us = median(times_s) * 1e6
            all_us += each_us * len(times_s) / REQUESTS
            yield f"{statement:<75}{each_us:>8,.0f}{len(times_s) / REQUESTS:>8.1f}"
        yield f"{'all statements':<75}{all_us:>8,.0f}{all_us / elapsed_us:>8.1%}"

    def _send(self, client: Client) -> None:
        head, _, body = client.request().partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        environ = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/api/transactions",
            "QUERY_STRING": "",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "localhost",
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_AUTHORIZATION": headers["Authorization"],
            "HTTP_IDEMPOTENCY_KEY": str(uuid4()),
            "wsgi.input": BytesIO(body),
            "wsgi.errors": BytesIO(),
            "wsgi.url_scheme": "http",
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            "wsgi.version": (1, 0),
        }
        said: list[str] = []
        answer = self._handler(environ, lambda status, _headers, _error=None: said.append(status))
        text = b"".join(answer)
        answer.close()
        if not said[0].startswith("201"):
            raise RuntimeError(f"a transfer was answered with {text[:300]!r}")

    def _timed_handler(self) -> Any:
        """Return the WSGI handler of the site, with a clock around each middleware."""
        from django.core.handlers import base, wsgi

        from eventstore.bus import CommandBus

        _time_method(base.BaseHandler, "_get_response", self._parts, "view")
        _time_method(CommandBus, "execute", self._parts, "bus")
        # Where Django's handler looks it up when it builds the chain.
        names = vars(base)
        plain = names["import_string"]

        def import_timed(path: str) -> Any:
            self._layers[path] = 0.0
            self._order.insert(0, path)
            return _timed_factory(plain(path), self._layers, path)

        names["import_string"] = import_timed
        try:
            handler = wsgi.WSGIHandler()
        finally:
            names["import_string"] = plain
        return handler

    @contextmanager
    def _timed_database(self) -> Iterator[None]:
        from django.db import connections

        connection: Any = connections["default"]

        def clock(
            execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
        ) -> Any:
            started_s = time.perf_counter()
            try:
                return execute(sql, params, many, context)
            finally:
                took_s = time.perf_counter() - started_s
                short = _NAMES.sub("", " ".join(sql.split()))[:STATEMENT_LENGTH_MAX]
                self._statements[short].append(took_s)

        commit = connection._commit

        def timed_commit() -> None:
            started_s = time.perf_counter()
            commit()
            self._statements["COMMIT"].append(time.perf_counter() - started_s)

        connection._commit = timed_commit
        with connection.execute_wrapper(clock):
            yield
        connection._commit = commit


def _timed_factory(factory: Any, layers: dict[str, float], path: str) -> Any:
    """Return a factory of middleware whose calls are timed, what is inside them included."""

    def make(get_response: Callable[[Any], Any]) -> Any:
        middleware = factory(get_response)
        if middleware is None:
            return None

        def call(request: Any) -> Any:
            started_s = time.thread_time()
            try:
                return middleware(request)
            finally:
                layers[path] += time.thread_time() - started_s

        for hook in ("process_view", "process_template_response", "process_exception"):
            if hasattr(middleware, hook):
                setattr(call, hook, getattr(middleware, hook))
        return call

    return make


def _time_method(owner: type, name: str, parts: dict[str, float], part: str) -> None:
    plain = getattr(owner, name)

    def timed(self: Any, *arguments: Any, **named: Any) -> Any:
        started_s = time.thread_time()
        try:
            return plain(self, *arguments, **named)
        finally:
            parts[part] += time.thread_time() - started_s

    setattr(owner, name, timed)
