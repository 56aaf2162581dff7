"""Pass a request on to another process of ours, and its answer back."""

from platform_site.gateway.messages import Request, Response
from platform_site.gateway.services import Service
from resilience import Permit, Slot


class Remote:
    """The connections of this process to the processes that answer for remote services."""

    async def forward(
        self, service: Service, request: Request, *, slot: Slot, permit: Permit
    ) -> Response:
        """Return the answer of `service`."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close all connections."""
