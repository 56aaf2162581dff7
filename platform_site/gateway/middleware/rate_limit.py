"""Allow each client so many requests in any window of time, and tell it where it stands.

Inside the authentication, because the limit depends on who calls; outside everything that costs
more than a decision.
"""

import math
import time

from django.conf import settings
from django.http.response import HttpResponseBase

from platform_site.gateway.codes import STATUS_OF
from platform_site.gateway.errors import problem
from platform_site.gateway.limiter import client_key, limiter
from platform_site.gateway.metrics import count_decision
from platform_site.gateway.requests import GatewayRequest, Handler, is_counted
from resilience import Decision


def rate_limit(get_response: Handler) -> Handler:
    """Answer 429 to a client over its limit; put the state of the limit on every answer."""

    def middleware(request: GatewayRequest) -> HttpResponseBase:
        tier = request.caller.tier
        rate = settings.RATE_LIMIT_TIERS[tier] if is_counted(request) else None
        if rate is None:
            return get_response(request)
        limit, window_s = rate
        decision = limiter().decide(client_key(request), limit=limit, window_s=window_s)
        count_decision(tier, decision)
        response = get_response(request) if decision.allowed else _refusal(request, decision)
        _tell(response, tier, decision)
        return response

    return middleware


def _refusal(request: GatewayRequest, decision: Decision) -> HttpResponseBase:
    return problem(
        request,
        status=STATUS_OF["rate_limited"],
        code="rate_limited",
        detail=(
            f"More than {decision.limit} requests in {decision.window_s:.0f} seconds; "
            "wait as long as Retry-After says."
        ),
        extra={"retry_after_s": decision.retry_after_s},
    )


def _tell(response: HttpResponseBase, tier: str, decision: Decision) -> None:
    """Set the two sets of headers that clients know.

    Source: draft-ietf-httpapi-ratelimit-headers-10, structured fields; and the older ones that
    came to be known with GitHub's API, whose reset is a moment in Unix seconds.
    """
    window_s = math.ceil(decision.window_s)
    reset_in_s = min(window_s, max(0, math.ceil(decision.reset_at_s - time.time())))
    headers = response.headers
    headers["X-RateLimit-Limit"] = str(decision.limit)
    headers["X-RateLimit-Remaining"] = str(decision.remaining)
    headers["X-RateLimit-Reset"] = str(math.ceil(decision.reset_at_s))
    headers["RateLimit-Policy"] = f'"{tier}";q={decision.limit};w={window_s}'
    headers["RateLimit"] = f'"{tier}";r={decision.remaining};t={reset_in_s}'
