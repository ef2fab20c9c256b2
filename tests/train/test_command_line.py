"""Wrong input to `data` and `train` is one line, before anything slow is done."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from safetensors import SafetensorError

from step_audio.cli import disk_failure, main
from step_audio.cli.arguments import parser
from step_audio.cli.recipes import with_recipe
from tests.train.tiny_training import write_pack, write_published


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--topics", "t.txt"], "--topics need a language model"),
        (["--model", "m", "--language", "zh"], "--model need a language model"),
        (["--language", "zh"], "the grammar writes English, not 'zh'"),
    ],
)
def test_what_the_grammar_does_not_do_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    assert main(["data", "write", str(tmp_path / "set"), *flags]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_comments_in_a_file_of_topics_are_no_topics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "topics.txt").write_text("# birds\n\n")
    where = ["--url", "http://127.0.0.1:9/v1", "--model", "m"]
    topics = ["--topics", str(tmp_path / "topics.txt")]
    assert main(["data", "write", str(tmp_path / "set"), *where, *topics]) == 2
    assert "names no topic" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags", [["--steps", "0"], ["--lora", "0"], ["--batch-tokens", "-1"], ["--threads", "two"]]
)
def test_numbers_that_make_no_sense_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    needed = ["--from", "a", "--data", "b", "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as ended:
        main(["train", "sft", *needed, *flags])
    assert ended.value.code == 2
    assert "is not a whole number from 1" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["data", "write", "set", "--count", "-3"])


def test_a_missing_pack_or_checkpoint_is_named_before_pytorch_is_loaded(tmp_path: Path) -> None:
    write_pack(tmp_path / "pack", 2)
    for data, source, said in (
        ("nosuch", "nosuch", "nosuch/pack.json"),
        ("pack", "nosuch", "no checkpoint at"),
    ):
        given = ["--data", str(tmp_path / data), "--from", str(tmp_path / source)]
        script = (
            "import sys; from step_audio.cli import main; code = main(sys.argv[1:]);"
            "print('torch' in sys.modules); sys.exit(code)"
        )
        command = ["train", "sft", *given, "--out", str(tmp_path / "run")]
        done = subprocess.run(
            [sys.executable, "-c", script, *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert said in done.stderr
        assert done.stdout == "False\n"


def test_a_printed_recipe_says_every_flag_and_is_read_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "dpo", "--beta", "0.3", "--no-mask-audio", "--print-recipe"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    recipe = yaml.safe_load(text)
    assert (recipe["beta"], recipe["mask-audio"], recipe["from"]) == (0.3, False, None)
    assert float(recipe["learning-rate"]) == 5e-7
    recipe |= {"from": str(tmp_path / "a"), "data": str(tmp_path / "b"), "out": str(tmp_path / "c")}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"recompute": True}))
    words = ["train", "dpo", "--recipe", str(tmp_path / "recipe.yaml"), "--beta", "0.5"]
    args = parser().parse_args(with_recipe(words))
    assert (args.beta, args.mask_audio, args.recompute) == (0.5, False, True)
    assert (args.source, args.steps, args.report_to) == (tmp_path / "a", None, "")
    with pytest.raises(SystemExit):
        main([*words, "--print-recipe"])
    assert yaml.safe_load(capsys.readouterr().out)["beta"] == 0.5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot read the recipe"),
        ("- a\n", "is no recipe"),
        ("steps: [1]\n", "steps is not one value"),
        ("a: &b [*b", "cannot read the recipe"),
    ],
)
def test_recipes_that_are_none_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / "recipe.yaml").write_text(text)
    assert main(["train", "sft", "--recipe", str(tmp_path / "recipe.yaml")]) == 2
    assert said in capsys.readouterr().err


def test_disks_that_fail_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = write_published(tmp_path / "base")

    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left (os error 28)")

    monkeypatch.setattr("step_audio.train.checkpoints.save_file", full)
    assert main(["train", "merge", "--parent", f"{base}=1", "--out", str(tmp_path / "m")]) == 1
    (line,) = [row for row in capsys.readouterr().err.splitlines() if row.startswith("step-audio:")]
    assert "No space left" in line
    assert "No space left on device" in disk_failure(OSError(errno.ENOSPC, "full", "a.jsonl"))
    assert disk_failure(OSError(errno.ENOSPC, "full", "a.jsonl")).startswith("a.jsonl: ")
    assert disk_failure(FileNotFoundError(errno.ENOENT, "gone")) == ""
    assert disk_failure(ValueError("os error")) == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_ours_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o500)
    assert main(["data", "write", str(tmp_path / "set"), "--count", "1"]) == 1
    assert "Permission denied" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--rewards", "charm=1"], "no reward 'charm'; there are judge, calls"),
        (["--rewards", "judge=much"], "is not NAME=WEIGHT"),
        (["--rewards", "endpoint"], "needs --judge-url and --judge-model"),
        (["--rewards", "model=1"], "needs --reward-model FOLDER"),
        (["--candidates", "1"], "must be 2 or more"),
        (["--beta", "-1"], "must not be negative"),
    ],
)
def test_rewards_that_cannot_be_given_are_refused_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    assert main(["train", "grpo", "nosuch", "--out", str(tmp_path / "run"), *flags]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
