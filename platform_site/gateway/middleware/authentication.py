"""Say who is calling, once for each request."""

from django.http.response import HttpResponseBase
from django.utils import timezone

from platform_site.gateway.requests import API, GatewayRequest, Handler
from users.identity import ANONYMOUS, InvalidCredentials, identify


def authentication(get_response: Handler) -> Handler:
    """Set `request.caller` and `request.credentials_error`.

    A bad credential is only noted here: public endpoints ignore it, the others answer 401. Outside
    `/api/` nobody asks for the caller, and `/health/live` must not touch the database, so there
    everybody is anonymous.
    """

    def middleware(request: GatewayRequest) -> HttpResponseBase:
        request.caller, request.credentials_error = ANONYMOUS, None
        if request.path_info.startswith(API):
            authorization = request.META.get("HTTP_AUTHORIZATION", "")
            try:
                request.caller = identify(authorization, now=timezone.now())
            except InvalidCredentials as error:
                request.credentials_error = error
        return get_response(request)

    return middleware
