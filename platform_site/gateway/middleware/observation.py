"""Measure and log every finished request: one line and one observation each."""

import logging
import time

from django.http.response import HttpResponseBase

from platform_site.gateway import metrics
from platform_site.gateway.requests import GatewayRequest, Handler, label

logger = logging.getLogger("platform_site.requests")


def observation(get_response: Handler) -> Handler:
    """Log method, route, status, duration and user of each request, and count it.

    The line names the route, `api/accounts/<uuid:account>`, beside the path, never the query:
    what a client searches for is nobody's business.
    """

    def middleware(request: GatewayRequest) -> HttpResponseBase:
        started_s = time.perf_counter()
        response = get_response(request)
        duration_s = time.perf_counter() - started_s
        metrics.observe_request(
            service=label(request),
            method=request.method or "",
            status=response.status_code,
            duration_s=duration_s,
        )
        caller = getattr(request, "caller", None)
        match = request.resolver_match
        logger.info(
            "request",
            extra={
                "fields": {
                    "method": request.method,
                    "path": request.path[:200],
                    "route": match.route if match else None,
                    "status": response.status_code,
                    "duration_ms": round(duration_s * 1000, 3),
                    "user": caller.user_id if caller else None,
                    "traceparent": request.traceparent,
                }
            },
        )
        return response

    return middleware
