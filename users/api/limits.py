"""Limits of single endpoints by address, beside the gateway's limit of all."""

from django.http import HttpRequest
from django_ratelimit.core import get_usage
from rest_framework.request import Request

from users.addresses import client_address
from users.errors import RateLimited


def count_attempt(request: Request, *, group: str, rate: tuple[int, int]) -> None:
    """Count one attempt by the address of `request`, in fixed windows.

    Where the cache is away nothing is counted and everybody gets through
    (`settings.RATELIMIT_FAIL_OPEN`): the lock-out, in the database, still holds.

    Args:
        request: whose address counts.
        group: what is limited; each has a count of its own.
        rate: (count, window in seconds), from the settings.

    Raises:
        RateLimited: the address has used up `rate` in this window.
    """
    usage = get_usage(request._request, group=group, key=_key, rate=rate, increment=True)
    if usage is not None and usage["should_limit"]:
        raise RateLimited(
            "Too many attempts from this address. Wait, then try again.",
            retry_after_s=usage["time_left"],
        )


def _key(group: str, request: HttpRequest) -> str:  # noqa: ARG001
    return client_address(request)
