"""The `Recorder` port in Prometheus' terms, and GET /metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from step_audio.core.measures import MEASURES, Measure

_LOG = logging.getLogger(__name__)

PREFIX: Final = "step_audio_"


class Metrics:
    """Keeps every measure of `core.measures` and writes them out.

    Has a registry of its own, so that two servers in one process count apart.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._put: dict[str, Callable[[str, float], None]] = {
            name: _sink(measure, self._registry) for name, measure in MEASURES.items()
        }
        self._unknown: set[str] = set()

    def observe(self, name: str, value: float) -> None:
        """Count one value; a name outside of `core.measures` is logged once and left out."""
        base, _, given = name.partition(".")
        put = self._put.get(base)
        if put is not None:
            put(given, value)
        elif base not in self._unknown:
            self._unknown.add(base)
            _LOG.warning("unknown measure", extra={"measure": base})

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)


def _sink(measure: Measure, registry: CollectorRegistry) -> Callable[[str, float], None]:
    """Return what takes the labels' values, joined by dots ("" for none), and a value."""
    name, labels = PREFIX + measure.exported, measure.labels
    split = len(labels) - 1
    if measure.kind == "counter":
        counter = Counter(name, measure.about, labels, registry=registry)
        return _by_label(
            lambda at: (counter.labels(*at.rsplit(".", split)) if labels else counter).inc
        )
    if measure.kind == "gauge":
        gauge = Gauge(name, measure.about, labels, registry=registry)
        return _by_label(lambda at: (gauge.labels(*at.rsplit(".", split)) if labels else gauge).set)
    histogram = Histogram(name, measure.about, labels, registry=registry, buckets=measure.buckets)
    return _by_label(
        lambda at: (histogram.labels(*at.rsplit(".", split)) if labels else histogram).observe
    )


def _by_label(find: Callable[[str], Callable[[float], None]]) -> Callable[[str, float], None]:
    """Return a sink that looks a label up once: it is written to for every event of a session."""
    known: dict[str, Callable[[float], None]] = {}

    def put(label: str, value: float) -> None:
        if label not in known:
            known[label] = find(label)
        known[label](value)

    return put


def metrics_router(metrics: Metrics) -> APIRouter:
    """Return GET /metrics."""
    router = APIRouter()

    @router.get("/metrics")
    async def read_metrics() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router
