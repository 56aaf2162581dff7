"""The API's manual: the document itself, a page to read and try it, and the list of problems.

Everything comes from this server and nothing runs inline, so the pages work under the site's
strict Content-Security-Policy.
"""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from platform_site.gateway.codes import CODES
from platform_site.gateway.openapi import current_document
from users.api.problems import problem_title


# Nothing is written here: another method is answered 405, not asked for the token of a form.
@csrf_exempt
@require_safe
def schema(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    """`GET /api/schema`: the OpenAPI document, as JSON."""
    return HttpResponse(current_document(), content_type="application/json")


@csrf_exempt
@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """`GET /api/docs`: the document as a page, on which calls can be tried."""
    return render(request, "platform_site/docs.html")


@csrf_exempt
@require_safe
def problems(request: HttpRequest) -> HttpResponse:
    """`GET /api/docs/problems`: what each error code means; every problem's `type` leads here."""
    rows = [
        {"code": code, "title": problem_title(code), "status": status}
        for status, codes in CODES.items()
        for code in codes
    ]
    return render(request, "platform_site/problems.html", {"problems": rows})
