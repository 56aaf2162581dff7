"""Where the time of one HTTP request goes: step by step of the gateway, middleware by middleware.

The whole chain in one process without the web server, one request at a time: what is measured is
the work itself, without the waiting that comes from load. Layers are measured by the processor
time of this process with all its threads, which others on the machine do not disturb; statements
by the clock, because their work is done by the database.
"""

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from statistics import median
from typing import Any

from benchmarks.load import Client

REQUESTS = 400
# What answers at once is asked more often.
READS = 3000
WARM_UP = 50
# How often a clock is set around nothing, to see what the clock takes.
CLOCKED = 10_000
STATEMENT_LENGTH_MAX = 70
_NAMES = re.compile(r"[`\"]")
# One request: its method, its path, its fields by name in lower case, and its body.
Sent = tuple[str, str, dict[str, str], bytes]
Application = Callable[..., Coroutine[Any, Any, None]]


class Layers:
    """The processor time of each layer, the layers inside of it included, from the outside in."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.spent_s: list[float] = []

    def add(self, name: str, *, at: int | None = None) -> int:
        """Add a layer inside of all others, or at a place of its own; return its place."""
        place = len(self.names) if at is None else at
        self.names.insert(place, name)
        self.spent_s.insert(place, 0.0)
        return place

    def clear(self) -> None:
        """Forget what was spent."""
        self.spent_s = [0.0] * len(self.names)

    @contextmanager
    def clock(self, name: str) -> Iterator[None]:
        """Add what the block spends to the layer."""
        started_s = time.process_time()
        try:
            yield
        finally:
            self.spent_s[self.names.index(name)] += time.process_time() - started_s


class RequestProfile:
    """Builds the site in this process.

    Args:
        by_function: for a profile by function: everything happens in the thread that calls, and
            no clock is put around anything.
    """

    def __init__(self, *, by_function: bool = False) -> None:
        import django
        import uvloop

        django.setup()
        self._layers = Layers()
        self._statements: dict[str, list[float]] = defaultdict(list)
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._application = _in_this_thread() if by_function else self._clocked()
        self._life = self._runner.run(_start(self._application))

    def reads(self, *, path: str) -> str:
        """Read an address; return what each layer took of one request."""
        return self._table([_read(path)] * READS, "200")

    def read(self, *, path: str) -> None:
        """Read an address, for a profile by function."""
        self._runner.run(_send_all(self._application, [_read(path)] * READS, "200"))

    def table(self, *, secret: str, accounts: list[str]) -> str:
        """Send transfers; return what each layer and each statement took of one."""
        client = Client(url="http://localhost", secret=secret, accounts=accounts)
        return self._table([_transfer(client) for _ in range(WARM_UP + REQUESTS)], "201")

    def _table(self, requests: Sequence[Sent], status: str) -> str:
        self._runner.run(_send_all(self._application, requests[:WARM_UP], status))
        self._layers.clear()
        self._statements.clear()
        counted = requests[WARM_UP:]
        started_s, started_cpu_s = time.perf_counter(), time.process_time()
        self._runner.run(_send_all(self._application, counted, status))
        cpu_us = (time.process_time() - started_cpu_s) / len(counted) * 1e6
        elapsed_us = (time.perf_counter() - started_s) / len(counted) * 1e6
        return "\n".join(self._lines(len(counted), cpu_us, elapsed_us))

    def _lines(self, count: int, cpu_us: float, elapsed_us: float) -> Iterator[str]:
        clock_us = _clock_us()
        yield f"one request: {elapsed_us:,.0f} us, of which this process computes {cpu_us:,.0f};"
        yield f"the clock of each layer takes {clock_us:.1f} of that, which is left out here\n"
        yield f"{'layer, processor time of its own':<75}{'us':>8}{'share':>8}"
        spent = [(name, s / count * 1e6) for name, s in self._passed()]
        for (name, own_us), (_, below_us) in pairwise([*spent, ("", 0.0)]):
            alone_us = own_us - below_us - (clock_us if below_us else 0.0)
            yield f"{name:<75}{alone_us:>8,.1f}{alone_us / cpu_us:>8.1%}"
        if not self._statements:
            return
        yield f"\n{'statement, median':<75}{'us':>8}{'a req.':>8}"
        all_us = 0.0
        for statement, times_s in self._statements.items():
            each_us = median(times_s) * 1e6
            all_us += each_us * len(times_s) / count
            yield f"{statement:<75}{each_us:>8,.0f}{len(times_s) / count:>8.1f}"
        yield f"{'all statements':<75}{all_us:>8,.0f}{all_us / elapsed_us:>8.1%}"

    def _passed(self) -> list[tuple[str, float]]:
        """Return the layers that a request came through: one to another process passes few."""
        layers = zip(self._layers.names, self._layers.spent_s, strict=True)
        return [(name, spent_s) for name, spent_s in layers if spent_s]

    def _clocked(self) -> Application:
        """Return the ASGI application, with a clock around each step, middleware and part."""
        from django.core.handlers import base

        from eventstore.bus import CommandBus
        from platform_site.gateway import pipeline

        self._layers.add("ASGI")
        build = pipeline.build_gateway
        # What the site's own module builds its application with.
        pipeline.build_gateway = lambda **given: self._clocked_steps(build(**given))
        from platform_site import asgi

        self._clock_method(base.BaseHandler, "get_response", "Django's handler")
        inside = len(self._layers.names)
        self._clock_method(base.BaseHandler, "_get_response", "view, what it calls but the bus")
        self._clock_method(CommandBus, "execute", "bus")
        self._clock_middleware(at=inside)
        self._clock_statements()

        async def application(*arguments: Any) -> None:
            with self._layers.clock("ASGI"):
                await asgi.application(*arguments)

        return application

    def _clocked_steps(self, handle: Any) -> Any:
        """Return the chain of steps with a clock around each; the last one holds no other."""
        is_last = not isinstance(handle, partial)
        step = handle if is_last else handle.func
        name = f"step {getattr(step, '__name__', type(step).__name__).lower()}"
        if name in self._layers.names:
            name += ", inner"
        self._layers.add(name)
        within = (
            step
            if is_last
            else partial(step, handle=self._clocked_steps(handle.keywords["handle"]))
        )

        async def clocked(request: Any) -> Any:
            with self._layers.clock(name):
                return await within(request)

        return clocked

    def _clock_middleware(self, *, at: int) -> None:
        """Build Django's chain, which is kept, with a clock around each middleware."""
        from django.core.handlers import base

        from platform_site.gateway.local import django

        # Where Django's handler looks it up when it builds the chain, from the inside out.
        names = vars(base)
        plain = names["import_string"]

        def import_clocked(path: str) -> Any:
            self._layers.add(path, at=at)
            return _clocked_factory(plain(path), self._layers, path)

        names["import_string"] = import_clocked
        try:
            django()
        finally:
            names["import_string"] = plain

    def _clock_method(self, owner: type, method: str, name: str) -> None:
        plain = getattr(owner, method)
        self._layers.add(name)

        def clocked(this: Any, *arguments: Any, **named: Any) -> Any:
            with self._layers.clock(name):
                return plain(this, *arguments, **named)

        setattr(owner, method, clocked)

    def _clock_statements(self) -> None:
        """Put a clock around every statement of every connection, and around every commit."""
        from django.db.backends.base.base import BaseDatabaseWrapper
        from django.db.backends.signals import connection_created

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

        def watch(connection: Any, **_: Any) -> None:
            if clock not in connection.execute_wrappers:
                connection.execute_wrappers.append(clock)

        commit = BaseDatabaseWrapper._commit  # type: ignore[attr-defined]

        def clocked_commit(connection: Any) -> None:
            started_s = time.perf_counter()
            commit(connection)
            self._statements["COMMIT"].append(time.perf_counter() - started_s)

        BaseDatabaseWrapper._commit = clocked_commit  # type: ignore[attr-defined]
        connection_created.connect(watch, weak=False)


