"""The product's settings, with the addresses of the stub beside its own."""

from platform_site.settings import *  # noqa: F403 - all of them are settings of this site, too

ROOT_URLCONF = "benchmarks.gateway_site.urls"
