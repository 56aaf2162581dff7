"""`GET /metrics`: the counters, the states as they are at this moment, and the log.

States of the log come from the database. When it is away, the scrape goes on without them and
says so in `evenkeel_log_readable`: the metrics are most wanted just then.
"""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.db import Error as DatabaseError
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Metric,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from eventstore import queries
from platform_site.gateway import states
from platform_site.gateway.access import OperationsView
from platform_site.gateway.metrics import REGISTRY

logger = logging.getLogger(__name__)


class LogStates(Collector):
    """The log and the lanes that read it."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the log's families, or only that it cannot be read."""
        try:
            families = [*self._log(), *self._lanes()]
        except DatabaseError as error:
            logger.warning("The log cannot be read for the metrics: %s", error)
            families = []
        yield GaugeMetricFamily(
            "evenkeel_log_readable",
            "1 when the log could be read for this scrape.",
            value=float(bool(families)),
        )
        yield from families

    def _log(self) -> Iterator[GaugeMetricFamily]:
        log = queries.log_status()
        yield GaugeMetricFamily(
            "evenkeel_log_head_position", "The newest position of the log.", value=log.head
        )
        yield GaugeMetricFamily(
            "evenkeel_log_unsequenced_events",
            "Committed events without a position.",
            value=log.unsequenced,
        )
        yield GaugeMetricFamily(
            "evenkeel_log_oldest_unsequenced_seconds",
            "Age of the oldest event without a position.",
            value=log.oldest_unsequenced_s,
        )

    def _lanes(self) -> Iterator[GaugeMetricFamily]:
        figures = (
            ("lag_events", "lag_events", "Events between the lane and the head of the log."),
            ("lag_seconds", "lag_s", "Age of the first event that the lane has not read."),
            ("position", "position", "Position up to which the lane has read."),
            ("parked_events", "parked", "Events that wait for a person."),
        )
        lanes = queries.lane_status()
        for name, attribute, text in figures:
            family = GaugeMetricFamily(f"evenkeel_lane_{name}", text, labels=("lane",))
            for lane in lanes:
                family.add_metric((lane.name,), getattr(lane, attribute))
            yield family
        states = GaugeMetricFamily(
            "evenkeel_lane_state", "1 for the state that the lane is in.", labels=("lane", "state")
        )
        for lane in lanes:
            for state in ("running", "paused", "failing"):
                states.add_metric((lane.name, state), float(lane.state == state))
        yield states


class AllProcesses(Collector):
    """What the processes of this address have counted, and how they are, added up.

    See Note [States of several processes] in `platform_site.gateway.states`.
    """

    def collect(self) -> Iterator[Metric]:
        """Yield the families of all files in the shared folder."""
        files = states.files_of_all(Path(settings.PROMETHEUS_MULTIPROC_DIR), now_s=time.time())
        yield from MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]


_LOG = CollectorRegistry()
_LOG.register(LogStates())
_ALL = CollectorRegistry()
_ALL.register(AllProcesses())


def exposition() -> bytes:
    """Return everything in Prometheus' text format."""
    if settings.PROMETHEUS_MULTIPROC_DIR:
        states.publish()
        return generate_latest(_ALL) + generate_latest(_LOG)
    states.refresh()
    return generate_latest(REGISTRY) + generate_latest(_LOG)


class _Text(BaseRenderer):
    media_type = "text/plain"
    format = "txt"


class _AlwaysText(BaseContentNegotiation):
    """Prometheus asks for formats in order of preference; the text format is always among them."""

    def select_parser(self, request: Request, parsers: object) -> None:
        """Choose none: nothing is read."""

    def select_renderer(
        self,
        request: Request,  # noqa: ARG002
        renderers: object,  # noqa: ARG002
        format_suffix: str | None = None,  # noqa: ARG002
    ) -> tuple[BaseRenderer, str]:
        """Choose the text format."""
        return _Text(), _Text.media_type


class MetricsView(OperationsView):
    """The scrape."""

    content_negotiation_class = _AlwaysText
    renderer_classes = [_Text]
    # Not OPTIONS, whose answer is not a text.
    http_method_names = ["get", "head"]

    @extend_schema(
        operation_id="metrics",
        tags=["gateway"],
        auth=[],
        responses={(200, "text/plain"): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> HttpResponse:  # noqa: ARG002
        """Return the metrics in Prometheus' text format."""
        return HttpResponse(
            exposition(),
            content_type=CONTENT_TYPE_PLAIN_0_0_4,
            headers={"Cache-Control": "no-cache"},
        )
