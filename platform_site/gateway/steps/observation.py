"""Measure and log every answered request: one line and one observation each."""

import logging
import time

from platform_site.gateway import metrics
from platform_site.gateway.addresses import label
from platform_site.gateway.messages import Handle, Request, Response
from platform_site.logs import LineRecord

logger = logging.getLogger("platform_site.requests")

# What of a client's words a line holds; a traceparent of version 00 is 55 characters long.
METHOD_LENGTH_MAX = 20
PATH_LENGTH_MAX = 200
TRACEPARENT_LENGTH_MAX = 55


async def observation(request: Request, handle: Handle) -> Response:
    """Log method, route, status, duration and user of each request, and count it.

    The line names the route, `api/accounts/<uuid:account>`, beside the path, never the query:
    what a client searches for is nobody's business. A streamed answer counts until its first
    byte.
    """
    started_s = time.perf_counter()
    response = await handle(request)
    duration_s = time.perf_counter() - started_s
    metrics.observe_request(
        service=label(request.path),
        method=request.method,
        status=response.status,
        duration_s=duration_s,
    )
    if logger.isEnabledFor(logging.INFO):
        log(request, response, duration_s)
    return response


def log(request: Request, response: Response, duration_s: float) -> None:
    """Write the line of a request that took `duration_s` seconds."""
    traceparent = request.traceparent
    fields = {
        "method": request.method[:METHOD_LENGTH_MAX],
        "path": request.path[:PATH_LENGTH_MAX],
        "route": request.route,
        "status": response.status,
        "duration_ms": round(duration_s * 1000, 3),
        "user": request.caller.user_id,
        "traceparent": traceparent[:TRACEPARENT_LENGTH_MAX] if traceparent else None,
    }
    logger.handle(LineRecord(logger.name, logging.INFO, "request", fields))
