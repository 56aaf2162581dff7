"""What a web process does beside answering: agree with the others, and give back what it holds."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from django.conf import settings

from platform_site.gateway import services
from platform_site.gateway.limiter import limiter
from platform_site.gateway.remote import Remote
from platform_site.gateway.threads import Threads
from resilience.redis_store import connect
from resilience.shared_breakers import SharedBreakers

if TYPE_CHECKING:
    from platform_site.gateway.spans import Spans

logger = logging.getLogger(__name__)

# A lease that has ended is given back at the client's next request; this is for clients that
# make none.
LEASES_INTERVAL_S = 5.0


@contextlib.asynccontextmanager
async def upkeep(
    remote: Remote, threads: Threads, spans: "Spans | None" = None
) -> AsyncIterator[None]:
    """Share breakers and give back leases as long as the process serves; then close everything.

    Args:
        remote: the connections to other processes.
        threads: where Redis is asked.
        spans: what makes traces, if anything does.
    """
    # Made before the first request: of several at once, each might make one and count by itself.
    limiter()
    sharing = _shared_breakers()
    for each in sharing:
        each.start()
    giving_back = asyncio.create_task(_give_back_leases(threads))
    try:
        yield
    finally:
        giving_back.cancel()
        await threads.run(limiter().give_back, is_ending=True)
        for each in sharing:
            await threads.run(each.stop)
        await remote.close()
        if spans is not None:
            await threads.run(spans.stop)


def _shared_breakers() -> list[SharedBreakers]:
    """Return what shares this process's breakers with others, if there is Redis to do it through.

    What guards the way to another process is another thing than what guards the service in it: a
    gateway that cannot reach a service must not close it to everybody else.
    """
    if not settings.REDIS_URL:
        return []
    kinds: dict[str, list[services.Service]] = {}
    for service in services.SERVICES.values():
        kinds.setdefault(service.kind, []).append(service)
    return [
        SharedBreakers(
            connect(settings.REDIS_URL, timeout_s=settings.REDIS_TIMEOUT_S),
            [service.breaker for service in of_kind],
            prefix=f"breakers-{kind}",
        )
        for kind, of_kind in kinds.items()
    ]


async def _give_back_leases(threads: Threads) -> None:
    while True:
        await asyncio.sleep(LEASES_INTERVAL_S)
        try:
            await threads.run(limiter().give_back)
        except Exception:
            logger.exception("Leases were not given back; the next turn tries again")
