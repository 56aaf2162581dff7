"""Middleware of libraries, for the pages that people open: the admin and the manual.

Nothing under `/api/` reads a session, a form or a static file, so calls to it pass these by.
"""

from typing import Any

from django.contrib.auth import middleware as auth
from django.contrib.messages import middleware as messages
from django.contrib.sessions import middleware as sessions
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware import common, csrf
from whitenoise import middleware as whitenoise

from platform_site.gateway.addresses import API


class _OutsideApi:
    """Goes before a middleware class of Django's, and passes calls to the API on."""

    get_response: Any

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith(API):
            passed_on: HttpResponseBase = self.get_response(request)
            return passed_on
        answer: HttpResponseBase = super().__call__(request)  # type: ignore[misc]
        return answer


class WhiteNoiseMiddleware(_OutsideApi, whitenoise.WhiteNoiseMiddleware):  # type: ignore[misc]
    """Serves the admin's and the manual's static files."""


class CommonMiddleware(_OutsideApi, common.CommonMiddleware):
    """Checks the host and says how long an answer is; the gateway does so for the API."""


class SessionMiddleware(_OutsideApi, sessions.SessionMiddleware):
    """Keeps people logged in to the admin."""


class CsrfViewMiddleware(_OutsideApi, csrf.CsrfViewMiddleware):
    """Refuses forged forms. Its `process_view` stays: no view becomes exempt by its address."""


class AuthenticationMiddleware(_OutsideApi, auth.AuthenticationMiddleware):
    """Knows who is logged in to the admin."""


class MessageMiddleware(_OutsideApi, messages.MessageMiddleware):
    """Carries the admin's notices to the next page."""
