"""How one process of ours tells another that a request has passed a gateway of ours already.

The header holds what the first gateway saw of the connection, under a signature that only who
knows `SECRET_KEY` can make. It is bound to the request that it came with, and is good for a
short time, so whoever reads it on its way gains nothing from it.
"""

import hashlib
import hmac
from dataclasses import dataclass
from functools import lru_cache

from django.conf import settings
from django.utils.crypto import constant_time_compare

from platform_site.gateway.messages import Request

HEADER = "x-evenkeel-gateway"
# How far the clocks of two machines, and the time on the way, may lie apart.
AGE_S_MAX = 120.0
_NO_PEER = "-"
# What decides who the client is, and what the first gateway has said about the request.
_BOUND = ("host", "x-forwarded-for", "x-forwarded-proto", "x-request-id")


@dataclass(frozen=True, slots=True)
class Hop:
    """What the first gateway saw.

    Args:
        peer: the address that the client's connection came from; nothing for a local socket.
        scheme: `http` or `https`.
    """

    peer: str
    scheme: str


def header_for(request: Request, headers: dict[str, str], *, target: str, now_s: float) -> str:
    """Return the header for a request that is passed on.

    Args:
        request: the request as it came.
        headers: the fields that are sent on, without this one.
        target: path and query, as they are sent on.
        now_s: the time, in Unix seconds.
    """
    said = f"{now_s:.0f} {request.scheme} {request.peer or _NO_PEER}"
    # As they arrive there: one character for each byte.
    arriving = {name: headers.get(name, "").encode().decode("latin-1") for name in _BOUND}
    return f"{said} {_signature(said, request.method, target, arriving)}"


def hop_of(header: str, request: Request, *, now_s: float) -> Hop | None:
    """Return what a gateway of ours says about `request`; None when the header is not its own."""
    said, _, signature = header.rpartition(" ")
    target = f"{request.raw_path}?{request.query}" if request.query else request.raw_path
    expected = _signature(said, request.method, target, request.headers)
    if not constant_time_compare(signature, expected):
        return None
    sent_at, scheme, peer = said.split(" ")
    if abs(now_s - int(sent_at)) > AGE_S_MAX:
        return None
    return Hop("" if peer == _NO_PEER else peer, scheme)


def _signature(said: str, method: str, target: str, headers: dict[str, str]) -> str:
    # No part can hold a line break, so no two requests have the same text.
    text = "\n".join((said, method, target, *(headers.get(name, "") for name in _BOUND)))
    return hmac.digest(_key(settings.SECRET_KEY), text.encode(), "sha256").hex()


@lru_cache(maxsize=4)
def _key(secret: str) -> bytes:
    """Return a key for this purpose alone; what it signs fits nowhere else."""
    return hashlib.sha256(f"{HEADER}:{secret}".encode()).digest()
