"""The whole gateway as a server runs it, called in the thread of a test.

Requests come in through ASGI. Where a web process would go to a thread, this stays where it is,
so that the views see the test's own transaction. Requests of several threads share breakers,
bulkheads and the limiter, each from an event loop of its own.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar
from urllib.parse import quote

from django.core.handlers.wsgi import WSGIRequest
from django.db import connections
from django.http import HttpResponse
from django.test import Client
from django.test.client import ClientHandler

from platform_site.gateway.messages import Handle
from platform_site.gateway.pipeline import build_gateway, build_refusal
from platform_site.gateway.remote import Remote
from platform_site.gateway.server import asgi
from platform_site.gateway.threads import Threads

P = ParamSpec("P")
R = TypeVar("R")
Application = Callable[..., Any]
Message = MutableMapping[str, Any]


class Here(Threads):
    """Calls what it is given at once, in the thread that asks."""

    def __init__(self) -> None:
        super().__init__(1, name="here")

    def start(
        self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> "asyncio.Future[R]":
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        try:
            with _as_in_a_thread(), _connections_kept():
                future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextlib.contextmanager
def _as_in_a_thread() -> Iterator[None]:
    """Let no loop run: where one does, Django has other connections, and refuses to use them."""
    loop = asyncio.get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)


@contextlib.contextmanager
def _connections_kept() -> Iterator[None]:
    """Keep a test's connections open at the end of a request, as Django's own client does."""
    kept = list(connections.all(initialized_only=True))
    for each in kept:
        each.close_if_unusable_or_obsolete = lambda: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        for each in kept:
            del each.close_if_unusable_or_obsolete


@contextlib.asynccontextmanager
async def no_upkeep() -> AsyncIterator[None]:
    """Keep nothing up."""
    yield


def gateway() -> Handle:
    """Return the gateway with the breakers and the limiter of this process."""
    return build_gateway(remote=Remote(), admission=Here(), work=Here())


def site() -> Application:
    """Return the gateway as the server is given it."""
    return asgi(gateway(), turn_away=build_refusal(), upkeep=no_upkeep())


@dataclass(slots=True)
class Answer:
    """What a server was told to send."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    is_complete: bool = False

    def note(self, message: Message) -> None:
        """Take one message of the application's."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [
                (name.decode(), value.decode("latin-1")) for name, value in message["headers"]
            ]
        else:
            self.body += message.get("body", b"")
            self.is_complete = not message.get("more_body", False)

    def __getitem__(self, name: str) -> str:
        """Return the one value of a header."""
        (value,) = (value for each, value in self.headers if each == name.lower())
        return value


def scope(
    method: str = "GET",
    target: str = "/",
    *,
    headers: Sequence[tuple[str, str]] = (),
    peer: str = "127.0.0.1",
    scheme: str = "http",
) -> dict[str, Any]:
    """Return what a server says of a request; `target` is its path and query as they are sent."""
    raw_path, _, query = target.partition("?")
    return {
        "type": "http",
        "method": method,
        "raw_path": raw_path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        "client": (peer, 1234),
        "scheme": scheme,
    }


async def exchange(
    application: Application, scope: Message, body: Iterable[bytes] = (b"",)
) -> Answer:
    """Return the answer to a request whose body comes in these parts."""
    parts = list(body) or [b""]
    answer = Answer()

    async def receive() -> Message:
        if not parts:
            await asyncio.Event().wait()  # The client stays, and says nothing more.
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message: Message) -> None:
        answer.note(message)

    await application(scope, receive, send)
    return answer


def ask(application: Application, scope: Message, body: Iterable[bytes] = (b"",)) -> Answer:
    """Return the answer, from an event loop made for it."""
    with asyncio.Runner() as runner:
        return runner.run(exchange(application, scope, body))


def answer_to(environ: dict[str, Any], *, by: Application) -> Answer:
    """Return the answer to what a WSGI environ says, as test clients make it."""
    headers = [
        (name[5:].replace("_", "-"), str(value))
        for name, value in environ.items()
        if name.startswith("HTTP_")
    ]
    if "HTTP_HOST" not in environ:
        headers.append(("host", environ.get("SERVER_NAME", "testserver")))
    headers += [
        (name.replace("_", "-"), str(environ[name]))
        for name in ("CONTENT_TYPE", "CONTENT_LENGTH")
        if environ.get(name)
    ]
    path = quote(environ.get("PATH_INFO", "/").encode("latin-1"), safe="/:@!$&'()*+,;=~-._")
    request = scope(
        environ["REQUEST_METHOD"],
        f"{path}?{environ.get('QUERY_STRING', '')}",
        headers=headers,
        peer=environ.get("REMOTE_ADDR", "127.0.0.1"),
        scheme=environ.get("wsgi.url_scheme", "http"),
    )
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return ask(by, request, [body])


def application(
    environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]
) -> Iterable[bytes]:
    """Answer by the gateway, as a WSGI application."""
    answer = answer_to(environ, by=site())
    start_response(f"{answer.status} .", answer.headers)
    return [answer.body]


class _Handler(ClientHandler):
    """What `Client` calls instead of Django."""

    def __init__(self) -> None:
        super().__init__(enforce_csrf_checks=True)
        self.site = site()

    def __call__(self, environ: dict[str, Any]) -> Any:
        answer = answer_to(environ, by=self.site)
        response = HttpResponse(answer.body, status=answer.status)
        response.headers.pop("Content-Type")
        response.wsgi_request = WSGIRequest(environ)  # type: ignore[attr-defined]
        for name, value in answer.headers:
            if name == "set-cookie":
                response.cookies.load(value)
            else:
                response.headers[name] = value
        return response


def clients(count: int, **defaults: Any) -> list[Client]:
    """Return clients for as many threads, on one gateway.

    Args:
        defaults: what each adds to the environment of its requests, such as `REMOTE_ADDR`.
    """
    handler = _Handler()
    made = [Client(raise_request_exception=False, **defaults) for _ in range(count)]
    for each in made:
        each.handler = handler
    return made
