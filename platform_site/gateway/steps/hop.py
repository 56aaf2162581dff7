"""Believe another gateway of ours about the client, and nobody else.

Before all other steps: whatever looks at the address, the scheme or the limit looks at what the
first gateway saw.
"""

import time

from platform_site.gateway.hops import HEADER, hop_of
from platform_site.gateway.messages import Handle, Request, Response


async def hop(request: Request, handle: Handle) -> Response:
    """Take the client's address and scheme from a gateway of ours; drop the header of anybody."""
    header = request.headers.pop(HEADER, "")
    if header:
        seen = hop_of(header, request, now_s=time.time())
        if seen is not None:
            request.peer, request.scheme = seen.peer, seen.scheme
            request.from_gateway = True
    return await handle(request)
