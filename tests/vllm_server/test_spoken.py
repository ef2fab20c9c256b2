"""A spoken answer of nano with its LM behind vLLM: question wav in, answer wav out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from step_audio.cli import main
from tests.vllm_server.conftest import nano_profile
from tests.vllm_server.process import ROOT, VllmProcess

QUESTION = ROOT / "tests" / "golden" / "audio" / "en_1.wav"


def test_the_spoken_answer_is_the_one_of_the_local_engine(
    nano_server: VllmProcess,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    profile = nano_profile(tmp_path / "remote.yaml", nano_server.url)
    remote, local = tmp_path / "remote.wav", tmp_path / "local.wav"
    capsys.readouterr()
    assert (
        main(
            [
                "ask",
                str(QUESTION),
                "-o",
                str(remote),
                "--profile",
                str(profile),
                "--seed",
                "3",
                "--json",
            ]
        )
        == 0
    )
    heard = json.loads(capsys.readouterr().out)
    monkeypatch.setenv("STEP_AUDIO__ENGINE__PRECISION", "float32")
    assert main(["ask", str(QUESTION), "-o", str(local), "--seed", "3", "--json"]) == 0
    assert heard["text"] == json.loads(capsys.readouterr().out)["text"] != ""
    sound, rate_hz = sf.read(remote)
    assert len(sound) > rate_hz / 2
    assert np.abs(sound).max() > 0.05
    assert remote.read_bytes() == local.read_bytes()
