"""Let pages of other origins call the API, if `CORS_ALLOWED_ORIGINS` names any.

Outside of everything that refuses: a browser shows a page of another origin nothing of an answer
without these headers, not even its status, so a 429 of the gateway's own has them as well. What a
browser asks before the call itself is answered here, without credentials and uncounted.

django-cors-headers decides. It knows Django's requests alone, so it is given one that has what it
looks at.
"""

from corsheaders.middleware import CorsMiddleware
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from platform_site.gateway.messages import Handle, Request, Response


def _never(_: HttpRequest) -> HttpResponse:
    raise NotImplementedError


# It wants to know what comes behind it; here, only its decisions are asked for.
_DECISIONS = CorsMiddleware(_never)
_READ = ("origin", "access-control-request-method", "access-control-request-private-network")


async def cors(request: Request, handle: Handle) -> Response:
    """Answer a preflight; tell browsers which origins may read any other answer."""
    if not settings.CORS_ALLOWED_ORIGINS:
        return await handle(request)
    asked = _as_django_s(request)
    is_preflight = _DECISIONS.check_preflight(asked) is not None
    response = Response(status=204) if is_preflight else await handle(request)
    told = HttpResponse()
    del told.headers["Content-Type"]
    if "vary" in response.headers:
        told.headers["Vary"] = response.headers["vary"]
    _DECISIONS.add_response_headers(asked, told)
    response.headers |= {name.lower(): value for name, value in told.headers.items()}
    return response


def _as_django_s(request: Request) -> HttpRequest:
    asked = HttpRequest()
    asked.method, asked.path, asked.path_info = request.method, request.path, request.path
    for name in _READ:
        if name in request.headers:
            asked.META[f"HTTP_{name.upper().replace('-', '_')}"] = request.headers[name]
    return asked
