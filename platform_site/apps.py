"""Django's description of the site itself."""

from django.apps import AppConfig
from django.core.checks import register

from platform_site.memory import return_large_blocks


class PlatformSiteConfig(AppConfig):
    """The app `platform_site`."""

    name = "platform_site"

    def ready(self) -> None:
        """Let every command warn of variables that have no effect, and no process grow for good."""
        from platform_site import checks  # noqa: PLC0415 - needs settings

        return_large_blocks()
        register(checks.reserved_variables)
        register(checks.tracing_without_its_extra)
