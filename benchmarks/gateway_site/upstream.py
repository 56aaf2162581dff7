"""What requests are proxied to: a process that answers every request at once.

    granian --interface rsgi --loop uvloop benchmarks.gateway_site.upstream:application

Source: RSGI specification 1.6, HTTP protocol.
"""

import json
from typing import Any

ANSWER = json.dumps({"ok": True, "data": "x" * 100}).encode()
HEADERS = [("content-type", "application/json")]


class Upstream:
    """An RSGI application: of granian's interfaces, the one that costs least."""

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Answer one request."""
        protocol.response_bytes(200, HEADERS, ANSWER)


application = Upstream()
