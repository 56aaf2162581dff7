"""Compress answers for clients that accept it, with brotli or gzip.

Small answers, streams and secrets go as they are: an answer marked `no-store` may hold a token
beside something that the client chose, and its compressed length would tell about both (BREACH).
ETags are left alone; a version is a version in any encoding.
"""

import gzip
from functools import lru_cache

import brotli

from platform_site.gateway.messages import Handle, Request, Response

BYTES_MIN = 500
# In order of preference, for a client that likes several equally well.
_ENCODINGS = ("br", "gzip")
_BROTLI_QUALITY = 4
_GZIP_LEVEL = 5
_COMPRESSIBLE = ("text/", "application/json", "application/problem+json", "application/x-ndjson")


async def compression(request: Request, handle: Handle) -> Response:
    """Compress the bodies of answers that are worth it, and say `Vary: Accept-Encoding`."""
    response = await handle(request)
    body = response.body
    if isinstance(body, bytes) and len(body) >= BYTES_MIN and _is_worth_it(response):
        headers = response.headers
        headers["vary"] = _with_accept_encoding(headers.get("vary", ""))
        encoding = preferred_encoding(request.headers.get("accept-encoding", ""))
        if encoding:
            response.body = _compressed(body, encoding)
            headers["content-encoding"] = encoding
            headers["content-length"] = str(len(response.body))
    return response


@lru_cache(maxsize=256)
def preferred_encoding(accept: str) -> str | None:
    """Return the encoding that `accept`, an `Accept-Encoding` header, asks for most, if any.

    Source: RFC 9110, section 12.5.3. A weight of zero forbids; `*` stands for all not named.
    """
    weights: dict[str, float] = {}
    for item in accept.split(","):
        name, _, parameters = item.partition(";")
        weights[name.strip().lower()] = _weight(parameters)
    rest = weights.get("*", 0.0)
    best = max(_ENCODINGS, key=lambda name: weights.get(name, rest))
    weight = weights.get(best, rest)
    # A client may say that it likes the plain body better than any compressed one.
    return best if weight > 0 and weight >= weights.get("identity", 0.0) else None


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return min(1.0, max(0.0, float(value)))
    except ValueError:
        return 0.0


def _is_worth_it(response: Response) -> bool:
    headers = response.headers
    return (
        "content-encoding" not in headers
        and headers.get("content-type", "").startswith(_COMPRESSIBLE)
        and "no-store" not in headers.get("cache-control", "")
    )


def _with_accept_encoding(vary: str) -> str:
    names = [name.strip() for name in vary.split(",") if name.strip()]
    if "*" in names or "accept-encoding" in map(str.lower, names):
        return vary
    return ", ".join([*names, "Accept-Encoding"])


def _compressed(body: bytes, encoding: str) -> bytes:
    if encoding == "br":
        compressed: bytes = brotli.compress(body, quality=_BROTLI_QUALITY)
        return compressed
    # Without a time in it, the same body compresses to the same bytes.
    return gzip.compress(body, _GZIP_LEVEL, mtime=0)
