"""What is counted for Prometheus, with labels that no client can multiply.

Here stand the counters, in a registry of their own; states are read at the moment of a scrape,
in `platform_site.gateway.scrape`. Each process counts for itself. Where one address is served by
several processes, `PROMETHEUS_MULTIPROC_DIR` names a folder through which they add up.
"""

from prometheus_client import CollectorRegistry, Counter, Histogram

from resilience import BreakerState, Decision, Listener

REGISTRY = CollectorRegistry()
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})

_REQUEST_SECONDS = Histogram(
    "evenkeel_request_duration_seconds",
    "Time from the first middleware to the finished answer.",
    ("service", "method", "status"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
_LIMITER_DECISIONS = Counter(
    "evenkeel_limiter_decisions",
    "Decisions of the rate limiter, and where they were made.",
    ("tier", "decision", "source"),
    registry=REGISTRY,
)
_LIMITER_FALLBACKS = Counter(
    "evenkeel_limiter_fallbacks",
    "Decisions made from this process's share, because the store could not be asked.",
    registry=REGISTRY,
)
_BREAKER_TRANSITIONS = Counter(
    "evenkeel_breaker_transitions",
    "Changes of state of the circuit breakers.",
    ("breaker", "old", "new"),
    registry=REGISTRY,
)
_REJECTIONS = Counter(
    "evenkeel_rejections",
    "Requests that a breaker or a bulkhead turned away.",
    ("name", "reason"),
    registry=REGISTRY,
)
_RETRIES = Counter(
    "evenkeel_retries",
    "Calls that were repeated, and calls that were given up although a retry might have helped.",
    ("name", "outcome"),
    registry=REGISTRY,
)


def observe_request(*, service: str, method: str, status: int, duration_s: float) -> None:
    """Count a finished request.

    Args:
        service: one of a fixed set of names, see `requests.label`.
        method: the HTTP method; anything unusual is counted as `OTHER`.
        status: the HTTP status, counted by its class, such as `2xx`.
        duration_s: how long it took, in seconds.
    """
    known_method = method if method in _METHODS else "OTHER"
    _REQUEST_SECONDS.labels(service, known_method, f"{status // 100}xx").observe(duration_s)


def count_decision(tier: str, decision: Decision) -> None:
    """Count a decision of the rate limiter about a client of `tier`."""
    _LIMITER_DECISIONS.labels(
        tier, "allowed" if decision.allowed else "denied", decision.source
    ).inc()


class MetricsListener(Listener):
    """Counts what breakers, bulkheads and the limiter tell."""

    def on_transition(self, name: str, old: BreakerState, new: BreakerState) -> None:
        """Count a breaker's change of state."""
        _BREAKER_TRANSITIONS.labels(name, old, new).inc()

    def on_rejected(self, name: str, reason: str) -> None:
        """Count a refusal."""
        _REJECTIONS.labels(name, reason).inc()

    def on_fallback(self, name: str, error: Exception) -> None:  # noqa: ARG002
        """Count a local decision of the limiter."""
        _LIMITER_FALLBACKS.inc()

    def on_retry(
        self,
        name: str,
        attempt: int,  # noqa: ARG002
        delay_s: float,  # noqa: ARG002
        error: Exception,  # noqa: ARG002
    ) -> None:
        """Count a retry."""
        _RETRIES.labels(name, "retried").inc()

    def on_given_up(self, name: str, reason: str, error: Exception) -> None:  # noqa: ARG002
        """Count a call that ran out of retries."""
        _RETRIES.labels(name, reason).inc()
