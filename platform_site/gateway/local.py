"""Answer a request by Django, in a thread: the services of this process, the admin, the manual."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

from django.conf import settings
from django.core import signals
from django.core.cache import close_caches
from django.core.handlers.base import reset_urlconf
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.db import close_old_connections, reset_queries
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from platform_site.gateway.messages import Request, Response
from platform_site.gateway.threads import Threads

# Where Django's side finds the request of the gateway's; no header can have this name.
REQUEST_KEY = "evenkeel.request"


@cache
def django() -> WSGIHandler:
    """Return Django's chain of middleware and views, built at the first request.

    What Django itself does at the beginning and the end of each request is left to its end, and
    there to the one thing that matters here: connections go back to their pool. The rest is for
    what this site has not (an address table of a request's own, caches to be closed), and takes
    longer than the whole gateway.
    """
    signals.request_started.disconnect(close_old_connections)
    signals.request_finished.disconnect(reset_urlconf)
    signals.request_finished.disconnect(close_caches)
    if not settings.DEBUG:
        signals.request_started.disconnect(reset_queries)
    return WSGIHandler()


def respond(request: Request) -> HttpResponseBase:
    """Return Django's answer; to be called in a thread.

    The connection to the database goes back to its pool before the answer is sent, unless the
    answer is a stream, which gives it back part by part.
    """
    handler = django()
    environ = environ_of(request)
    signals.request_started.send(sender=WSGIHandler, environ=environ)
    django_request = WSGIRequest(environ)
    response = handler.get_response(django_request)
    match = django_request.resolver_match
    request.route = match.route if match else None
    if not response.streaming:
        response.close()
    return response


def environ_of(request: Request) -> dict[str, Any]:
    """Return the CGI variables of a request, with its body in memory.

    Source: PEP 3333, environ variables; RFC 3875, section 4.1.18, for the names of headers.
    """
    path = request.raw_path
    if "%" in path:
        path = unquote_to_bytes(path).decode("latin-1")
    host, _, port = request.headers.get("host", "localhost").partition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": request.query,
        "SERVER_NAME": host,
        "SERVER_PORT": port or ("443" if request.scheme == "https" else "80"),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": request.peer,
        "wsgi.url_scheme": request.scheme,
        "wsgi.input": BytesIO(request.body),
        REQUEST_KEY: request,
    }
    for name, value in request.headers.items():
        environ[_variable(name)] = value
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    environ["CONTENT_LENGTH"] = str(len(request.body)) if request.body else ""
    return environ


@cache
def _variable_of_known(name: str) -> str:
    return _spelled(name)


# So that strangers cannot fill the cache above with names of their own.
_KNOWN = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "host",
        "idempotency-key",
        "if-match",
        "if-none-match",
        "traceparent",
        "user-agent",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-request-id",
    }
)


def _variable(name: str) -> str:
    return _variable_of_known(name) if name in _KNOWN else _spelled(name)


def _spelled(name: str) -> str:
    spelled = name.upper().replace("-", "_")
    return spelled if spelled in {"CONTENT_LENGTH", "CONTENT_TYPE"} else f"HTTP_{spelled}"


def from_django(response: HttpResponse) -> Response:
    """Return an answer of Django's that is whole as the gateway's."""
    return _as_response(response, response.content)


def from_view(response: HttpResponseBase, threads: Threads) -> Response:
    """Return any answer of Django's as the gateway's; the parts of a stream come from `threads`."""
    if isinstance(response, StreamingHttpResponse):
        return _as_response(response, Parts(response, threads))
    return _as_response(response, b"".join(response))


def _as_response(response: HttpResponseBase, body: bytes | AsyncIterator[bytes]) -> Response:
    return Response(
        status=response.status_code,
        headers={name.lower(): value for name, value in response.headers.items()},
        body=body,
        cookies=[morsel.OutputString() for morsel in response.cookies.values()],
    )


class Parts:
    """The parts of a stream, each made in a thread, none before it is asked for.

    Not a generator: that would not give anything back when it is closed before it has begun, as
    for HEAD.
    """

    def __init__(self, response: StreamingHttpResponse, threads: Threads) -> None:
        self._response = response
        self._threads = threads
        self._iterator: Iterator[bytes] | None = None
        self._next: asyncio.Future[bytes | None] | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next part."""
        if self._iterator is None:
            self._iterator = iter(self._response)
        following: Callable[[Iterator[bytes], None], bytes | None] = next
        self._next = self._threads.start(following, self._iterator, None)
        # Whoever gives up waiting does not end the thread; see `aclose`.
        part = await asyncio.shield(self._next)
        if part is None:
            raise StopAsyncIteration
        return part

    async def aclose(self) -> None:
        """Close the view's iterator, and give its connection to the database back."""
        if self._next is not None:
            # What a thread is working on cannot be closed.
            await asyncio.wait([self._next])
        await self._threads.run(self._response.close)
