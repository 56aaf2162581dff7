"""The addresses that the gateway answers itself."""

from django.urls import path

from platform_site.gateway import docs
from platform_site.gateway.discovery import DiscoveryView
from platform_site.gateway.health import HealthView, LiveView, ReadyView
from platform_site.gateway.scrape import MetricsView

urlpatterns = [
    path("health", HealthView.as_view(), name="health"),
    path("health/live", LiveView.as_view(), name="health-live"),
    path("health/ready", ReadyView.as_view(), name="health-ready"),
    path("metrics", MetricsView.as_view(), name="metrics"),
    path("api/discovery/services", DiscoveryView.as_view(), name="discovery-services"),
    path("api/schema", docs.schema, name="schema"),
    path("api/docs", docs.docs, name="docs"),
    path("api/docs/problems", docs.problems, name="problems"),
]
