import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from server.observability.spans import TurnSpans, otlp_tracer
from tests.server.observability.test_turns import COMMITTED, created, done, sound


def test_each_turn_is_a_span_with_its_moments_and_no_words() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans = TurnSpans(provider.get_tracer("t"), "s1", wall_ns=lambda: 1_000_000_000_000)
    for now_s, event in (
        (0.5, {"type": "session.created", "session": {"id": "sess_1"}}),
        (1.0, COMMITTED),
        (1.0, created()),
        (1.2, sound(500)),
        (1.6, done()),
    ):
        spans.sent(event, now_s)
    spans.ended(2.0)
    (span,) = exporter.get_finished_spans()
    assert span.name == "turn"
    assert span.start_time is not None
    assert span.end_time is not None
    assert (span.end_time - span.start_time) / 1e9 == pytest.approx(0.6)
    assert [event.name for event in span.events] == [
        "response.created", "first_audio", "last_audio"
    ]  # fmt: skip
    assert span.attributes is not None
    assert span.attributes["response.status"] == "completed"
    assert span.attributes["session.id"] == "sess_1"


class Collector(BaseHTTPRequestHandler):
    """Takes what an exporter sends over HTTP."""

    taken: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        type(self).taken.append((self.path, self.rfile.read(length)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_a_turn_reaches_the_collector_that_the_variable_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs `make telemetry`")
    kind: type[Collector] = type("TestCollector", (Collector,), {"taken": []})
    with HTTPServer(("127.0.0.1", 0), kind) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{collector.server_port}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        tracer = otlp_tracer("the-model")
        spans = TurnSpans(tracer, "s1")
        for now_s, event in ((1.0, COMMITTED), (1.0, created()), (1.2, sound(500)), (1.6, done())):
            spans.sent(event, now_s)
        tracer.span_processor.force_flush()
        tracer.span_processor.shutdown()
        collector.shutdown()
    ((path, body),) = kind.taken
    assert path == "/v1/traces"
    for word in (b"the-model", b"turn", b"first_audio", b"session.id"):
        assert word in body
