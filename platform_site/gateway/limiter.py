"""The rate limiter of the gateway, and who counts as one client."""

from functools import cache

from django.conf import settings

from platform_site.gateway.messages import Request
from platform_site.gateway.metrics import MetricsListener
from resilience import LimiterConfig, MemoryStore, RateLimiter
from resilience.redis_store import RedisStore, connect
from users.addresses import address_of

DEFAULT_TIER = "default"


@cache
def limiter() -> RateLimiter:
    """Return this process's limiter: on Redis when `REDIS_URL` is set, else in memory.

    Built when a web process begins to serve (`upkeep`), after the server has made its worker
    processes, so that none shares a connection with another.
    """
    store = (
        RedisStore(connect(settings.REDIS_URL, timeout_s=settings.REDIS_TIMEOUT_S))
        if settings.REDIS_URL
        else MemoryStore()
    )
    config = LimiterConfig(share_count=settings.WEB_PROCESS_COUNT)
    return RateLimiter(store, config=config, listeners=(MetricsListener(),))


def client_key(request: Request) -> str:
    """Return the name under which the requests of this client are counted.

    A key of a higher tier counts by itself. Otherwise all keys and tokens of one user count
    together, and callers without credentials by their address.
    """
    caller = request.caller
    if caller.tier != DEFAULT_TIER and caller.key_id is not None:
        return f"{caller.tier}:key:{caller.key_id}"
    if caller.user_id is not None:
        return f"{caller.tier}:user:{caller.user_id}"
    address = address_of(request.peer, request.headers.get("x-forwarded-for", ""))
    return f"{caller.tier}:address:{address}"
