"""The gateway: what every request passes, in this order, on its way to a service and back."""

from functools import partial
from typing import TYPE_CHECKING

from django.db import connections

from eventstore.errors import PlatformError
from platform_site.gateway.addresses import NAMES
from platform_site.gateway.messages import Handle, Request, Response, Step
from platform_site.gateway.remote import Remote
from platform_site.gateway.services import SITE
from platform_site.gateway.steps.admission import SIZE as ADMISSION_SIZE
from platform_site.gateway.steps.admission import Admission
from platform_site.gateway.steps.bodies import bodies
from platform_site.gateway.steps.compression import compression
from platform_site.gateway.steps.cors import cors
from platform_site.gateway.steps.guard import Guard
from platform_site.gateway.steps.hop import hop
from platform_site.gateway.steps.hosts import hosts
from platform_site.gateway.steps.observation import observation
from platform_site.gateway.steps.refusals import refusals
from platform_site.gateway.steps.security_headers import security_headers
from platform_site.gateway.steps.tracing import tracing
from platform_site.gateway.threads import Threads

if TYPE_CHECKING:
    from platform_site.gateway.spans import Spans  # An extra: see `platform_site.tracing`.

# One thread for each slot of each service, so that a service that hangs takes only its own.
WORK_SIZE_MAX = (len(NAMES) + 2) * SITE.bulkhead.config.size


def _every_answer(spans: "Spans | None") -> tuple[Step, ...]:
    """Return what every answer passes on its way back, whoever gives it."""
    return (
        hop,
        tracing,
        *((spans.server,) if spans else ()),
        observation,
        security_headers,
        cors,
        compression,
        refusals,
    )


class Overloaded(PlatformError):
    """This process has as much to do as it can."""

    code = "overloaded"
    retryable = True


def build_gateway(
    *, remote: Remote, admission: Threads, work: Threads, spans: "Spans | None" = None
) -> Handle:
    """Return what answers a request.

    The order of the steps: named and measured first, so that every answer is, and given its
    headers; then compressed; then made sure that whatever the rest raises is a problem document;
    then asked for whom, by whom and how often, with what, and only then passed to its service.

    Args:
        remote: passes requests on to other processes.
        admission: threads to ask who is calling.
        work: threads to answer in.
        spans: makes traces; without it, no request passes a step for them.
    """
    steps: tuple[Step, ...] = (
        *_every_answer(spans),
        hosts,
        Admission(admission),
        # Once more, so that a refusal from further in tells where the client stands as well.
        refusals,
        bodies,
        *((spans.service,) if spans else ()),
    )
    return _in_order(steps, Guard(work, remote))


def build_refusal(*, spans: "Spans | None" = None) -> Handle:
    """Return what answers a request for which this process has no room, without looking at it."""

    async def refuse(_: Request) -> Response:
        raise Overloaded("The gateway is busy; try again.", retry_after_s=1.0)

    return _in_order(_every_answer(spans), refuse)


def _in_order(steps: tuple[Step, ...], handle: Handle) -> Handle:
    for step in reversed(steps):
        handle = partial(step, handle=handle)
    return handle


def build_threads() -> dict[str, Threads]:
    """Return the threads of a web process, by what they are for."""
    return {
        "admission": Threads(ADMISSION_SIZE, name="admission", at_end=connections.close_all),
        "work": Threads(WORK_SIZE_MAX, name="work", at_end=connections.close_all),
    }
