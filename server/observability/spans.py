"""A span for each turn, for OpenTelemetry: needs the extra `telemetry`, off by default.

Where spans go is said by OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from server.observability.turns import TurnReader, TurnTimes
from server.observability.watch import Event
from step_audio.core.errors import InputError


def otlp_tracer(service: str) -> Any:
    """Return a tracer that exports over OTLP. Raises InputError: the extra is not installed."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        raise InputError(
            "server.spans needs OpenTelemetry's exporter; install it: make telemetry, or"
            " pip install 'step-audio[telemetry]'"
        ) from None
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("step_audio")


class TurnSpans:
    """A `Watch` that tells a tracer of each turn when it is done; never what was said."""

    def __init__(
        self, tracer: Any, session_id: str, wall_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """Remember where spans go.

        Args:
            session_id: until `session.created` tells the one that the client knows.
            wall_ns: the time of day, to which the watch's steady times are moved.
        """
        self._tracer, self._session_id, self._wall_ns = tracer, session_id, wall_ns
        self._reader = TurnReader()

    def received(self, text: str, now_s: float) -> None:
        """Nothing to tell."""

    def sent(self, event: Event, now_s: float) -> None:
        """Follow the turn."""
        if event["type"] == "session.created":
            self._session_id = event["session"]["id"]
        turn = self._reader.read(event, now_s)
        if turn is not None:
            self._tell(turn, now_s)

    def ended(self, now_s: float) -> None:
        """Nothing is left open: spans are made when a turn is done."""

    def _tell(self, turn: TurnTimes, now_s: float) -> None:
        shift_ns = self._wall_ns() - int(now_s * 1e9)

        def at(when_s: float) -> int:
            return int(when_s * 1e9) + shift_ns

        begin_s = turn.created_s if turn.committed_s is None else turn.committed_s
        attributes = {
            "session.id": self._session_id,
            "response.id": turn.response_id,
            "response.status": turn.status,
            "sound.seconds": turn.sound_s,
            "underruns": len(turn.dry_s),
        }
        span = self._tracer.start_span("turn", start_time=at(begin_s), attributes=attributes)
        for name, when_s in (
            ("response.created", turn.created_s),
            ("first_audio", turn.first_sound_s),
            ("interrupted", turn.interrupted_s),
            ("last_audio", turn.last_sound_s),
        ):
            if when_s is not None:
                span.add_event(name, timestamp=at(when_s))
        span.end(end_time=at(now_s))
