"""What Django calls for errors outside of REST framework's views (`handler404` and the like).

The admin keeps Django's pages; everything else gets a problem document.
"""

import sys

from django.http import HttpRequest, HttpResponse
from django.views import defaults

from platform_site.gateway.addresses import ADMIN
from platform_site.gateway.errors import problem_for, problem_for_status


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 400."""
    if request.path_info.startswith(ADMIN):
        return defaults.bad_request(request, exception)
    return problem_for(request, exception) or problem_for_status(request, 400)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403."""
    if request.path_info.startswith(ADMIN):
        return defaults.permission_denied(request, exception)
    return problem_for_status(request, 403)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404."""
    if request.path_info.startswith(ADMIN):
        return defaults.page_not_found(request, exception)
    return problem_for_status(request, 404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer an exception that nothing else caught: 500, or what its kind deserves.

    Django has it logged, with its traceback and the request id; the answer shows neither
    text nor trace of it.
    """
    if request.path_info.startswith(ADMIN):
        return defaults.server_error(request)
    error = sys.exc_info()[1]
    answer = problem_for(request, error) if error else None
    return answer or problem_for_status(request, 500)
