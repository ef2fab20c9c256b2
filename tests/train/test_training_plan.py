"""`plan --train`: its arithmetic by hand, what fits, and what it says."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from step_audio.cli import main
from step_audio.cli.arguments import parser
from step_audio.cli.training_plan import operations, planned
from step_audio.engine.plan import gpu_of
from step_audio.engine.sizes import PUBLISHED
from step_audio.train.lora import Lora

SIZES = PUBLISHED["step-audio-tts-3b"]
H100 = gpu_of("h100")
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def test_bytes_and_hours_are_those_by_hand() -> None:
    made = planned(SIZES, H100, 4, lora=None, rows=1, length=2048, recompute=True, ids=1e9)
    # float32 weights and gradients, two moments, each on four cards.
    assert made.bytes["weights"] == pytest.approx(SIZES.parameters, rel=1e-3)
    assert made.bytes["gradients"] == pytest.approx(SIZES.parameters, rel=1e-3)
    assert made.bytes["optimizer"] == pytest.approx(2 * SIZES.parameters, rel=1e-3)
    # One row of 2048 x 3072 in bf16 is kept of each layer, and one whole layer is computed again.
    kept = SIZES.layers * 2048 * SIZES.hidden * 2
    layer = 2048 * (8 * SIZES.hidden + 4 * SIZES.intermediate) * 2
    bias = SIZES.heads * 2048 * 2048 * 2
    assert made.bytes["activations"] == kept + layer + bias
    assert made.fits
    assert made.hours == pytest.approx(1e9 * SIZES.parameters * 8 / (4 * 989e12 * 0.35) / 3600)


def test_an_id_costs_less_where_weights_are_frozen_and_more_where_it_is_computed_again() -> None:
    assert operations(lora=False, recompute=False) == 6
    assert operations(lora=True, recompute=False) == 4
    assert operations(lora=True, recompute=True) == 6


def test_adapters_fit_where_all_weights_do_not() -> None:
    small = gpu_of("rtx4090")
    whole = planned(SIZES, small, 1, lora=None, rows=1, length=2048, recompute=True, ids=1e8)
    lora = planned(SIZES, small, 1, lora=Lora(16), rows=1, length=2048, recompute=True, ids=1e8)
    assert (whole.fits, whole.hours) == (False, None)
    assert lora.fits
    assert lora.bytes["optimizer"] < 0.05 * whole.bytes["optimizer"]


def test_the_command_prints_a_table_and_says_what_to_start(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["plan", "--profile", "tts-3b", "--train", "--gpu", "rtx4090", "--recompute"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "does not" in said
    assert "never NCCL" in said
    assert "torchrun --nnodes 1 --nproc-per-node 8 -m step_audio train sft --recompute" in said
    assert main([*words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert next(row["cards"] for row in rows if row["fits"]) == 8
    assert all(row["total"] > sum(row["bytes"].values()) for row in rows)


def test_what_fits_nowhere_is_said_with_what_would_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["plan", "--profile", "chat-130b", "--train", "--gpu", "rtx4080"]
    assert main(words) == 1
    said = capsys.readouterr().out
    assert "nothing here fits; try --recompute, --lora 16, a smaller --length or --rows" in said
    assert main([*words, "--length", "0"]) == 2
    assert "--ids, --length and --rows must be above 0" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["sft.slurm", "accelerate.sh"])
def test_the_examples_for_clusters_name_flags_that_exist(name: str) -> None:
    text = (EXAMPLES / name).read_text().replace("\\\n", " ")
    assert "never run on NCCL" in text
    commands = [line for line in text.splitlines() if "-m step_audio train" in line]
    assert commands
    for line in commands:
        words = shlex.split(line.partition("-m step_audio ")[2].replace("$", ""))
        parser().parse_args(words)


def test_the_script_of_all_stages_gives_every_command_flags_that_it_has(tmp_path: Path) -> None:
    parse = tmp_path / "parse.py"
    parse.write_text(
        "import sys\nfrom step_audio.cli.arguments import parser\n"
        "parser().parse_args(sys.argv[1:])\nprint(*sys.argv[1:3])\n"
    )
    reward = tmp_path / "out" / "7" / "reward" / "model.safetensors"
    reward.parent.mkdir(parents=True)
    reward.touch()
    names = {"SET": "set", "HELD": "held", "OUT": str(tmp_path / "out"), "SEEDS": "7"}
    done = subprocess.run(
        ["bash", str(EXAMPLES / "post_training.sh")],
        env={**os.environ, **names, "STEP": f"{sys.executable} {parse}"},
        cwd=EXAMPLES.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    stages = ["data pack", "train reject", "data export", "train sft", *["train dpo"] * 3]
    stages += [*["train grpo"] * 2, "train merge", "train score"]
    assert done.stdout.splitlines() == stages
