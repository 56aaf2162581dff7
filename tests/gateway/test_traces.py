"""A request is a trace where somebody wants traces, and nothing else than before elsewhere."""

import asyncio
import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import SimpleQueue
from typing import Any

import pytest
from django.core.checks import run_checks
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from pytest_django.fixtures import Settings

from platform_site import tracing
from platform_site.env import for_child
from platform_site.gateway import services
from platform_site.gateway.messages import Request, Response
from platform_site.gateway.pipeline import build_gateway, build_refusal
from platform_site.gateway.remote import Remote
from platform_site.gateway.server import asgi
from platform_site.gateway.spans import Spans, provider_to_collector
from platform_site.logs import JSONFormatter, RarelyFilter, trace_of_context
from tests.conftest import free_port
from tests.gateway.chain import Answer, Application, Here, ask, no_upkeep, scope

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ANSWER_TIMEOUT_S = 20.0


def site(spans: Spans) -> Application:
    """Return the gateway with traces."""
    handle = build_gateway(remote=Remote(), admission=Here(), work=Here(), spans=spans)
    return asgi(handle, turn_away=build_refusal(spans=spans), upkeep=no_upkeep())


def get(spans: Spans, target: str, method: str = "GET", **headers: str) -> Answer:
    """Return the gateway's answer."""
    fields = [("host", "testserver")]
    fields += [(name.replace("_", "-"), value) for name, value in headers.items()]
    return ask(site(spans), scope(method, target, headers=fields))


@pytest.fixture
def memory() -> InMemorySpanExporter:
    """Where the spans go."""
    return InMemorySpanExporter()


