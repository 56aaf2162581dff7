"""Pass a request on to another process of ours, and its answer back.

In the event loop, through connections that are kept for each service. What protects the service
is held for as long as it works: the slot until the last byte of its answer has come, see Note
[A client that takes its time] in `platform_site.gateway.streams`.
"""

import asyncio
import logging
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
from platform_site.gateway.metrics import MetricsListener
from platform_site.gateway.services import TIMEOUT_HEADER, Service
from platform_site.gateway.streams import SLOW_STREAMS_MAX, Nothing, SlowStreams, Stream
from resilience import DeadlineExceeded, Permit, RetryConfig, RetryWithBackoff, Slot

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 2.0
# A process that says nothing for this long, in the middle of an answer, has broken off.
READ_TIMEOUT_S = 30.0
# Shorter than servers keep a silent connection (granian: 30 s), so that none is used at the
# moment at which the other end closes it.
IDLE_TIMEOUT_S = 10.0
# An answer that says it is no longer than this is here before any of it is passed on.
WHOLE_BYTES_MAX = 64 * 1024
# A call that was given less time than this says nothing about the service when it is over.
TELLING_S = 1.0
# RFC 9110, section 9.2.1: to ask again changes nothing.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
# aiohttp would add these where the client sent none.
_NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class ServiceUnreachable(PlatformError):
    """The process that answers for a service is away, or what it sends is no answer."""

    code = "service_unavailable"
    retryable = True


class _NotConnected(Exception):
    """There was no connection, so no byte of the request was sent."""


class _Lost(Exception):
    """The connection broke, with the request on its way, or done."""


class _Failed(Exception):
    """What came back is no answer, or nothing came back in time."""


@dataclass(slots=True)
class _Peer:
    """What this process keeps for one remote service."""

    session: aiohttp.ClientSession
    retry: RetryWithBackoff
    slow: SlowStreams


@dataclass(slots=True, kw_only=True)
class _Answer:
    """The answer of another process: all of it, or its head and the first part of its body."""

    response: Response
    origin: aiohttp.ClientResponse | None = None
    first: bytes = b""


class Remote:
    """The connections of this process to the processes that answer for remote services."""

    def __init__(self) -> None:
        self._peers: dict[str, _Peer] = {}

    async def forward(
        self, service: Service, request: Request, *, slot: Slot, permit: Permit
    ) -> Response:
        """Return the answer of `service`, within the current deadline.

        The slot is given back, and the permit reported to, by whatever comes first: the end of
        the answer, an error, or a client that is gone or takes its time. Where the answer is a
        stream, that may be after this has returned.

        Raises:
            ServiceUnreachable: nothing listens there, the connection broke, or what came back is
                no answer.
            DeadlineExceeded: it took too long.
            PlatformError: the client's own, when it did not send its body to the end.
        """
        started_s = time.monotonic()
        upload = _Upload(request)
        try:
            peer = self._peer(service)
            retry = peer.retry
            if request.method in _SAFE and request.rest is None:
                retry = retry.idempotent
            async with asyncio.timeout(services.remaining_s()):
                answer = await retry.async_call(_exchange, peer.session, service, request, upload)
        except TimeoutError:
            slot.release()
            if not upload.is_waiting:
                _report(permit, 504, time.monotonic() - started_s)
            raise DeadlineExceeded("The request") from None
        except (_NotConnected, _Lost, _Failed) as error:
            slot.release()
            if upload.error is not None:
                raise upload.error from None
            permit.failure()
            logger.warning("%s cannot be reached: %r", service.name, error.__cause__ or error)
            detail = f"The service {service.name} cannot be reached now; try again later."
            raise ServiceUnreachable(detail) from error
        except BaseException:
            slot.release()
            raise
        took_s = time.monotonic() - started_s
        if answer.origin is None:
            slot.release()
            _report(permit, answer.response.status, took_s)
        else:
            answer.response.body = Stream(
                answer.origin,
                first=answer.first,
                slot=slot,
                permit=permit,
                took_s=took_s,
                slow=peer.slow,
                name=service.name,
            )
        return answer.response

    async def close(self) -> None:
        """Close all connections."""
        peers, self._peers = self._peers, {}
        for peer in peers.values():
            await peer.session.close()

    def _peer(self, service: Service) -> _Peer:
        """Return what is kept for a service; made at its first request, in the loop it runs in."""
        peer = self._peers.get(service.name)
        if peer is None:
            peer = self._peers[service.name] = _Peer(
                _session(service), _retry(service), SlowStreams()
            )
        return peer


class _Upload:
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


def _session(service: Service) -> aiohttp.ClientSession:
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            # Every call holds a slot or is a slow stream, so none ever waits for a connection.
            limit=service.bulkhead.config.size + SLOW_STREAMS_MAX,
            keepalive_timeout=IDLE_TIMEOUT_S,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=_NOT_ADDED,
        timeout=aiohttp.ClientTimeout(
            total=None,
            connect=CONNECT_TIMEOUT_S,
            sock_connect=CONNECT_TIMEOUT_S,
            sock_read=READ_TIMEOUT_S,
        ),
    )
    # It would repeat PUT and DELETE, too, and without asking the budget.
    session._retry_connection = False
    return session


def _retry(service: Service) -> RetryWithBackoff:
    # A client waits, so the delays are short: they bridge a connection that broke, no restart.
    config = RetryConfig(
        retries_max=2,
        base_s=0.05,
        cap_s=1.0,
        jitter_s=0.05,
        is_retryable=lambda error: isinstance(error, _NotConnected | _Lost),
        had_no_effect=lambda error: isinstance(error, _NotConnected),
    )
    return RetryWithBackoff(config, name=service.name, listeners=(MetricsListener(),))


async def _exchange(
    session: aiohttp.ClientSession, service: Service, request: Request, upload: _Upload
) -> _Answer:
    """Send the request once, and return its answer."""
    target = _target(request)
    try:
        origin = await session.request(
            request.method,
            URL(service.url + target, encoded=True),
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
        raise _NotConnected from error
    except (aiohttp.ServerTimeoutError, BadField) as error:
        raise _Failed from error
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, OSError) as error:
        raise _Lost from error
    except (aiohttp.ClientError, ValueError) as error:
        raise _Failed from error


def _target(request: Request) -> str:
    """Return path and query as they came: not one encoded slash or double one is touched."""
    target = f"{request.raw_path}?{request.query}" if request.query else request.raw_path
    if not target.startswith("/"):
        raise ValueError("The path would run into the host.")
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


async def _answer(origin: aiohttp.ClientResponse, method: str) -> _Answer:
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
        return _Answer(response=response, origin=origin, first=await origin.content.readany())
    return _Answer(response=response)


def _report(permit: Permit, status: int, took_s: float) -> None:
    """Tell the breaker how the service did."""
    if status == 504 and took_s < TELLING_S:
        # Or any client could have a service left alone by giving it no time.
        permit.cancel()
    elif status >= 500:
        permit.failure(took_s)
    else:
        permit.success(took_s)
