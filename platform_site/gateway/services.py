"""The registry of services: what `/api/<service>/...` can reach, and what guards each.

All of them are local: apps of this process. Every process has breakers and bulkheads of its
own, built once, when it starts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from platform_site.gateway.metrics import MetricsListener
from resilience import (
    BreakerConfig,
    BreakerState,
    Bulkhead,
    BulkheadConfig,
    CircuitBreaker,
)

NAMES = ("transactions", "accounts", "users", "events", "analytics", "payments")
# A request has this long, the wait for a slot included.
REQUEST_TIMEOUT_S = 30.0
_HEALTHY = frozenset({BreakerState.CLOSED, BreakerState.DISABLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service behind the gateway.

    Args:
        name: the segment under `/api/` that leads to it.
        kind: `local` is an app in this process.
        breaker: opens when half of its answers are 5xx.
        bulkhead: bounds how many requests it works on at once.
    """

    name: str
    kind: Literal["local", "remote"]
    breaker: CircuitBreaker
    bulkhead: Bulkhead

    @property
    def healthy(self) -> bool:
        """Whether its breaker lets every request through."""
        return self.breaker.state in _HEALTHY


def build_services() -> Mapping[str, Service]:
    """Return a registry with new breakers and bulkheads, by name."""
    listeners = (MetricsListener(),)
    breaker = BreakerConfig(slow_call_s=REQUEST_TIMEOUT_S, probe_timeout_s=REQUEST_TIMEOUT_S)
    bulkhead = BulkheadConfig(size=15, queue_max=100, queue_timeout_s=REQUEST_TIMEOUT_S)
    return {
        name: Service(
            name=name,
            kind="local",
            breaker=CircuitBreaker(name, breaker, listeners=listeners),
            bulkhead=Bulkhead(name, bulkhead, listeners=listeners),
        )
        for name in NAMES
    }


SERVICES = build_services()
