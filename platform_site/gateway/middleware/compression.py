"""Compress answers for clients that accept it, with brotli or gzip.

Small answers, streams and secrets go as they are: an answer marked `no-store` may hold a token
beside something that the client chose, and its compressed length would tell about both (BREACH).
ETags are left alone; a version is a version in any encoding.
"""

import gzip

import brotli
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from platform_site.gateway.requests import GatewayRequest, Handler

BYTES_MIN = 500
# In order of preference, for a client that likes several equally well.
_ENCODINGS = ("br", "gzip")
_BROTLI_QUALITY = 4
_GZIP_LEVEL = 5
_COMPRESSIBLE = ("text/", "application/json", "application/problem+json", "application/x-ndjson")


def compression(get_response: Handler) -> Handler:
    """Compress the bodies of answers that are worth it, and say `Vary: Accept-Encoding`."""

    def middleware(request: GatewayRequest) -> HttpResponseBase:
        response = get_response(request)
        if isinstance(response, HttpResponse) and _is_worth_it(response):
            patch_vary_headers(response, ("Accept-Encoding",))
            encoding = preferred_encoding(request.META.get("HTTP_ACCEPT_ENCODING", ""))
            if encoding:
                response.content = _compressed(response.content, encoding)
                response.headers["Content-Encoding"] = encoding
                response.headers["Content-Length"] = str(len(response.content))
        return response

    return middleware


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


def _is_worth_it(response: HttpResponse) -> bool:
    return (
        len(response.content) >= BYTES_MIN
        and "Content-Encoding" not in response.headers
        and response.headers.get("Content-Type", "").startswith(_COMPRESSIBLE)
        and "no-store" not in response.headers.get("Cache-Control", "")
    )


def _compressed(body: bytes, encoding: str) -> bytes:
    if encoding == "br":
        compressed: bytes = brotli.compress(body, quality=_BROTLI_QUALITY)
        return compressed
    # Without a time in it, the same body compresses to the same bytes.
    return gzip.compress(body, _GZIP_LEVEL, mtime=0)