@pytest.fixture
def spans(memory: InMemorySpanExporter) -> Spans:
    """Traces that are kept in memory."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    return Spans(provider)


def server_span(memory: InMemorySpanExporter) -> ReadableSpan:
    """Return the one span of the gateway as a server."""
    (span,) = (each for each in memory.get_finished_spans() if each.kind is SpanKind.SERVER)
    return span


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """Return what a span says."""
    return dict(span.attributes or {})


def test_a_request_is_one_span_that_says_what_it_was(
    spans: Spans, memory: InMemorySpanExporter
) -> None:
    get(spans, "/api/payments/echo?secret=1", x_request_id="abc", user_agent="curl")
    span = server_span(memory)
    assert span.name == "GET /api/payments/echo"
    assert span.parent is None
    assert span.status.status_code is StatusCode.UNSET
    assert attributes(span) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/api/payments/echo",
        "url.path": "/api/payments/echo",
        "url.scheme": "http",
        "server.address": "testserver",
        "user_agent.original": "curl",
        "evenkeel.service": "payments",
        "evenkeel.request_id": "abc",
    }


def test_the_work_of_the_service_is_a_span_within(
    spans: Spans, memory: InMemorySpanExporter
) -> None:
    get(spans, "/api/payments/echo")
    work, server = memory.get_finished_spans()
    assert work.name == "work of the service"
    assert work.parent is not None
    assert work.parent.span_id == server.context.span_id
    assert server.start_time <= work.start_time <= work.end_time <= server.end_time  # type: ignore[operator]


def test_a_wait_for_a_slot_that_was_in_vain_is_a_span_that_failed(
    spans: Spans, memory: InMemorySpanExporter
) -> None:
    bulkhead = services.SERVICES["payments"].bulkhead
    slots = [bulkhead.acquire() for _ in range(bulkhead.config.size)]
    answer = get(spans, "/api/payments/echo", x_request_timeout_ms="0")
    for slot in slots:
        slot.release()
    wait, server = memory.get_finished_spans()
    assert wait.name == "wait for a slot"
    assert attributes(wait)["error.type"] == "BulkheadFull"
    assert attributes(server)["http.response.status_code"] == answer.status == 503


def test_the_caller_s_trace_goes_on_and_the_view_hands_on_our_span(
    spans: Spans, memory: InMemorySpanExporter
) -> None:
    answer = get(
        spans,
        "/api/payments/echo",
        traceparent=f"00-{TRACE_ID}-{PARENT_ID}-01",
        tracestate="theirs=1",
    )
    span = server_span(memory)
    assert span.parent is not None
    assert (span.parent.span_id, span.parent.is_remote) == (int(PARENT_ID, 16), True)
    assert span.context.trace_state["theirs"] == "1"
    ours = f"00-{TRACE_ID}-{span.context.span_id:016x}-01"
    assert json.loads(answer.body)["traceparent"] == ours


@pytest.mark.parametrize("header", ["", "nonsense", f"00-{'0' * 32}-{PARENT_ID}-01"])
def test_without_a_valid_parent_a_trace_begins(
    spans: Spans, memory: InMemorySpanExporter, header: str
) -> None:
    get(spans, "/api/payments/echo", traceparent=header)
    assert server_span(memory).parent is None


def test_a_caller_that_does_not_sample_is_not_sampled_but_its_trace_goes_on(
    spans: Spans, memory: InMemorySpanExporter
) -> None:
    answer = get(spans, "/api/payments/echo", traceparent=f"00-{TRACE_ID}-{PARENT_ID}-00")
    assert memory.get_finished_spans() == ()
    version, trace_id, span_id, flags = json.loads(answer.body)["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", TRACE_ID, "00")
    assert span_id != PARENT_ID


def test_what_the_sampler_refuses_is_answered_all_the_same() -> None:
    spans = Spans(TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))
    assert get(spans, "/api/payments/echo").status == 200


@pytest.mark.parametrize(
    ("target", "status", "failed"),
    [
        ("/api/payments/echo", 200, False),
        ("/api/payments/unknown", 404, False),
        ("/api/unknown", 404, False),
        ("/api/payments/fails/bug", 500, True),
    ],
)
def test_only_a_failure_of_ours_is_an_error(
    spans: Spans, memory: InMemorySpanExporter, target: str, status: int, *, failed: bool
) -> None:
    get(spans, target)
    span = server_span(memory)
    assert attributes(span)["http.response.status_code"] == status
    assert (span.status.status_code is StatusCode.ERROR) is failed
    assert attributes(span).get("error.type") == (str(status) if failed else None)


def test_no_client_can_make_up_names_or_fill_spans(
    spans: Spans, memory: InMemorySpanExporter
) -> None:
    get(spans, "/nope/" + "x" * 5_000, "BREW" * 500, user_agent="y" * 5_000)
    span = server_span(memory)
    assert span.name == "HTTP"
    assert attributes(span)["http.request.method"] == "_OTHER"
    assert max(len(value) for value in attributes(span).values() if isinstance(value, str)) == 200


def test_no_secret_of_a_request_reaches_its_trace(
    spans: Spans, memory: InMemorySpanExporter
) -> None:
    for path in ("/api/payments/echo", "/api/payments/fails/bug"):
        get(spans, f"{path}?q=swordfish", authorization="Basic swordfish", cookie="a=swordfish")
    assert len(memory.get_finished_spans()) == 4
    assert "swordfish" not in "".join(span.to_json() for span in memory.get_finished_spans())


def test_the_line_of_a_request_names_its_trace(spans: Spans, memory: InMemorySpanExporter) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JSONFormatter())
    logging.getLogger().addHandler(handler)
    get(spans, "/api/payments/echo")
    logging.getLogger().removeHandler(handler)
    line, span = json.loads(stream.getvalue()), server_span(memory)
    assert line["trace_id"] == f"{span.context.trace_id:032x}"
    assert line["span_id"] == f"{span.context.span_id:016x}"


def test_after_a_request_its_trace_is_forgotten(spans: Spans) -> None:
    async def handle(request: Request) -> Response:
        assert trace_of_context.get() is not None
        return Response(status=200)

    async def both() -> None:
        await spans.server(Request(method="GET", raw_path="/"), handle)
        assert trace_of_context.get() is None

    asyncio.run(both())


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator["SimpleQueue[Any]"]:
    """A collector on this machine: what it is sent, one batch after the other."""
    batches: SimpleQueue[Any] = SimpleQueue()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            batches.put((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        yield batches
        server.shutdown()
        thread.join()


def test_a_collector_receives_what_was_not_sent_yet_when_the_process_stops(
    collector: "SimpleQueue[Any]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    spans = Spans(provider_to_collector())
    get(spans, "/api/payments/echo", x_request_id="abc")
    spans.stop()
    path, batch = collector.get(timeout=ANSWER_TIMEOUT_S)
    assert path == "/v1/traces"
    (resource_spans,) = batch.resource_spans
    resource = {each.key: each.value.string_value for each in resource_spans.resource.attributes}
    assert resource["service.name"] == "evenkeel"
    assert resource["deployment.environment.name"] == "test"
    (scope_spans,) = resource_spans.scope_spans
    names = {span.name for span in scope_spans.spans}
    assert names == {"GET /api/payments/echo", "work of the service"}


def test_the_operator_s_name_and_sampler_are_used(
    collector: "SimpleQueue[Any]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "evenkeel-eu")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    provider = provider_to_collector()
    spans = Spans(provider)
    get(spans, "/api/payments/echo")
    spans.stop()
    assert provider.resource.attributes["service.name"] == "evenkeel-eu"
    assert collector.empty()


def test_a_collector_that_is_away_costs_no_request_and_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
    monkeypatch.setattr(RarelyFilter, "INTERVAL_S", 3600.0)
    for name in ("exporter.otlp.proto.http.trace_exporter", "sdk._shared_internal"):
        for each in logging.getLogger(f"opentelemetry.{name}").filters:
            if isinstance(each, RarelyFilter):
                monkeypatch.setattr(each, "_next_s", {})
    spans = Spans(provider_to_collector())
    application = site(spans)
    request = scope("GET", "/api/payments/echo", headers=[("host", "testserver")])
    assert {ask(application, request).status for _ in range(20)} == {200}
    spans.stop()
    told = [each.name for each in caplog.records if each.name.startswith("opentelemetry")]
    assert told.count("opentelemetry.exporter.otlp.proto.http.trace_exporter") == 1
    assert len(told) == len(set(told))


def test_without_an_address_there_are_no_traces(settings: Settings) -> None:
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = ""
    assert tracing.start() is None


def test_with_an_address_there_are(settings: Settings, collector: "SimpleQueue[Any]") -> None:
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = "set"
    spans = tracing.start()
    assert isinstance(spans, Spans)
    spans.stop()


def test_without_an_address_nothing_that_makes_traces_is_imported(tmp_path: Any) -> None:
    # Where OpenTelemetry is installed, the client of Redis imports parts of it for itself.
    program = (
        "import sys, platform_site.asgi;"
        "names = 'platform_site.gateway.spans', 'opentelemetry.sdk.trace';"
        "sys.exit(any(name in sys.modules for name in names))"
    )
    environment = for_child(
        DATA_DIR=str(tmp_path),
        OTEL_EXPORTER_OTLP_ENDPOINT="",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="",
    )
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    assert done.returncode == 0


def test_a_missing_extra_is_a_warning_and_no_crash(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = "http://127.0.0.1:4318"
    assert "platform_site.W002" not in {each.id for each in run_checks()}
    monkeypatch.setattr(tracing, "is_installed", lambda: False)
    assert "platform_site.W002" in {each.id for each in run_checks()}
    assert tracing.start() is None


def test_a_logger_that_repeats_itself_is_heard_once_in_a_while() -> None:
    rarely = RarelyFilter()
    record = logging.LogRecord("any", logging.ERROR, __file__, 1, "away", None, None)
    other = logging.LogRecord("other", logging.ERROR, __file__, 1, "away", None, None)
    heard = []
    for now_s in (100.0, 101.0, 159.0, 160.0, 161.0):
        record.created = other.created = now_s
        heard.append(rarely.filter(record))
        assert rarely.filter(other) is heard[-1]
    assert heard == [True, False, False, True, False]
