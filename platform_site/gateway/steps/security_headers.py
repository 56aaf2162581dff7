"""Tell browsers what they must not do with an answer: the headers that Helmet would set.

They are the same on every answer, so they are made once. What an answer says itself stands.
"""

from django.conf import settings

from platform_site.gateway.messages import Handle, Request, Response

POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "origin-agent-cluster": "?1",
    # With "no-referrer" browsers send `Origin: null` even to this site, and no form passes the
    # check against forged requests: nobody could log in to the admin.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-dns-prefetch-control": "off",
    "x-download-options": "noopen",
    "x-frame-options": "DENY",
    "x-permitted-cross-domain-policies": "none",
    # Off: the filters that this once switched on opened holes of their own.
    "x-xss-protection": "0",
}
_OVER_TLS = {**HEADERS, "strict-transport-security": "max-age=31536000; includeSubDomains"}


async def security_headers(request: Request, handle: Handle) -> Response:
    """Add the headers; over TLS, also that this host is to be asked over TLS alone."""
    response = await handle(request)
    headers = _OVER_TLS if _is_secure(request) else HEADERS
    response.headers = {**headers, **response.headers}
    return response


def _is_secure(request: Request) -> bool:
    # TLS ends at a proxy of ours, if there is one, which says so; from others it is a claim.
    if settings.TRUSTED_PROXY_COUNT:
        return request.headers.get("x-forwarded-proto") == "https"
    return request.scheme == "https"
