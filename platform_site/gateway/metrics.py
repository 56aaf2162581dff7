"""What is counted for Prometheus, with labels that no client can multiply.

Here stand the counters, in a registry of their own; states, such as that of a breaker, stand in
`platform_site.gateway.states`. Each process counts for itself. Where one address is served by
several processes, `PROMETHEUS_MULTIPROC_DIR` names a folder through which they add up.

The duration has no label for the route: with sixteen lines for each combination of labels, sixty
routes would make thousands of lines of it, and of a remote service the gateway knows none. The
request's line in the log and its trace name the route.
"""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

from resilience import BreakerState, Decision, Listener

# When a counter was first used tells nothing here, and would double the number of lines.
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry()
_USUAL_TRANSITIONS = (
    (BreakerState.CLOSED, BreakerState.OPEN),
    (BreakerState.OPEN, BreakerState.HALF_OPEN),
    (BreakerState.HALF_OPEN, BreakerState.OPEN),
    (BreakerState.HALF_OPEN, BreakerState.CLOSED),
)
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})

_REQUEST_SECONDS = Histogram(
    "evenkeel_request_duration_seconds",
    "Time from the arrival of a request's head to its answer, or to the first part of a stream.",
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
_CPU_SECONDS = Counter(
    "evenkeel_cpu_seconds",
    "Processor time that was used, by the user and by the system.",
    registry=REGISTRY,
)

# `labels` takes a lock and turns each value into a string, which costs more than counting. Both
# tables hold what came of fixed sets of words, so they cannot grow without a bound.
_durations: dict[tuple[str, str, int], Histogram] = {}
_decisions: dict[tuple[str, bool, str], Counter] = {}


def observe_request(*, service: str, method: str, status: int, duration_s: float) -> None:
    """Count a finished request.

    Args:
        service: one of a fixed set of names, see `addresses.label`.
        method: the HTTP method; anything unusual is counted as `OTHER`.
        status: the HTTP status, counted by its class, such as `2xx`.
        duration_s: how long it took, in seconds.
    """
    duration = _durations.get((service, method, status // 100))
    if duration is None:
        duration = _duration(service, method, status // 100)
    duration.observe(duration_s)


def _duration(service: str, method: str, status_class: int) -> Histogram:
    known_method = method if method in _METHODS else "OTHER"
    # Another process may answer with any number.
    known_class = f"{status_class}xx" if 1 <= status_class <= 5 else "other"
    duration = _REQUEST_SECONDS.labels(service, known_method, known_class)
    if known_method == method and known_class != "other":
        _durations[service, method, status_class] = duration
    return duration


def count_decision(tier: str, decision: Decision) -> None:
    """Count a decision of the rate limiter about a client of `tier`."""
    key = tier, decision.allowed, decision.source
    counter = _decisions.get(key)
    if counter is None:
        word = "allowed" if decision.allowed else "denied"
        counter = _decisions[key] = _LIMITER_DECISIONS.labels(tier, word, decision.source)
    counter.inc()


def start_at_zero(breakers: Iterable[str], bulkheads: Iterable[str]) -> None:
    """Show what has not happened yet as zero, so that its first time is seen as a rise.

    Args:
        breakers: the names of all breakers.
        bulkheads: the names of all bulkheads.
    """
    for name in breakers:
        for old, new in _USUAL_TRANSITIONS:
            _BREAKER_TRANSITIONS.labels(name, old, new)
        _REJECTIONS.labels(name, "breaker_open")
    for name in bulkheads:
        for reason in ("queue_full", "queue_timeout"):
            _REJECTIONS.labels(name, reason)


def count_cpu(used_s: float) -> None:
    """Count processor time of this process, in seconds."""
    _CPU_SECONDS.inc(used_s)


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
