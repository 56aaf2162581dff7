"""Checks of the settings that every command runs."""

from typing import Any

from django.conf import settings
from django.core import checks

from platform_site import tracing


def tracing_without_its_extra(**_: Any) -> list[checks.CheckMessage]:
    """Warn when traces are wanted and cannot be made."""
    if not tracing.is_wanted() or tracing.is_installed():
        return []
    return [
        checks.Warning(
            "An address for traces is set (OTEL_EXPORTER_OTLP_ENDPOINT), but none are made:"
            " OpenTelemetry is not installed.",
            hint="Install evenkeel[tracing], or unset the address.",
            id="platform_site.W002",
        )
    ]


def reserved_variables(**_: Any) -> list[checks.CheckMessage]:
    """Warn of each variable that is set for something that this version cannot reach yet.

    Somebody who names a MongoDB server must not believe that it is written to.
    """
    return [
        checks.Warning(
            f"{name} is set, but this version does not use it: something embedded serves instead.",
            hint="Unset it, or see docs/configuration.md.",
            id="platform_site.W001",
        )
        for name in settings.RESERVED_VARIABLES
    ]
