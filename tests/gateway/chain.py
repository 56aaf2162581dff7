"""The whole gateway, called in the thread of a test: as WSGI, which Django's client speaks.

Where a web process would go to a thread, this stays where it is, so that the views see the test's
own transaction. Requests of several threads share breakers, bulkheads and the limiter, each from
an event loop of its own.
"""

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar
from urllib.parse import quote

from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from django.test import Client
from django.test.client import ClientHandler

from platform_site.gateway.messages import Handle, Request, Response
from platform_site.gateway.pipeline import build_gateway
from platform_site.gateway.remote import Remote
from platform_site.gateway.threads import Threads

P = ParamSpec("P")
R = TypeVar("R")

# Django refuses queries where a loop runs, for fear of blocking it; here it serves one request.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"


class Here(Threads):
    """Calls what it is given at once, in the thread that asks."""

    def __init__(self) -> None:
        super().__init__(1, name="here")

    def start(
        self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> "asyncio.Future[R]":
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def gateway() -> Handle:
    """Return the gateway with the breakers and the limiter of this process."""
    return build_gateway(remote=Remote(), admission=Here(), work=Here())


def answer(handle: Handle, request: Request) -> Response:
    """Return the whole answer to `request`, its stream read to the end."""

    async def run() -> Response:
        response = await handle(request)
        if not isinstance(response.body, bytes):
            response.body = b"".join([part async for part in response.body])
        return response

    with asyncio.Runner() as runner:
        return runner.run(run())


def request_of(environ: dict[str, Any]) -> Request:
    """Return the gateway's request for a WSGI environ."""
    headers = {
        name[5:].lower().replace("_", "-"): str(value)
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    headers.setdefault("host", environ.get("SERVER_NAME", "testserver"))
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            headers[name.lower().replace("_", "-")] = str(environ[name])
    path = environ.get("PATH_INFO", "/").encode("latin-1")

    async def read() -> bytes:
        part: bytes = environ["wsgi.input"].read(65_536)
        return part

    return Request(
        method=environ["REQUEST_METHOD"],
        raw_path=quote(path, safe="/:@!$&'()*+,;=~-._"),
        query=environ.get("QUERY_STRING", ""),
        headers=headers,
        peer=environ.get("REMOTE_ADDR", "127.0.0.1"),
        scheme=environ.get("wsgi.url_scheme", "http"),
        read=read,
    )


def application(
    environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]
) -> Iterable[bytes]:
    """Answer by the gateway, as a WSGI application."""
    response = answer(gateway(), request_of(environ))
    headers = [*response.headers.items(), *(("set-cookie", each) for each in response.cookies)]
    start_response(f"{response.status} .", headers)
    return [response.body if isinstance(response.body, bytes) else b""]


class _Handler(ClientHandler):
    """What `Client` calls instead of Django."""

    def __init__(self) -> None:
        super().__init__(enforce_csrf_checks=False)
        self.handle = gateway()

    def __call__(self, environ: dict[str, Any]) -> Any:
        response = answer(self.handle, request_of(environ))
        body = response.body if isinstance(response.body, bytes) else b""
        django_response = HttpResponse(body, status=response.status)
        django_response.headers.pop("Content-Type")
        django_response.wsgi_request = WSGIRequest(environ)  # type: ignore[attr-defined]
        for name, value in response.headers.items():
            django_response.headers[name] = value
        return django_response


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
