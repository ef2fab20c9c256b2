"""A run counts, saves and resumes; being told to stop costs it nothing."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path

import pytest
import torch
from torch import nn

from step_audio.train.loop import Budget, TrainingRun, trapezoid


def run_in(out: Path, steps: int) -> TrainingRun:
    net = nn.Linear(2, 2)
    return TrainingRun(
        out, {"net": net}, torch.optim.SGD(net.parameters(), 0.1), Budget(steps=steps)
    )


def test_sigterm_ends_a_run_after_its_step_and_it_goes_on_from_there(tmp_path: Path) -> None:
    usual = signal.getsignal(signal.SIGTERM)
    run = run_in(tmp_path, 5)
    run.advance({"loss": 2.0})
    assert not run.checkpoint.exists(), "none was due yet"
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(SystemExit, match="stopped after step 2"):
        run.advance({"loss": 1.0})
    assert signal.getsignal(signal.SIGTERM) == usual
    again = run_in(tmp_path, 5)
    assert again.resume()
    assert again.step == 2
    for name, value in run.modules["net"].state_dict().items():
        assert torch.equal(again.modules["net"].state_dict()[name], value)
    for _ in range(3):
        again.advance({"loss": 1.0})
    assert again.done
    assert signal.getsignal(signal.SIGTERM) == usual


def test_the_figures_that_are_logged_are_those_of_the_steps(tmp_path: Path) -> None:
    run = run_in(tmp_path, 4)
    run.log_every_s = 0.0
    for rate, loss in ((4e-6, 4.0), (2e-6, 2.0), (1e-6, 1.0), (5e-7, 1.0)):
        run.advance({"loss": loss, "learning_rate": rate, "audio": math.nan})
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in rows] == pytest.approx([4.0, 3.0, 7 / 3, 2.0], rel=1e-5)
    assert [row["learning_rate"] for row in rows] == [4e-6, 2e-6, 1e-6, 5e-7]
    assert "audio" not in rows[0]


def test_the_learning_rate_rises_holds_and_falls() -> None:
    assert trapezoid(0.0, 0, warm_steps=10) == pytest.approx(0.1)
    assert trapezoid(0.3, 50, warm_steps=10) == 1.0
    assert trapezoid(0.7, 99, warm_steps=10, hold=0.4) == pytest.approx(0.5)
    assert trapezoid(1.0, 99, warm_steps=10) == 0.03
