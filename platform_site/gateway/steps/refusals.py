"""Turn what the inner steps raise into a problem document, whatever it is."""

import logging

from platform_site.gateway.errors import problem_for, problem_for_status
from platform_site.gateway.local import from_django
from platform_site.gateway.messages import Handle, Request, Response

logger = logging.getLogger(__name__)


async def refusals(request: Request, handle: Handle) -> Response:
    """Answer an error of the gateway's own with a problem document; log it when it is a bug."""
    try:
        return await handle(request)
    except Exception as error:
        answer = problem_for(request, error)
        if answer is None:
            logger.exception("The gateway failed")
            answer = problem_for_status(request, 500)
        return from_django(answer)
