"""Find out who is calling, and whether they may call so often.

Inside of what every answer needs and outside of everything that costs more than a decision. What
can be said without asking anybody is said in the event loop; a database or Redis is asked in a
thread, of which this step has some for itself, so that no service can take them.
"""

import math
import time

from django.conf import settings
from django.db import close_old_connections
from django.utils import timezone

from platform_site.gateway.addresses import API, is_counted
from platform_site.gateway.codes import STATUS_OF
from platform_site.gateway.errors import problem
from platform_site.gateway.limiter import client_key, limiter
from platform_site.gateway.local import from_django
from platform_site.gateway.messages import Handle, Request, Response
from platform_site.gateway.metrics import MetricsListener, count_decision
from platform_site.gateway.threads import Threads
from resilience import Bulkhead, BulkheadConfig, Decision
from users.identity import InvalidCredentials, identify

SIZE = 8
QUEUE_MAX = 1_000
QUEUE_TIMEOUT_S = 10.0
BULKHEAD = Bulkhead(
    "admission",
    BulkheadConfig(size=SIZE, queue_max=QUEUE_MAX, queue_timeout_s=QUEUE_TIMEOUT_S),
    listeners=(MetricsListener(),),
)


class Admission:
    """The step, with threads of its own.

    Args:
        threads: where the database and Redis are asked, `SIZE` at once.
    """

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    async def __call__(self, request: Request, handle: Handle) -> Response:
        """Set the caller; answer 429 to one over its limit; tell others where they stand.

        A bad credential is only noted here: public endpoints ignore it, the others answer 401.
        Outside `/api/` nobody asks for the caller.
        """
        decision = None
        if request.path.startswith(API):
            if "authorization" in request.headers:
                decision = await self._ask(request)
            else:
                decision = await self._decide(request)
        if decision is None:
            return await handle(request)
        tier = request.caller.tier
        count_decision(tier, decision)
        response = await handle(request) if decision.allowed else _refusal(request, decision)
        _tell(response, tier, decision)
        return response

    async def _ask(self, request: Request) -> Decision | None:
        async with BULKHEAD.slot_async():
            return await self._threads.run(_identify_and_decide, request)

    async def _decide(self, request: Request) -> Decision | None:
        rate = _rate(request)
        if rate is None:
            return None
        limit, window_s = rate
        key = client_key(request)
        decision = limiter().peek(key, limit=limit, window_s=window_s)
        if decision is not None:
            return decision
        async with BULKHEAD.slot_async():
            return await self._threads.run(limiter().decide, key, limit=limit, window_s=window_s)


def _identify_and_decide(request: Request) -> Decision | None:
    try:
        request.caller = identify(request.headers["authorization"], now=timezone.now())
    except InvalidCredentials as error:
        request.credentials_error = error
    finally:
        close_old_connections()
    rate = _rate(request)
    if rate is None:
        return None
    limit, window_s = rate
    return limiter().decide(client_key(request), limit=limit, window_s=window_s)


def _rate(request: Request) -> tuple[int, float] | None:
    """Return how many requests this client may make in how many seconds; None: any number."""
    # What another gateway of ours passes on was counted there.
    if request.from_gateway or not is_counted(request.path):
        return None
    rate: tuple[int, float] | None = settings.RATE_LIMIT_TIERS[request.caller.tier]
    return rate


def _refusal(request: Request, decision: Decision) -> Response:
    return from_django(
        problem(
            request,
            status=STATUS_OF["rate_limited"],
            code="rate_limited",
            detail=(
                f"More than {decision.limit} requests in {decision.window_s:.0f} seconds; "
                "wait as long as Retry-After says."
            ),
            extra={"retry_after_s": decision.retry_after_s},
        )
    )


def _tell(response: Response, tier: str, decision: Decision) -> None:
    """Set the two sets of headers that clients know.

    Source: draft-ietf-httpapi-ratelimit-headers-10, structured fields; and the older ones that
    came to be known with GitHub's API, whose reset is a moment in Unix seconds.
    """
    window_s = math.ceil(decision.window_s)
    reset_in_s = min(window_s, max(0, math.ceil(decision.reset_at_s - time.time())))
    headers = response.headers
    headers["x-ratelimit-limit"] = str(decision.limit)
    headers["x-ratelimit-remaining"] = str(decision.remaining)
    headers["x-ratelimit-reset"] = str(math.ceil(decision.reset_at_s))
    headers["ratelimit-policy"] = f'"{tier}";q={decision.limit};w={window_s}'
    headers["ratelimit"] = f'"{tier}";r={decision.remaining};t={reset_in_s}'
