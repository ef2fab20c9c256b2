"""Rounds of `data loop`: each speaks with the model of the round before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from step_audio.cli import main as step_audio
from step_audio.cli.data_loop import outcome, table
from step_audio.core.config import load_profile
from step_audio.core.json_lines import RowWriter, read_rows
from step_audio.data.manifest import read_lines
from step_audio.nano.corpus.exchanges import grammar
from step_audio.nano.domain import Split


def test_what_could_not_be_said_is_not_accepted(tmp_path: Path) -> None:
    written: dict[str, list[dict[str, Any]]] = {
        "failures": [{"id": "a"}, {"id": "b"}],  # b was said later
        "verdicts": [{"id": "b", "passed": True}, {"id": "c", "passed": False}],
        "scores": [{"id": "b", "error_rate": 0.0}, {"id": "c", "error_rate": 0.5}, {"id": "d"}],
    }
    for name, found in written.items():
        with RowWriter(tmp_path / f"{name}.jsonl") as rows:
            for row in found:
                rows.add(row)
    assert outcome(tmp_path) == {"lines": 3, "accepted": 1, "error_rate": 0.25}


def test_the_gain_of_a_round_is_against_the_one_before() -> None:
    held = [{"lines": 10, "accepted": n, "error_rate": None} for n in (5, 8, 7)]
    said = {"lines": 20, "accepted": 15, "error_rate": 0.1}
    rows: list[dict[str, Any]] = [{"round": 0, "held": held[0]}]
    rows += [{"round": n, "said": said, "held": held[n]} for n in (1, 2)]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table(rows).splitlines()]
    assert cells[2:] == [
        ["0", "", "", "0.500 of 10", "", ""],
        ["1", "20", "0.750", "0.800 of 10", "+0.300", ""],
        ["2", "20", "0.750", "0.700 of 10", "-0.100", ""],
    ]


def test_the_held_half_of_the_grammar_asks_otherwise() -> None:
    halves: tuple[Split, ...] = ("train", "held")
    known = {str(e.source["carrier"]) for e in grammar(4000, 1, half="train")}
    new = [
        sum(str(e.source["carrier"]) not in known for e in grammar(300, 2, half=half))
        for half in halves
    ]
    assert new[0] < 100
    assert new[1] == 300


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_round_learns_from_what_it_said_and_the_next_speaks_with_the_new_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--rounds", "2", "--count", "3", "--held", "1"]
    gates = ["--filter", "--recogniser none --no-dnsmos"]
    train = ["--train", "--steps 1 --lora 2 --no-bf16 --device cpu --eval-share 0 --threads 1"]
    words = ["data", "loop", str(tmp_path / "loop"), *small, *gates, *train]
    assert step_audio(words) == 0
    told = capsys.readouterr().out
    rows = read_rows(tmp_path / "loop" / "rounds.jsonl")
    assert [row["round"] for row in rows] == [0, 1, 2]
    assert all(row["held"]["lines"] == 1 for row in rows)
    assert all(0 < row["said"]["accepted"] <= row["said"]["lines"] for row in rows[1:])
    # The second round speaks with, and trains, what the first one made.
    first = tmp_path / "loop" / "round-1" / "model.yaml"
    assert f"data speak {tmp_path}/loop/round-2/set --by profile --profile {first}" in told
    assert f"train sft --from {first.with_suffix('')}/lm" in told
    assert load_profile(str(first)).weights == first.with_suffix("")
    # New texts every round, and the same held-out ones.
    lines = [
        [line.text for line in read_lines(tmp_path / "loop" / f"round-{n}" / part)]
        for n, part in ((1, "set"), (2, "set"), (1, "held"), (2, "held"))
    ]
    assert lines[0] != lines[1]
    assert lines[2] == lines[3]
    # Run again, nothing is done again.
    assert step_audio(words) == 0
    again = capsys.readouterr().out
    assert "$ step-audio" not in again
    assert "| 2 |" in again
    weights = [tmp_path / "loop" / f"round-{n}" / "model" / "lm" for n in (1, 2)]
    facts = [json.loads((folder / "config.json").read_text()) for folder in weights]
    assert facts[0] == facts[1]
