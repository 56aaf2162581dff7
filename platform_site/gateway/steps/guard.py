"""Keep one service that is slow or failing from taking the others down with it.

Innermost of the gateway, so that what it measures is the service alone: the body is here and the
client is known and within its limit. A request that waits for a slot holds no thread.
"""

import asyncio
import json
import time

from django.conf import settings
from django.http.response import HttpResponseBase

from eventstore.errors import PlatformError
from platform_site.gateway import services
from platform_site.gateway.addresses import OPERATIONS, OWN, api_segment
from platform_site.gateway.local import from_view, respond
from platform_site.gateway.messages import Request, Response
from platform_site.gateway.remote import Remote
from platform_site.gateway.services import Service
from platform_site.gateway.threads import Threads
from resilience import Deadline, DeadlineExceeded, Permit, Slot

# A view that waits gives up by itself when the deadline comes. One that works on is answered for
# after this much longer; its slot stays taken until it is done.
GRACE_S = 1.0


class UnknownService(PlatformError):
    """No service of the registry has this name."""

    code = "unknown_service"


class Guard:
    """The last step: through breaker, deadline and bulkhead to whatever answers.

    Args:
        threads: where Django answers.
        remote: passes a request on to another process.
    """

    def __init__(self, threads: Threads, remote: Remote) -> None:
        self._threads = threads
        self._remote = remote

    async def __call__(self, request: Request) -> Response:
        """Return the service's answer; a 5xx counts as its failure, everything else as a success.

        Raises:
            UnknownService: it is not in the registry.
            BreakerOpen: the service fails too often, and is left alone.
            BulkheadFull: it had no free slot in time.
            DeadlineExceeded: it took too long.
        """
        service = _service_for(request)
        permit = service.breaker.acquire()
        try:
            with Deadline.after(services.timeout_s(request.headers), name="The request").scope():
                bulkhead = service.bulkhead
                slot = bulkhead.try_acquire() or await bulkhead.acquire_async()
                # From here: how long a request waited in the queue is no news about its service.
                started_s = request.working_since_s = time.monotonic()
                response = await self._answer(service, request, slot, permit)
        except BaseException:
            # A full bulkhead, or the client or the process gone: nothing that speaks about the
            # service. What does has been reported, and the first report counts.
            permit.cancel()
            raise
        if service.url:
            return response  # Its end may be far off: `Remote` reports, when it knows.
        services.report(permit, status=response.status, took_s=time.monotonic() - started_s)
        return response

    async def _answer(
        self, service: Service, request: Request, slot: Slot, permit: Permit
    ) -> Response:
        """Return the answer; the slot is given back when the work is done, and not before."""
        if service.handle is not None:
            try:
                return await service.handle(request)
            finally:
                slot.release()
        if service.url:
            return await self._remote.forward(service, request, slot=slot, permit=permit)
        try:
            answering = self._threads.start(_respond_in, slot, request)
        except RuntimeError:
            slot.release()
            raise
        # A timer rather than `asyncio.timeout`, which costs several times as much.
        given_s = services.remaining_s()
        timer = asyncio.get_running_loop().call_later(given_s + GRACE_S, _give_up, answering)
        try:
            answer = await answering
        except DeadlineExceeded:
            services.report(permit, status=504, took_s=given_s)
            raise
        finally:
            timer.cancel()
        return from_view(answer, self._threads)


def _service_for(request: Request) -> Service:
    """Return the service that answers; what is none of the API's is a service as well."""
    if request.path.startswith(OPERATIONS):
        return (
            LIVE if request.path == LIVE_PATH and request.method == "GET" else services.OPERATIONS
        )
    name = api_segment(request.path)
    if name is None or name in OWN:
        return services.SITE
    service = services.SERVICES.get(name)
    if service is None:
        names = ", ".join(services.SERVICES)
        raise UnknownService(f"There is no such service; there are {names}.")
    if service.url and request.from_gateway:
        # To pass it on might lead in a circle.
        raise UnknownService(
            f"The gateway looks for {name} in a process that does not answer for it; "
            f"set SERVICE_{name.upper()}_URL to one that does."
        )
    return service


def _give_up(answering: "asyncio.Future[HttpResponseBase]") -> None:
    if not answering.done():
        answering.set_exception(DeadlineExceeded("The request"))


async def _live(request: Request) -> Response:  # noqa: ARG001
    """Answer `/health/live` here: whether the event loop turns, however busy the threads are."""
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    return Response(status=200, headers=headers, body=_ALIVE)


LIVE_PATH = "/health/live"
LIVE = services.build_service("live", handle=_live)
_ALIVE = json.dumps({"status": "ok", "version": settings.VERSION, "checks": {}}).encode()


def _respond_in(slot: Slot, request: Request) -> HttpResponseBase:
    try:
        return respond(request)
    finally:
        slot.release()