def _in_this_thread() -> Application:
    """Return the ASGI application that goes to no other thread, where no profile would see it."""
    from platform_site.gateway.threads import Threads

    def start(_: Threads, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        future = asyncio.get_running_loop().create_future()
        future.set_result(function(*args, **kwargs))
        return future

    Threads.start = start  # type: ignore[method-assign]
    from platform_site import asgi

    application: Application = asgi.application
    return application


async def _start(application: Application) -> "asyncio.Task[None]":
    """Tell the application that the server starts; return what keeps it up."""
    started = asyncio.Event()

    async def receive() -> MutableMapping[str, Any]:
        if started.is_set():
            await asyncio.Event().wait()
        return {"type": "lifespan.startup"}

    async def send(_: MutableMapping[str, Any]) -> None:
        started.set()

    life = asyncio.create_task(application({"type": "lifespan"}, receive, send))
    await started.wait()
    return life


def _clock_us() -> float:
    """Return what a clock takes of the time of the layer around it."""
    layers = Layers()
    layers.add("nothing")
    started_s = time.process_time()
    for _ in range(CLOCKED):
        with layers.clock("nothing"):
            pass
    return (time.process_time() - started_s) / CLOCKED * 1e6


def _read(path: str) -> Sent:
    return ("GET", path, {"host": "localhost", "accept-encoding": "gzip, br"}, b"")


def _transfer(client: Client) -> Sent:
    head, _, body = client.request().partition(b"\r\n\r\n")
    lines = (line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    return ("POST", "/api/transactions", {name.lower(): value for name, value in lines}, body)


async def _send_all(application: Application, requests: Sequence[Sent], status: str) -> None:
    for method, path, headers, body in requests:
        scope = {
            "type": "http",
            "method": method,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "scheme": "http",
        }
        said: list[MutableMapping[str, Any]] = []

        async def receive(body: bytes = body) -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: MutableMapping[str, Any], said: list[Any] = said) -> None:
            said.append(message)

        await application(scope, receive, send)
        if str(said[0]["status"]) != status:
            raise RuntimeError(f"a request was answered with {said[1].get('body', b'')[:300]!r}")


def _clocked_factory(factory: Any, layers: Layers, path: str) -> Any:
    """Return a factory of middleware whose calls are clocked, what is inside them included."""

    def make(get_response: Callable[[Any], Any]) -> Any:
        middleware = factory(get_response)
        if middleware is None:
            return None

        def call(request: Any) -> Any:
            with layers.clock(path):
                return middleware(request)

        for hook in ("process_view", "process_template_response", "process_exception"):
            if hasattr(middleware, hook):
                setattr(call, hook, getattr(middleware, hook))
        return call

    return make
