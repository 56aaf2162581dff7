"""Refuse requests for a host that is not served here.

Links and tokens are made for the host that a request names, so a name that a stranger chose must
not get as far as that.
"""

from functools import lru_cache

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http.request import split_domain_port, validate_host

from platform_site.gateway.messages import Handle, Request, Response


async def hosts(request: Request, handle: Handle) -> Response:
    """Check `Host` against `ALLOWED_HOSTS`; raise `DisallowedHost`."""
    if not _is_served(request.headers.get("host", ""), tuple(settings.ALLOWED_HOSTS)):
        raise DisallowedHost("This host is not served here.")
    return await handle(request)


@lru_cache(maxsize=256)
def _is_served(host: str, allowed: tuple[str, ...]) -> bool:
    domain, _port = split_domain_port(host)
    return bool(domain) and validate_host(domain, allowed)
