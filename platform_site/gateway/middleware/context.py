"""Give Django's request what the gateway found out about it."""

from django.http.response import HttpResponseBase
from django.utils import timezone

from platform_site.gateway.addresses import API
from platform_site.gateway.local import REQUEST_KEY
from platform_site.gateway.messages import Request
from platform_site.gateway.requests import GatewayRequest, Handler
from platform_site.gateway.steps.tracing import accepted_id
from users.identity import ANONYMOUS, InvalidCredentials, identify


def context(get_response: Handler) -> Handler:
    """Set the attributes that `GatewayRequest` names.

    A request that did not come through the gateway, as from Django's test client, is identified
    here: whatever serves it, a view knows who calls.
    """

    def middleware(request: GatewayRequest) -> HttpResponseBase:
        known: Request | None = request.META.get(REQUEST_KEY)
        if known is None:
            return _alone(request, get_response)
        request.request_id = known.request_id
        request.traceparent = known.traceparent
        request.caller = known.caller
        request.credentials_error = known.credentials_error
        return get_response(request)

    return middleware


def _alone(request: GatewayRequest, get_response: Handler) -> HttpResponseBase:
    """Answer a request that nobody has looked at before, and give the answer its id."""
    request.request_id = accepted_id(request.META.get("HTTP_X_REQUEST_ID", ""))
    request.traceparent = None
    request.caller, request.credentials_error = ANONYMOUS, None
    if request.path_info.startswith(API):
        authorization = request.META.get("HTTP_AUTHORIZATION", "")
        try:
            request.caller = identify(authorization, now=timezone.now())
        except InvalidCredentials as error:
            request.credentials_error = error
    response = get_response(request)
    response.headers["X-Request-Id"] = request.request_id
    return response
