"""What a web process holds is there before its first request, and given back after its last."""

import asyncio

from platform_site.gateway.limiter import limiter
from platform_site.gateway.remote import Remote
from platform_site.gateway.threads import Threads
from platform_site.gateway.upkeep import upkeep


def test_all_requests_from_the_first_on_are_counted_by_one_limiter() -> None:
    async def main() -> None:
        assert limiter.cache_info().currsize == 0
        async with upkeep(Remote(), Threads(2, name="t")):
            assert limiter.cache_info().currsize == 1

    asyncio.run(main())
