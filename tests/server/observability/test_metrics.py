import ast
from pathlib import Path

import pytest

from server.observability.metrics import Metrics
from step_audio.core.measures import MEASURES

ROOT = Path(__file__).parents[3]


def line(metrics: Metrics, start: str) -> float:
    found = [row for row in metrics.text().decode().splitlines() if row.startswith(start + " ")]
    assert len(found) == 1, start
    return float(found[0].split(" ")[1])


def test_each_kind_is_written_in_prometheus_terms() -> None:
    metrics = Metrics()
    metrics.observe("underruns", 1)
    metrics.observe("underruns", 2)
    metrics.observe("sessions", 4)
    metrics.observe("sessions", 3)
    metrics.observe("turn_first_audio_s", 0.12)
    assert line(metrics, "step_audio_underruns_total") == 3
    assert line(metrics, "step_audio_sessions") == 3
    assert line(metrics, "step_audio_turn_first_audio_seconds_count") == 1
    assert line(metrics, 'step_audio_turn_first_audio_seconds_bucket{le="0.1"}') == 0
    assert line(metrics, 'step_audio_turn_first_audio_seconds_bucket{le="0.15"}') == 1


def test_what_follows_the_dot_is_the_label() -> None:
    metrics = Metrics()
    metrics.observe("guard_stops.origin", 1)
    metrics.observe("guard_stops.key", 1)
    metrics.observe("guard_stops.key", 1)
    assert line(metrics, 'step_audio_guard_stops_total{reason="origin"}') == 1
    assert line(metrics, 'step_audio_guard_stops_total{reason="key"}') == 2


def test_an_unknown_name_is_logged_once_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    metrics.observe("surprise", 1)
    metrics.observe("surprise", 1)
    assert b"surprise" not in metrics.text()
    assert len(caplog.records) == 1


def test_the_process_is_measured_too() -> None:
    assert line(Metrics(), "process_open_fds") > 0


def test_two_servers_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.observe("underruns", 1)
    assert line(other, "step_audio_underruns_total") == 0


def observed_names() -> set[str]:
    """Names given to `observe(...)` anywhere in the sources."""
    names: set[str] = set()
    for folder in ("step_audio", "server", "tokenizer", "vocoder"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call) or not node.args:
                    continue
                function = node.func
                called = getattr(function, "attr", getattr(function, "id", ""))
                if called != "observe":
                    continue
                name = node.args[0]
                if isinstance(name, ast.JoinedStr):
                    name = name.values[0]
                if isinstance(name, ast.Constant) and isinstance(name.value, str):
                    names.add(name.value.partition(".")[0])
    return names


def test_everything_observed_is_a_known_measure() -> None:
    assert "first_audio_s" in observed_names()
    assert observed_names() <= set(MEASURES)
