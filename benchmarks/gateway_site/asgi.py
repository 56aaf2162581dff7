"""The product's web process, with a service that answers in the event loop, as Express does."""

import json

from platform_site.asgi import application  # Before the rest: it sets Django up.
from platform_site.gateway import services
from platform_site.gateway.messages import Request, Response

__all__ = ["application"]
BODY = json.dumps({"ok": True, "data": "x" * 100}).encode()


async def stub(_: Request) -> Response:
    """Answer at once, so that what is measured is the way there and back."""
    return Response(status=200, headers={"content-type": "application/json"}, body=BODY)


services.SERVICES = {
    **services.SERVICES,
    "accounts": services.build_service("accounts", handle=stub),
}
