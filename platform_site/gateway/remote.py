"""Pass a request on to another process of ours, and its answer back.

In the event loop, through connections that are kept for each service. What protects the service
is held for as long as it works: the slot until the last byte of its answer has come, see Note
[A client that takes its time] in `platform_site.gateway.streams`.
"""

import asyncio
import logging
import time
from dataclasses import dataclass

import aiohttp

from eventstore.errors import PlatformError
from platform_site.gateway import services
from platform_site.gateway.exchange import Failed, Lost, NotConnected, Upload, exchange
from platform_site.gateway.messages import Request, Response
from platform_site.gateway.metrics import MetricsListener
from platform_site.gateway.services import Service
from platform_site.gateway.streams import SLOW_STREAMS_MAX, SlowStreams, Stream
from resilience import DeadlineExceeded, Permit, RetryConfig, RetryWithBackoff, Slot

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 2.0
# Shorter than servers keep a silent connection (granian: 30 s), so that none is used at the
# moment at which the other end closes it.
IDLE_TIMEOUT_S = 10.0
# RFC 9110, section 9.2.1: to ask again changes nothing.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# aiohttp would add these where the client sent none.
_NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class ServiceUnreachable(PlatformError):
    """The process that answers for a service is away, or what it sends is no answer."""

    code = "service_unavailable"
    retryable = True


@dataclass(slots=True)
class _Peer:
    """What this process keeps for one remote service."""

    session: aiohttp.ClientSession
    retry: RetryWithBackoff
    slow: SlowStreams


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
        upload = Upload(request)
        try:
            peer = self._peer(service)
            retry = peer.retry
            if request.method in _SAFE and request.rest is None:
                retry = retry.idempotent
            async with asyncio.timeout(services.remaining_s()):
                answer = await retry.async_call(
                    exchange, peer.session, service.url, request, upload
                )
        except TimeoutError:
            slot.release()
            if not upload.is_waiting:
                services.report(permit, status=504, took_s=time.monotonic() - started_s)
            raise DeadlineExceeded("The request") from None
        except (NotConnected, Lost, Failed) as error:
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
        status = answer.response.status
        if answer.origin is None or status >= 500:
            services.report(permit, status=status, took_s=took_s)
        if answer.origin is None:
            slot.release()
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
            # The deadline bounds the answer, and a stream the wait for each of its parts. This
            # one would set a timer anew at every change of a connection's state.
            sock_read=None,
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
        is_retryable=lambda error: isinstance(error, NotConnected | Lost),
        had_no_effect=lambda error: isinstance(error, NotConnected),
    )
    return RetryWithBackoff(config, name=service.name, listeners=(MetricsListener(),))
