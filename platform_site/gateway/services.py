"""The registry of services: what `/api/<service>/...` can reach, and what guards each.

A service is local, an app of this process, or remote: the same code in another process, under an
address of its own. Every process has breakers and bulkheads of its own, built once, when it
starts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from django.conf import settings

from platform_site.gateway.addresses import NAMES
from platform_site.gateway.messages import Handle
from platform_site.gateway.metrics import MetricsListener
from resilience import (
    BreakerConfig,
    BreakerState,
    Bulkhead,
    BulkheadConfig,
    CircuitBreaker,
    Permit,
    current_deadline,
)

# A request has this long, the wait for a slot included.
REQUEST_TIMEOUT_S = 30.0
# How a caller says that it will wait no longer; it can only shorten the time above.
TIMEOUT_HEADER = "x-request-timeout-ms"
# A call that was given less time than this says nothing about the service when it is over.
TELLING_S = 1.0
_HEALTHY = frozenset({BreakerState.CLOSED, BreakerState.DISABLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service behind the gateway.

    Args:
        name: the segment under `/api/` that leads to it.
        url: where another process answers for it; nothing when this one does.
        handle: answers in the event loop itself, for what never waits for anything; None: Django
            answers, in a thread.
        breaker: opens when half of its answers are 5xx.
        bulkhead: bounds how many requests it works on at once.
    """

    name: str
    url: str
    breaker: CircuitBreaker
    bulkhead: Bulkhead
    handle: Handle | None = None

    @property
    def kind(self) -> Literal["local", "remote"]:
        """Whether this process answers for it, or another one."""
        return "remote" if self.url else "local"

    @property
    def healthy(self) -> bool:
        """Whether its breaker lets every request through."""
        return self.breaker.state in _HEALTHY


def build_service(name: str, *, url: str = "", handle: Handle | None = None) -> Service:
    """Return a service with a new breaker and a new bulkhead."""
    listeners = (MetricsListener(),)
    breaker = BreakerConfig(slow_call_s=REQUEST_TIMEOUT_S, probe_timeout_s=REQUEST_TIMEOUT_S)
    bulkhead = BulkheadConfig(size=15, queue_max=100, queue_timeout_s=REQUEST_TIMEOUT_S)
    return Service(
        name=name,
        url=url,
        handle=handle,
        breaker=CircuitBreaker(name, breaker, listeners=listeners),
        bulkhead=Bulkhead(name, bulkhead, listeners=listeners),
    )


def build_services() -> Mapping[str, Service]:
    """Return a registry with new breakers and bulkheads, by name.

    `SERVICE_<NAME>_URL` makes a service remote; with `EVENKEEL_SERVICES`, only those that it
    names are local, and what is neither is unknown here.
    """
    local = settings.EVENKEEL_SERVICES or NAMES
    urls = settings.SERVICE_URLS
    return {
        name: build_service(name, url="" if name in settings.EVENKEEL_SERVICES else urls[name])
        for name in NAMES
        if name in local or urls[name]
    }


SERVICES = build_services()
# What is no service of the API: the admin, the manual, discovery; and what operators look at,
# which must answer when all of that is busy.
SITE = build_service("site")
OPERATIONS = build_service("operations")
OPERATIONS.breaker.disable()


def timeout_s(headers: Mapping[str, str]) -> float:
    """Return how many seconds a request has: `REQUEST_TIMEOUT_S`, or what its caller gives it."""
    given = headers.get(TIMEOUT_HEADER, "")
    if not (given.isascii() and given.isdigit()) or len(given) > 9:
        return REQUEST_TIMEOUT_S
    return min(REQUEST_TIMEOUT_S, int(given) / 1000)


def report(permit: Permit, *, status: int, took_s: float) -> None:
    """Tell a service's breaker how it did: a 5xx is a failure, everything else a success.

    Args:
        took_s: how long the service worked on it, in seconds; of a call that was given up, how
            long it had.
    """
    if status == 504 and took_s < TELLING_S:
        # Or any client could have a service left alone by giving it no time.
        permit.cancel()
    elif status >= 500:
        permit.failure(took_s)
    else:
        permit.success(took_s)


def remaining_s() -> float:
    """Return the seconds that the current request has left."""
    deadline = current_deadline()
    return REQUEST_TIMEOUT_S if deadline is None else deadline.remaining_s()
