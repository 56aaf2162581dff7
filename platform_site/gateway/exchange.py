"""Send one request to another process, once, and take its answer in.

Source: RFC 9110 and RFC 9112. The framing of the request is made here: nothing of the framing
with which it came is sent on, so both ends read one and the same request.
"""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp
from yarl import URL

from eventstore.errors import PlatformError
from platform_site.gateway import services
from platform_site.gateway.fields import BadField, answer_fields, request_fields
from platform_site.gateway.hops import HEADER, header_for
from platform_site.gateway.messages import Request, Response
from platform_site.gateway.services import TIMEOUT_HEADER
from platform_site.gateway.streams import Nothing

# An answer that says it is no longer than this is here before any of it is passed on.
WHOLE_BYTES_MAX = 64 * 1024
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))


class BadTarget(PlatformError):
    """The path would run into the name of the host."""

    code = "bad_request"


class NotConnected(Exception):
    """There was no connection, so no byte of the request was sent."""


class Lost(Exception):
    """The connection broke, with the request on its way, or done."""


class Failed(Exception):
    """What came back is no answer, or nothing came back in time."""


@dataclass(slots=True, kw_only=True)
class Answer:
    """The answer of another process: all of it, or its head and the first part of its body."""

    response: Response
    origin: aiohttp.ClientResponse | None = None
    first: bytes = b""


class Upload:
    """The body of a request on its way to another process.

    Attributes:
        error: what the client did wrong while it sent the rest.
        is_waiting: whether the next part has to come from the client.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self.error: Exception | None = None
        self.is_waiting = False

    def data(self) -> bytes | AsyncIterator[bytes] | None:
        """Return the body as the client of HTTP takes it."""
        if self._request.rest is None:
            return self._request.body or None
        return self._parts(self._request.rest)

    async def _parts(self, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        yield self._request.body
        self.is_waiting = True
        try:
            async for part in rest:
                self.is_waiting = False
                yield part
                self.is_waiting = True
        except Exception as error:
            self.error = error
            raise
        self.is_waiting = False


async def exchange(
    session: aiohttp.ClientSession, base_url: str, request: Request, upload: Upload
) -> Answer:
    """Return the answer to a request: all of it, or the beginning of a long one.

    Raises:
        BadTarget: the request has no path.
        NotConnected: nothing listens there.
        Lost: the connection broke.
        Failed: what came back is no answer, or did not come in time.
    """
    target = _target(request)
    try:
        origin = await session.request(
            request.method,
            URL(base_url + target, encoded=True),
            headers=_headers(request, target),
            data=upload.data(),
            allow_redirects=False,
        )
        try:
            return await _answer(origin, request.method)
        except BaseException:
            origin.close()
            raise
    except aiohttp.ClientConnectorError as error:
        raise NotConnected from error
    except (aiohttp.ServerTimeoutError, BadField) as error:
        raise Failed from error
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, OSError) as error:
        raise Lost from error
    except (aiohttp.ClientError, ValueError) as error:
        raise Failed from error


def _target(request: Request) -> str:
    """Return path and query as they came: not one encoded slash or double one is touched."""
    target = f"{request.raw_path}?{request.query}" if request.query else request.raw_path
    if not target.startswith("/"):
        raise BadTarget("The path of a request begins with a slash.")
    # UTF-8 that was not encoded; whoever decodes it reads the same.
    return target if target.isascii() else quote(target.encode("latin-1"), safe=_PRINTABLE)


def _headers(request: Request, target: str) -> dict[str, str]:
    headers = request_fields(request.headers)
    headers["x-request-id"] = request.request_id
    headers[TIMEOUT_HEADER] = str(int(services.remaining_s() * 1000))
    headers.pop("traceparent", None)
    if request.traceparent is not None:
        headers["traceparent"] = request.traceparent
    length = request.headers.get("content-length", "")
    if request.rest is not None and length:
        headers["content-length"] = length
    headers[HEADER] = header_for(request, headers, target=target, now_s=time.time())
    return headers


async def _answer(origin: aiohttp.ClientResponse, method: str) -> Answer:
    headers, cookies = answer_fields(origin.raw_headers)
    if origin.status < 200:
        raise BadField("An answer that nobody asked for: a change of the protocol.")
    length = origin.content_length
    response = Response(status=origin.status, headers=headers, cookies=cookies)
    if method == "HEAD" or origin.status in {204, 304}:
        await origin.read()
        response.body = b"" if length is not None else Nothing()
    elif length is not None and length <= WHOLE_BYTES_MAX:
        response.body = await origin.read()
    elif length is None and "chunked" not in origin.headers.get("transfer-encoding", ""):
        # It would end with its connection, whether it is at its end or not.
        raise BadField("An answer without a length.")
    else:
        return Answer(response=response, origin=origin, first=await origin.content.readany())
    return Answer(response=response)
