"""Traces: whether they are made, decided once when a web process starts.

`OTEL_EXPORTER_OTLP_ENDPOINT` names a collector to send them to. Without it nothing of
OpenTelemetry is imported, and no request passes a step for it. The other variables of
OpenTelemetry are read by its own library.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from django.conf import settings

if TYPE_CHECKING:
    from platform_site.gateway.spans import Spans


def is_wanted() -> bool:
    """Say whether an address to send traces to is set."""
    return bool(settings.OTEL_EXPORTER_OTLP_ENDPOINT)


def is_installed() -> bool:
    """Say whether the extra `tracing` is there: the library, and what sends spans by HTTP."""
    try:
        return all(
            find_spec(name) is not None
            for name in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
        )
    except ModuleNotFoundError:
        return False


def start() -> "Spans | None":
    """Return what makes the spans of this process; None when nobody wants them, or none can be.

    Called after the server has made its worker processes: what sends the spans is a thread.
    """
    if not (is_wanted() and is_installed()):
        return None
    from platform_site.gateway.spans import Spans, provider_to_collector  # noqa: PLC0415 - extra

    return Spans(provider_to_collector())
