"""What Django's requests carry once they have passed the gateway."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from eventstore.errors import PlatformError
from users.identity import Caller


class GatewayRequest(HttpRequest):
    """A request as a view sees it; names the attributes that `middleware.context` adds.

    Attributes:
        request_id: the id under which the log and the client know this request.
        traceparent: the caller's W3C trace context, if it sent a valid one.
        caller: who is calling; anonymous when the credentials were absent or bad.
        credentials_error: why the credentials were refused, if they were.
    """

    request_id: str
    traceparent: str | None
    caller: Caller
    credentials_error: PlatformError | None


Handler = Callable[[GatewayRequest], HttpResponseBase]
