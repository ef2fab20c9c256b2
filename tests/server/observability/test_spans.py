import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from server.observability.spans import TurnSpans
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
