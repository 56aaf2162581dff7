"""Which address a request comes from, for limits."""

import ipaddress
from functools import lru_cache

from django.conf import settings
from django.http import HttpRequest

UNKNOWN = "unknown"
# One household or one machine gets at least this much of IPv6, so limits count it as one.
IPV6_PREFIX_LENGTH = 64


def client_address(request: HttpRequest) -> str:
    """Return the address that limits are counted for; see `address_of`."""
    meta = request.META
    return address_of(meta.get("REMOTE_ADDR", ""), meta.get("HTTP_X_FORWARDED_FOR", ""))


def address_of(peer: str, forwarded_for: str) -> str:
    """Return the address that limits are counted for: IPv4, or the /64 network of IPv6.

    Each proxy appends the address of whoever called it to `X-Forwarded-For`, so only the last
    `settings.TRUSTED_PROXY_COUNT` entries were written by proxies of ours; whatever stands
    before them is the client's own claim and is never read. Without a usable entry it is the
    address of the connection, and `unknown` for a local socket, which has none.
    """
    trusted = settings.TRUSTED_PROXY_COUNT
    if trusted:
        entries = forwarded_for.split(",")[-trusted:]
        return _normalised(entries[0]) or _normalised(peer) or UNKNOWN
    return _normalised(peer) or UNKNOWN


@lru_cache(maxsize=1024)
def _normalised(text: str) -> str:
    """Return the address in `text`, or nothing when it holds none.

    Some proxies add the port, and square brackets around IPv6.
    """
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    network = ipaddress.IPv6Network((address, IPV6_PREFIX_LENGTH), strict=False)
    return str(network)
