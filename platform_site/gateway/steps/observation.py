"""Measure and log every answered request: one line and one observation each."""

import logging
import time

from platform_site.gateway import metrics
from platform_site.gateway.addresses import label
from platform_site.gateway.messages import Handle, Request, Response

logger = logging.getLogger("platform_site.requests")


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
        logger.info("request", extra={"fields": _fields(request, response, duration_s)})
    return response


def _fields(request: Request, response: Response, duration_s: float) -> dict[str, object]:
    return {
        "method": request.method,
        "path": request.path[:200],
        "route": request.route,
        "status": response.status,
        "duration_ms": round(duration_s * 1000, 3),
        "user": request.caller.user_id,
        "traceparent": request.traceparent,
    }
