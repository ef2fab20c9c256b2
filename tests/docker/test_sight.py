"""Dashboards and alerts ask a running server for nothing that it does not export."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from server.admission.limits import ServerSettings
from server.observability.metrics import Metrics
from step_audio.core.measures import MEASURES
from tests.server.conftest import Connect, connect

__all__ = ["connect"]

DOCKER = Path(__file__).parents[2] / "docker"
OF_VLLM = ("vllm:",)
OF_PROMETHEUS = {"up"}
NAME = re.compile(r"\b(?:vllm:|step_audio_|process_)\w+|\bup\b")
MATCHER = re.compile(r"(\w+)\{([^}]*)\}")


def _queries() -> Iterator[tuple[str, str]]:
    """Yield (where, expression) of every panel and every alert."""
    for path in sorted((DOCKER / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"]
    rules = yaml.safe_load((DOCKER / "prometheus" / "alerts.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield f"alert {rule['alert']}", rule["expr"]


QUERIES = list(_queries())


@pytest.fixture
def exported(connect: Connect) -> set[str]:
    """Names of all samples that /metrics may carry, as Prometheus keeps them."""
    metrics = Metrics()
    client = connect(settings=ServerSettings(open_metrics=True), metrics=metrics)
    names: set[str] = set()
    for family in text_string_to_metric_families(client.get("/metrics").text):
        endings = {
            "counter": ("_total",),
            "histogram": ("_bucket", "_sum", "_count"),
        }.get(family.type, ("",))
        names |= {family.name + ending for ending in endings}
    return names


@pytest.mark.parametrize(("where", "query"), QUERIES, ids=[where for where, _ in QUERIES])
def test_every_query_asks_for_what_a_server_exports(
    where: str, query: str, exported: set[str]
) -> None:
    asked = {name for name in NAME.findall(query) if not name.startswith(OF_VLLM)} - OF_PROMETHEUS
    assert asked or OF_VLLM[0] in query or "up" in query
    assert asked <= exported, f"{where} asks for {sorted(asked - exported)}"


@pytest.mark.parametrize(("where", "query"), QUERIES, ids=[where for where, _ in QUERIES])
def test_every_label_is_one_that_its_measure_has(where: str, query: str) -> None:
    labels = {f"step_audio_{m.exported}": set(m.labels) for m in MEASURES.values()}
    for name, matchers in MATCHER.findall(query):
        if name in labels:
            used = {part.split("=")[0].rstrip("!~").strip() for part in matchers.split(",")}
            assert used <= {*labels[name], "job", "instance"}, where
    grouped = re.search(r"by \((\w+)\) \(rate\((step_audio_\w+)\[", query)
    if grouped and grouped[1] != "le":  # a histogram's own
        assert grouped[1] in labels[grouped[2]], where


def test_the_promised_views_are_on_the_dashboard() -> None:
    text = " ".join(query for _, query in QUERIES)
    for measure in (
        "turn_first_audio_seconds",
        "underruns_total",
        "barge_in_silence_seconds",
        "speculations_total",
        "step_audio_sessions",
        "engine_tokens_per_second",
        "prefix_cache_hits",
    ):
        assert measure in text


def test_the_alert_on_gateways_fires_also_where_none_is_left() -> None:
    groups = yaml.safe_load((DOCKER / "prometheus" / "alerts.yml").read_text())["groups"]
    (down,) = [r for g in groups for r in g["rules"] if r.get("alert") == "GatewayDown"]
    # Targets come from DNS: a gateway that is gone leaves no `up` that could be 0.
    assert down["expr"].split(" or ") == ['up{job="gateway"} == 0', 'absent(up{job="gateway"})']


def test_the_gateways_scraped_are_the_ones_that_compose_starts() -> None:
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    scrape = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job["dns_sd_configs"][0] for job in scrape["scrape_configs"]}
    assert jobs["gateway"]["names"] == ["gateway"]
    assert "gateway" in compose["services"]
    port = compose["services"]["gateway"]["ports"][0].rpartition(":")[2]
    assert str(jobs["gateway"]["port"]) == port
