"""Tables of the documents follow from the code, and the pages are linked."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from server.realtime.wire.client_events import EVENTS
from step_audio.core.profile import Profile, Section
from tests.docs import figures
from tests.docs.tables import BLOCK, DOCS, PAGES, SECTIONS, SERVER_EVENTS, TABLES, filled

ROOT = DOCS.parent
MADE = sorted(page for page in PAGES if BLOCK.search(page.read_text()))


@pytest.mark.parametrize("page", MADE, ids=lambda p: p.name)
def test_tables_in_the_pages_are_those_of_the_code(page: Path) -> None:
    assert filled(page.read_text()) == page.read_text(), "run: make docs-tables"


def test_the_plot_of_a_turn_is_that_of_the_figures() -> None:
    if figures.of("timeline"):
        kept = figures.TIMELINE.read_text(encoding="utf-8")
        assert kept == figures.timeline_plot(), "run: make figures"


def test_the_plot_is_that_of_the_figures() -> None:
    if figures.of("peers"):
        assert figures.PLOT.read_text(encoding="utf-8") == figures.plot(), "run: make figures"


def test_a_measurement_replaces_the_same_one_and_leaves_others(tmp_path: Path) -> None:
    whole, nano = {"bench": "peers", "way": "whole"}, {"bench": "peers", "way": "nano"}
    kept = figures.merged([whole | {"first_s": 9.0}, nano], [whole | {"first_s": 8.0}])
    assert kept == [nano, whole | {"first_s": 8.0}]
    path = tmp_path / "x.jsonl"
    path.write_text('not json\n{"bench": "unknown"}\n' + json.dumps(nano) + "\n")
    assert figures.read(path) == [nano]


def test_what_a_benchmark_left_becomes_table_and_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "KEPT", tmp_path / "figures.jsonl")
    monkeypatch.setattr(figures, "PLOT", tmp_path / "peers.svg")
    left = tmp_path / "left"
    left.mkdir()
    line = {"bench": "peers", "runs": 3, "turns": 15, "first_s": 1.5, "total_s": 4.0}
    line |= {"sound_s": 3.0, "cpu_s": 2.25, "memory_mb": 900, "words_right": 0.98}
    lines = [json.dumps(line | {"way": way}) for way in ("whole", "nano")]
    (left / "peers.jsonl").write_text("\n".join(lines))
    assert figures.take([left]) == 2
    table = TABLES["peers"]()
    assert "| ours: `nano` | 1.50 s | 4.00 s | 3.0 s | 2.2 s | 900 MB | 98 % |" in table
    assert "3 runs of 5 questions" in table
    assert (tmp_path / "peers.svg").read_text() == figures.plot()
    assert figures.plot().count("<rect") == 1 + 3 * 2
    assert TABLES["peers-plot"]().endswith("(peers.svg)\n")


def test_every_table_has_its_page() -> None:
    assert {m[1] for page in MADE for m in BLOCK.findall(page.read_text())} == set(TABLES)


def test_every_section_of_a_profile_is_in_the_table() -> None:
    seen: set[type] = set()

    def visit(model: type[Section]) -> None:
        seen.add(model)
        for field in model.model_fields.values():
            for inner in re.findall(r"step_audio\.core\.profile\.(\w+)", repr(field.annotation)):
                kind = getattr(__import__("step_audio.core.profile", fromlist=[inner]), inner)
                if issubclass(kind, Section) and kind not in seen:
                    visit(kind)

    visit(Profile)
    assert seen == {model for _, model in SECTIONS}


def test_events_that_the_server_names_are_in_the_matrix() -> None:
    # Files of protocol versions name keys of the settings, which are no events.
    files = (ROOT / "server/realtime").rglob("*.py")
    code = "".join(p.read_text() for p in files if p.parent.name != "versions")
    # Not places of errors, nor names of tasks.
    named = r'(?<!param=)(?<!name=)"((?:session|conversation|response|input_audio_buffer)\.[\w.]+)"'
    known = {*EVENTS, *SERVER_EVENTS, *(name.rpartition(".")[0] for name in SERVER_EVENTS)}
    assert set(re.findall(named, code)) <= known
    for name in SERVER_EVENTS:
        # Some are put together from a stem and an ending.
        assert name.rpartition(".")[0] in code or name in code or name.split(".")[-1] in code, name


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text()
    yaml.safe_load(menu)
    assert all(f" {page.name}\n" in menu for page in DOCS.glob("*.md"))


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_callers_and_stages_become_tables_and_a_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "KEPT", tmp_path / "figures.jsonl")
    monkeypatch.setattr(figures, "TIMELINE", tmp_path / "turn.svg")
    spread = {"p50": 210.4, "p95": 300.0}
    line = {"bench": "load.callers", "profile": "nano", "speculate": True, "answered": 30}
    line |= {"first_audio_ms": spread, "after_decision_ms": spread, "rtf": {"p95": 0.4}}
    lines = [
        line | {"sessions": count, "together": together, "underruns": 0}
        for count, together in ((3, True), (1, False))
    ]
    stages = {stage: 10.0 * at for at, stage in enumerate(figures.STAGES)}
    lines.append({"bench": "timeline", "profile": "nano", "stages_ms": stages, "p95_ms": stages})
    left = tmp_path / "left"
    left.mkdir()
    (left / "load.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert figures.take([left]) == 3
    rows = [row for row in TABLES["callers"]().splitlines() if "ms" in row]
    assert rows[0].startswith("| 1 | in their own time | yes | 210 / 300 ms |")
    assert rows[1].startswith("| 3 | in the same instant | yes |")
    assert "| the first chunk becomes sound | 40 ms | 40 ms |" in TABLES["timeline"]()
    plot = (tmp_path / "turn.svg").read_text()
    assert plot.count("<rect") == 1 + len(stages)
    assert ">150<" in plot
