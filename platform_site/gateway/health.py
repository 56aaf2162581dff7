"""How the platform is doing: `/health`, `/health/live` and `/health/ready`.

The database decides whether anything works at all; without the rest, the platform works with
less: slower, or with stores that lag behind.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDone
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import redis
from django.conf import settings
from django.db import connection, connections
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from eventstore import queries
from platform_site.gateway.access import OperationsView
from platform_site.gateway.answers import HealthAnswer
from resilience.redis_store import connect

logger = logging.getLogger(__name__)

Status = Literal["ok", "degraded", "down"]
CHECK_TIMEOUT_S = 3.0
UNSEQUENCED_AGE_MAX_S = 30.0
LANE_LAG_MAX_S = 60.0
_SEVERITY: Mapping[Status, int] = {"ok": 0, "degraded": 1, "down": 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; `detail` is a sentence without secrets."""

    status: Status
    detail: str
    latency_ms: float = 0.0


class Check:
    """One question about the platform, asked in a thread of its own.

    So a server that takes a connection and never answers holds up nobody longer than the
    time-out. There is at most one such thread for each check: whoever asks while it is still
    waiting gets the same answer.

    Args:
        name: what is checked.
        ask: returns what it found, or raises.
        worst: what it means for the platform when `ask` raises or does not return.
    """

    def __init__(self, name: str, ask: Callable[[], Finding], *, worst: Status) -> None:
        self.name = name
        self.worst = worst
        self._ask = ask
        self._lock = threading.Lock()
        self._run: Future[Finding] | None = None

    def begin(self) -> "Future[Finding]":
        """Return the run that is under way, or a new one."""
        with self._lock:
            if self._run is None or self._run.done():
                self._run = Future()
                threading.Thread(
                    target=self._execute, args=(self._run,), name=f"check-{self.name}", daemon=True
                ).start()
            return self._run

    def _execute(self, run: "Future[Finding]") -> None:
        started_s = time.perf_counter()
        try:
            finding = self._ask()
        except Exception as error:
            # The log says why; the answer only which kind of error it was.
            logger.warning("The health check %s failed", self.name, exc_info=error)
            finding = Finding(self.worst, f"It cannot be asked ({type(error).__name__}).")
        finally:
            connections.close_all()
        latency_ms = round((time.perf_counter() - started_s) * 1000, 3)
        run.set_result(Finding(finding.status, finding.detail, latency_ms))


def examine(checks: Sequence[Check], *, timeout_s: float = CHECK_TIMEOUT_S) -> dict[str, Any]:
    """Return the findings of all `checks`, asked at the same time, and what they amount to.

    Args:
        timeout_s: after so many seconds, what has not answered counts as its `worst`.
    """
    until_s = time.monotonic() + timeout_s
    runs = [(check, check.begin()) for check in checks]
    findings: dict[str, Finding] = {}
    for check, run in runs:
        try:
            findings[check.name] = run.result(timeout=max(0.0, until_s - time.monotonic()))
        except NotDone:
            detail = f"No answer within {timeout_s:g} seconds."
            findings[check.name] = Finding(check.worst, detail, timeout_s * 1000)
    statuses: list[Status] = ["ok", *(finding.status for finding in findings.values())]
    return {
        "status": max(statuses, key=_SEVERITY.__getitem__),
        "version": settings.VERSION,
        "checks": {
            name: {
                "status": finding.status,
                "latency_ms": finding.latency_ms,
                "detail": finding.detail,
            }
            for name, finding in findings.items()
        },
    }


def _database() -> Finding:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()
    return Finding("ok", "The primary store answers.")


@cache
def _redis_client(url: str) -> redis.Redis:
    return connect(url, timeout_s=settings.REDIS_TIMEOUT_S)


def _redis() -> Finding:
    if not settings.REDIS_URL:
        return Finding("ok", "Not configured; limits are counted in this process.")
    _redis_client(settings.REDIS_URL).ping()
    return Finding("ok", "The cache answers.")


def _log() -> Finding:
    status = queries.log_status()
    if status.oldest_unsequenced_s > UNSEQUENCED_AGE_MAX_S:
        return Finding(
            "degraded",
            f"{status.unsequenced} events wait for their position, the oldest for "
            f"{status.oldest_unsequenced_s:.0f} s; is a worker running?",
        )
    return Finding("ok", f"The log is at position {status.head}.")


def _lanes() -> Finding:
    lanes = queries.lane_status()
    troubled = [
        f"{lane.name} ({lane.state}, {lane.lag_s:.0f} s behind, {lane.parked} parked)"
        for lane in lanes
        if lane.lag_s > LANE_LAG_MAX_S or lane.parked or lane.state == "failing"
    ]
    if troubled:
        return Finding("degraded", f"Behind or in trouble: {', '.join(troubled)}.")
    return Finding("ok", f"All {len(lanes)} readers of the log keep up.")


DATABASE = Check("database", _database, worst="down")
CHECKS = (
    DATABASE,
    Check("redis", _redis, worst="degraded"),
    Check("log", _log, worst="degraded"),
    Check("lanes", _lanes, worst="degraded"),
)


def _answer(document: Mapping[str, Any]) -> Response:
    return Response(
        document,
        status=503 if document["status"] == "down" else 200,
        headers={"Cache-Control": "no-store"},
    )


class HealthView(OperationsView):
    """`GET /health`: everything the platform is made of."""

    @extend_schema(
        operation_id="health",
        tags=["gateway"],
        auth=[],
        responses={200: HealthAnswer, 503: HealthAnswer},
    )
    def get(self, request: Request) -> Response:  # noqa: ARG002
        """Say how each part of the platform is doing; 503 when nothing works without it."""
        return _answer(examine(CHECKS))


class ReadyView(OperationsView):
    """`GET /health/ready`: whether to send requests here."""

    permission_classes = []

    @extend_schema(
        operation_id="health_ready",
        tags=["gateway"],
        auth=[],
        responses={200: HealthAnswer, 503: HealthAnswer},
    )
    def get(self, request: Request) -> Response:  # noqa: ARG002
        """Say whether requests can be served: the primary store answers."""
        return _answer(examine([DATABASE]))


class LiveView(OperationsView):
    """`GET /health/live`: whether the process works at all."""

    permission_classes = []

    @extend_schema(
        operation_id="health_live", tags=["gateway"], auth=[], responses={200: HealthAnswer}
    )
    def get(self, request: Request) -> Response:  # noqa: ARG002
        """Answer, without touching anything outside of this process."""
        return _answer(examine([]))
