"""The spans of a request: one for the gateway as a server, and within it, the wait and the work.

Imported only where traces are made, see `platform_site.tracing`. As in the log, no query, no
address of a client and no header that may hold a secret is told.

Source: OpenTelemetry semantic conventions 1.37, HTTP server spans; W3C Trace Context.
"""

import threading
import time
from uuid import uuid4

from django.conf import settings
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Span,
    SpanKind,
    StatusCode,
    format_span_id,
    format_trace_id,
    get_current_span,
    use_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from platform_site.gateway.addresses import label
from platform_site.gateway.messages import Handle, Request, Response
from platform_site.logs import trace_of_context

# What of a client's words a span holds.
TEXT_LENGTH_MAX = 200
# A shorter wait for a slot is none.
WAIT_S_MIN = 0.001
# Servers end a worker that takes five seconds to stop.
STOP_TIMEOUT_S = 3.0
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE"})
_W3C = TraceContextTextMapPropagator()
_NS_PER_S = 1_000_000_000


def provider_to_collector() -> TracerProvider:
    """Return what sends spans to the collector, in batches, from a queue with a bound.

    Address, headers, sampler, batch and queue are OpenTelemetry's own variables. A queue that is
    full drops spans, and a collector that is away is told of once in a while: see
    `platform_site.logs.RarelyFilter`.
    """
    ours = {
        "service.name": "evenkeel",
        "service.version": settings.VERSION,
        "service.instance.id": str(uuid4()),
    }
    # What the operator says in OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES goes before.
    resource = Resource.create(ours).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Spans:
    """Two steps of the gateway: the outermost and the innermost but one.

    Args:
        provider: what the spans are given to.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("evenkeel.gateway", settings.VERSION)

    def stop(self) -> None:
        """Send what is left; blocks, for `STOP_TIMEOUT_S` at most."""
        # Left to itself, it would wait half a minute for a collector that does not answer.
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(STOP_TIMEOUT_S)

    async def server(self, request: Request, handle: Handle) -> Response:
        """Make the request's span, a child of the caller's; it is what `request.traceparent` names.

        A streamed answer ends it with its first byte.
        """
        span = self._tracer.start_span(
            _method(request),
            context=_caller(request),
            kind=SpanKind.SERVER,
            attributes=_known_at_once(request),
        )
        context = span.get_span_context()
        if not context.is_valid:  # OTEL_SDK_DISABLED
            return await handle(request)
        ids = format_trace_id(context.trace_id), format_span_id(context.span_id)
        request.traceparent = f"00-{ids[0]}-{ids[1]}-{context.trace_flags:02x}"
        token = trace_of_context.set(ids)
        try:
            with use_span(span, record_exception=False, set_status_on_exception=False):
                response = await handle(request)
            if span.is_recording():
                _tell(span, request, response)
        except BaseException as error:
            _fail(span, type(error).__name__)
            raise
        else:
            return response
        finally:
            trace_of_context.reset(token)
            span.end()

    async def service(self, request: Request, handle: Handle) -> Response:
        """Make the spans of the wait for a slot, if there was one, and of the service's work."""
        parent = get_current_span()
        if not parent.is_recording():
            return await handle(request)
        began_ns, began_s = time.time_ns(), time.monotonic()

        def at_ns(moment_s: float) -> int:
            return began_ns + int((moment_s - began_s) * _NS_PER_S)

        failure = ""
        try:
            response = await handle(request)
            if response.status >= 500:
                failure = str(response.status)
        except BaseException as error:
            failure = type(error).__name__
            raise
        else:
            return response
        finally:
            ended_ns = at_ns(time.monotonic())
            work_s = request.working_since_s
            if work_s is None:
                self._span("wait for a slot", request, began_ns, ended_ns, failure)
            else:
                if work_s - began_s >= WAIT_S_MIN:
                    self._span("wait for a slot", request, began_ns, at_ns(work_s), "")
                self._span("work of the service", request, at_ns(work_s), ended_ns, failure)

    def _span(self, name: str, request: Request, start: int, end: int, failure: str) -> None:
        """Make a span that is over, in Unix nanoseconds; a child of the current one."""
        service = {"evenkeel.service": label(request.path)}
        span = self._tracer.start_span(name, start_time=start, attributes=service)
        if failure:
            _fail(span, failure)
        span.end(end)


def _caller(request: Request) -> Context:
    if request.traceparent is None:
        return Context()
    state = request.headers.get("tracestate", "")
    return _W3C.extract({"traceparent": request.traceparent, "tracestate": state}, Context())


def _method(request: Request) -> str:
    # The name of a span must not be the client's to make up.
    return request.method if request.method in _METHODS else "HTTP"


def _known_at_once(request: Request) -> dict[str, AttributeValue]:
    """Return what a sampler may look at."""
    is_known = request.method in _METHODS
    attributes: dict[str, AttributeValue] = {
        "http.request.method": request.method if is_known else "_OTHER",
        "url.path": request.path[:TEXT_LENGTH_MAX],
        "url.scheme": request.scheme,
        "evenkeel.service": label(request.path),
        "evenkeel.request_id": request.request_id,
    }
    if not is_known:
        attributes["http.request.method_original"] = request.method[:TEXT_LENGTH_MAX]
    for attribute, header in (("server.address", "host"), ("user_agent.original", "user-agent")):
        if header in request.headers:
            attributes[attribute] = request.headers[header][:TEXT_LENGTH_MAX]
    return attributes


def _tell(span: Span, request: Request, response: Response) -> None:
    """Say what became known on the way."""
    span.set_attribute("http.response.status_code", response.status)
    if request.route is not None:
        route = f"/{request.route}"
        span.set_attribute("http.route", route)
        span.update_name(f"{_method(request)} {route}")
    if request.caller.user_id is not None:
        span.set_attribute("user.id", str(request.caller.user_id))
    # A client's mistake is no failure of the server.
    if response.status >= 500:
        _fail(span, str(response.status))


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)
