"""`GET /api/discovery/services`: what the gateway reaches, and how each service is doing."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache

from django.conf import settings
from drf_spectacular.generators import EndpointEnumerator
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from platform_site.gateway import services
from platform_site.gateway.access import OperationsView
from platform_site.gateway.addresses import API
from platform_site.gateway.answers import DiscoveryAnswer


class DiscoveryView(OperationsView):
    """The registry of services, as it is now in the process that answers."""

    @extend_schema(
        operation_id="discovery_services",
        tags=["gateway"],
        auth=[],
        responses={200: DiscoveryAnswer},
    )
    def get(self, request: Request) -> Response:
        """List the services with their addresses, routes, breakers and bulkheads."""
        routes = routes_by_service(settings.ROOT_URLCONF)
        return Response(
            {
                "data": [
                    {
                        "name": service.name,
                        "kind": service.kind,
                        "url": request.build_absolute_uri(API + service.name),
                        "healthy": service.healthy,
                        "breaker": service.breaker.state,
                        "bulkhead": _bulkhead(service),
                        "routes": routes.get(service.name, []),
                    }
                    for service in services.SERVICES.values()
                ]
            },
            headers={"Cache-Control": "no-store"},
        )


@cache
def routes_by_service(urlconf: str) -> Mapping[str, list[str]]:
    """Return the routes of each service, such as `/api/accounts/{account}`, sorted.

    Args:
        urlconf: the import path of the table of addresses.
    """
    routes: dict[str, set[str]] = {}
    endpoints = EndpointEnumerator(urlconf=urlconf)
    for path, *_ in endpoints.get_api_endpoints():  # type: ignore[no-untyped-call]
        if path.startswith(API):
            routes.setdefault(path[len(API) :].split("/", 1)[0], set()).add(path)
    return {name: sorted(paths) for name, paths in routes.items()}


def _bulkhead(service: services.Service) -> dict[str, object]:
    snapshot = asdict(service.bulkhead.snapshot())
    del snapshot["name"]
    return snapshot
