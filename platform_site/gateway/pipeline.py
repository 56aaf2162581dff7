"""The gateway: what every request passes, in this order, on its way to a service and back."""

from functools import partial

from django.db import connections

from platform_site.gateway.addresses import NAMES
from platform_site.gateway.messages import Handle, Step
from platform_site.gateway.remote import Remote
from platform_site.gateway.services import SITE
from platform_site.gateway.steps.admission import SIZE as ADMISSION_SIZE
from platform_site.gateway.steps.admission import Admission
from platform_site.gateway.steps.bodies import bodies
from platform_site.gateway.steps.compression import compression
from platform_site.gateway.steps.guard import Guard
from platform_site.gateway.steps.hosts import hosts
from platform_site.gateway.steps.observation import observation
from platform_site.gateway.steps.refusals import refusals
from platform_site.gateway.steps.security_headers import security_headers
from platform_site.gateway.steps.tracing import tracing
from platform_site.gateway.threads import Threads

# One thread for each slot of each service, so that a service that hangs takes only its own.
WORK_SIZE_MAX = (len(NAMES) + 2) * SITE.bulkhead.config.size


def build_gateway(*, remote: Remote, admission: Threads, work: Threads) -> Handle:
    """Return what answers a request.

    The order of the steps: named and measured first, so that every answer is, and given its
    headers; then compressed; then made sure that whatever the rest raises is a problem document;
    then asked for whom, by whom and how often, with what, and only then passed to its service.

    Args:
        remote: passes requests on to other processes.
        admission: threads to ask who is calling.
        work: threads to answer in.
    """
    steps: tuple[Step, ...] = (
        tracing,
        observation,
        security_headers,
        compression,
        refusals,
        hosts,
        Admission(admission),
        # Once more, so that a refusal from further in tells where the client stands as well.
        refusals,
        bodies,
    )
    handle: Handle = Guard(work, remote)
    for step in reversed(steps):
        handle = partial(step, handle=handle)
    return handle


def build_threads() -> dict[str, Threads]:
    """Return the threads of a web process, by what they are for."""
    return {
        "admission": Threads(ADMISSION_SIZE, name="admission", at_end=connections.close_all),
        "work": Threads(WORK_SIZE_MAX, name="work", at_end=connections.close_all),
    }
