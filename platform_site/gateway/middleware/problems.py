"""Make sure that every error answer outside the admin is a problem document.

Most errors arrive as one. This catches the rest: what Django and its views answer in HTML by
themselves, an unknown path or a wrong method of a plain view, also while `DEBUG` is on, whose
pages would show a stack trace.
"""

from django.http.response import HttpResponseBase

from platform_site.gateway.addresses import ADMIN
from platform_site.gateway.errors import problem_for_status
from platform_site.gateway.requests import GatewayRequest, Handler


def problems(get_response: Handler) -> Handler:
    """Replace error pages made for people by problem documents; keep their other headers."""

    def middleware(request: GatewayRequest) -> HttpResponseBase:
        response = get_response(request)
        if response.status_code < 400 or request.path_info.startswith(ADMIN):
            return response
        # A view that answers an error in JSON means it, such as /health when it is down.
        if not response.headers.get("Content-Type", "text/").startswith("text/"):
            return response
        answer = problem_for_status(request, response.status_code)
        for name, value in response.headers.items():
            if not name.lower().startswith("content-"):
                answer.headers.setdefault(name, value)
        return answer

    return middleware
