"""Where the time of one HTTP transfer goes: middleware by middleware, statement by statement.

The whole chain in one process without the web server, one request at a time: what is measured is
the work itself, without the waiting that comes from load.
"""

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any
from uuid import uuid4

from benchmarks.load import Client

REQUESTS = 400
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
        self._layers = dict.fromkeys(self._layers, 0.0)
        self._parts.clear()
        self._statements.clear()
        started_s = time.perf_counter()
        with self._timed_database():
            for _ in range(REQUESTS):
                self._send(client)
        total_us = (time.perf_counter() - started_s) / REQUESTS * 1e6
        return "\n".join(self._lines(total_us))

    def _lines(self, total_us: float) -> Iterator[str]:
        yield f"one transfer, whole chain: {total_us:,.0f} us\n"
        yield f"{'layer, its own time':<75}{'us':>8}{'share':>8}"
        inner = [self._layers[name] / REQUESTS * 1e6 for name in self._order]
        inner.append(self._parts["view"] / REQUESTS * 1e6)
        inner.append(self._parts["bus"] / REQUESTS * 1e6)
        names = [*self._order, "view: serializers, presenter", "bus, with its statements"]
        for number, name in enumerate(names):
            below = inner[number + 1] if number + 1 < len(inner) else 0.0
            own_us = inner[number] - below
            yield f"{name:<75}{own_us:>8,.0f}{own_us / total_us:>8.1%}"
        yield f"\n{'statement':<75}{'us':>8}{'a req.':>8}"
        for statement, times in self._statements.items():
            mean_us = sum(times) / len(times) * 1e6
            yield f"{statement:<75}{mean_us:>8,.0f}{len(times) / REQUESTS:>8.1f}"
        database_us = sum(map(sum, self._statements.values())) / REQUESTS * 1e6
        yield f"{'all statements':<75}{database_us:>8,.0f}{database_us / total_us:>8.1%}"

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
        _time_method(base.BaseHandler, "_get_response", self._parts, "view")
        _time_method(CommandBus, "execute", self._parts, "bus")
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
            started_s = time.perf_counter()
            try:
                return middleware(request)
            finally:
                layers[path] += time.perf_counter() - started_s

        for hook in ("process_view", "process_template_response", "process_exception"):
            if hasattr(middleware, hook):
                setattr(call, hook, getattr(middleware, hook))
        return call

    return make


def _time_method(owner: type, name: str, parts: dict[str, float], part: str) -> None:
    plain = getattr(owner, name)

    def timed(self: Any, *arguments: Any, **named: Any) -> Any:
        started_s = time.perf_counter()
        try:
            return plain(self, *arguments, **named)
        finally:
            parts[part] += time.perf_counter() - started_s

    setattr(owner, name, timed)
