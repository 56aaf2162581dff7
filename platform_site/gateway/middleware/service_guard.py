"""Keep one service that is slow or failing from taking the others down with it.

Innermost of the gateway, so that what it measures is the service alone: the body has been read
and the client is known and within its limit.
"""

import time

from django.http.response import HttpResponseBase

from eventstore.errors import PlatformError
from platform_site.gateway import services
from platform_site.gateway.errors import refusal
from platform_site.gateway.requests import OWN, GatewayRequest, Handler, api_segment
from resilience import Deadline, ResilienceError


class UnknownService(PlatformError):
    """No service of the registry has this name."""

    code = "unknown_service"


def service_guard(get_response: Handler) -> Handler:
    """Pass a call on to its service through breaker, deadline and bulkhead, in this order."""

    def middleware(request: GatewayRequest) -> HttpResponseBase:
        name = api_segment(request)
        if not name or name in OWN:
            return get_response(request)
        service = services.SERVICES.get(name)
        try:
            if service is None:
                names = ", ".join(services.SERVICES)
                raise UnknownService(f"There is no such service; there are {names}.")
            return _guarded(service, request, get_response)
        except (PlatformError, ResilienceError) as error:
            return refusal(request, error)

    return middleware


def _guarded(
    service: services.Service, request: GatewayRequest, get_response: Handler
) -> HttpResponseBase:
    """Return the service's answer; a 5xx counts as a failure, everything else as a success.

    Raises:
        BreakerOpen: the service fails too often, and is left alone.
        BulkheadFull: it had no free slot in time.
    """
    permit = service.breaker.acquire()
    try:
        deadline = Deadline.after(services.REQUEST_TIMEOUT_S, name="The request")
        with deadline.scope(), service.bulkhead.slot():
            # From here: how long a request waited in the queue is no news about its service.
            started_s = time.monotonic()
            response = get_response(request)
    except BaseException:
        # Django turns what a view raises into an answer, so this is a full bulkhead, or the
        # process being stopped: nothing that speaks about the service.
        permit.cancel()
        raise
    duration_s = time.monotonic() - started_s
    if response.status_code >= 500:
        permit.failure(duration_s)
    else:
        permit.success(duration_s)
    return response
