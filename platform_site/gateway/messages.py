"""A request and an answer as the gateway sees them, before and after any framework."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import unquote_to_bytes

from eventstore.errors import PlatformError
from platform_site.gateway.addresses import API
from users.identity import ANONYMOUS, Caller


async def no_body() -> bytes:
    """Give the end of a body: what a request without one is read from."""
    return b""


@dataclass(slots=True, kw_only=True, eq=False)
class Request:
    """One request on its way through the gateway.

    Args:
        method: such as `GET`.
        raw_path: the path as it was sent, percent-encoding and all.
        query: the query as it was sent, without its question mark.
        headers: the fields by name in lower case; several of one name are joined, by commas or,
            for cookies, by semicolons.
        peer: the address that the connection comes from; nothing for a local socket.
        scheme: `http` or `https`.
        read: gives the next part of the body, and nothing at its end.

    Attributes:
        from_gateway: whether another gateway of ours has passed it on: it was counted there.
        request_id: the id under which the log and the client know this request.
        traceparent: the caller's W3C trace context, if it sent a valid one.
        service: the first segment under `/api/`, or nothing outside of it.
        caller: who is calling; anonymous until somebody has asked, and without credentials.
        credentials_error: why the credentials were refused, if they were.
        body: what has been read of the body: all of it, unless `rest` gives more.
        rest: gives the parts of a long body behind `body`.
        route: the pattern of the address, such as `api/accounts/<uuid:account>`, once resolved.
        working_since_s: when its service began to work on it, by the monotonic clock.
    """

    method: str
    raw_path: str
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    peer: str = ""
    scheme: str = "http"
    read: Callable[[], Awaitable[bytes]] = no_body
    path: str = field(init=False)
    from_gateway: bool = False
    request_id: str = ""
    traceparent: str | None = None
    service: str = field(init=False)
    caller: Caller = ANONYMOUS
    credentials_error: PlatformError | None = None
    body: bytes = b""
    rest: AsyncIterator[bytes] | None = None
    route: str | None = None
    working_since_s: float | None = None

    def __post_init__(self) -> None:
        raw = self.raw_path
        # Decoded once, as Django decodes it: every spelling of an address is the same address.
        self.path = unquote_to_bytes(raw).decode("utf-8", "replace") if "%" in raw else raw
        self.service = self.path[len(API) :].split("/", 1)[0] if self.path.startswith(API) else ""


@dataclass(slots=True, kw_only=True, eq=False)
class Response:
    """An answer on its way back.

    Args:
        status: the HTTP status.
        headers: the fields by name in lower case, cookies apart.
        body: all of it, or its parts as they are made; the parts are closed by whoever sends them.
        cookies: the values of `Set-Cookie`, which must not be joined.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | AsyncIterator[bytes] = b""
    cookies: list[str] = field(default_factory=list)


Handle = Callable[[Request], Awaitable[Response]]


class Step(Protocol):
    """One step of the gateway: does its part, and has the rest done by `handle`."""

    def __call__(self, request: Request, handle: Handle) -> Awaitable[Response]:
        """Return the answer."""


def joined(pairs: Mapping[str, str], name: str, value: str) -> str:
    """Return what the field `name` holds once another line of it brings `value`."""
    if name not in pairs:
        return value
    return f"{pairs[name]}{'; ' if name == 'cookie' else ', '}{value}"
