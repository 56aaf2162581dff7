"""The product's addresses, and one that answers a small JSON document."""

from django.http import HttpRequest, JsonResponse
from django.urls import path

from platform_site import urls as site

ANSWER = {"ok": True, "data": "x" * 100}


def stub(request: HttpRequest) -> JsonResponse:  # noqa: ARG001
    """Answer at once, so that what is measured is the way there and back."""
    return JsonResponse(ANSWER)


urlpatterns = [path("api/payments/stub", stub), *site.urlpatterns]

handler400 = site.handler400
handler403 = site.handler403
handler404 = site.handler404
handler500 = site.handler500
