"""The trainer of the waveform generator: learns, resumes exactly, exports what loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from step_audio.core.errors import InputError
from step_audio.nano.corpus.vocoder_corpus import (
    Corpus,
    CropSampler,
    build_corpus,
    draw_job,
    draw_sentence,
    measure_f0,
)
from step_audio.nano.training import hift as hift_training
from step_audio.nano.training.hift import HiftTrainer, Settings, train
from step_audio.train.loop import Budget
from vocoder.loading import load_hift
from vocoder.mel import MelConfig

HOP = 256
TINY = Settings(batch=1, frames=16, pitch_batch=1, pitch_frames=24, pitch_until=0.0)


def tones(frames: int = 400, utterances: int = 4) -> Corpus:
    """Utterances that are steady tones of 150, 160, ... Hz."""
    per = frames // utterances
    time = np.arange(per * HOP) / 22050
    pitches = [150.0 + 10 * i for i in range(utterances)]
    pcm = np.concatenate([0.3 * np.sin(2 * np.pi * hz * time) for hz in pitches])
    return Corpus(
        (pcm * 32767).astype(np.int16),
        np.repeat(pitches, per).astype(np.float32),
        np.arange(0, frames + 1, per),
        ("tone",) * utterances,
        ("none",) * utterances,
    )


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(hift_training, "HELD_OUT", 1)


def test_pitch_of_a_tone_is_measured_on_mel_frames() -> None:
    pytest.importorskip("pyworld", reason="needs pyworld, which needs a C++ compiler")
    corpus = tones()
    f0 = measure_f0(corpus.utterance(1, HOP), MelConfig())
    assert f0.shape == (100,)
    assert np.median(f0) == pytest.approx(160, abs=1)


def test_crops_stay_inside_one_utterance_and_skip_the_held_out() -> None:
    corpus, rng = tones(), np.random.default_rng(0)
    sampler = CropSampler(corpus, MelConfig(), held_out=1)
    wav, f0 = sampler.draw(64, 20, rng)
    assert wav.shape == (64, 20 * HOP + 2 * MelConfig().margin_samples)
    assert bool((f0 == f0[:, :1]).all())
    assert set(f0[:, 0].tolist()) == {150.0, 160.0, 170.0}


def test_sentences_and_voices_are_those_for_training() -> None:
    rng = np.random.default_rng(0)
    jobs = [draw_job(rng) for _ in range(300)]
    assert all(job.speaker.split == "train" for job in jobs)
    answers = sum(job.speaker.voice in ("rms", "slt") for job in jobs)
    assert answers > 180
    assert len({draw_sentence(rng) for _ in range(100)}) > 90


def test_a_corpus_of_another_hop_is_refused(tmp_path: Path) -> None:
    (tmp_path / "corpus.json").write_text('{"hop": 128, "rows": []}')
    with pytest.raises(InputError, match="hop of 128"):
        build_corpus(tmp_path, 1, 1, MelConfig())


def test_training_lowers_the_spectral_distance() -> None:
    trainer = HiftTrainer(TINY, tones(), torch.device("cpu"))
    rows = [trainer.step(index, 0.1) for index in range(10)]
    assert rows[-1]["mel"] < rows[0]["mel"]


def test_all_three_phases_step_with_finite_losses() -> None:
    settings = Settings(batch=1, frames=16, pitch_batch=1, pitch_frames=24)
    trainer = HiftTrainer(settings, tones(), torch.device("cpu"))
    assert set(trainer.step(0, 0.0)) == {"f0_hz"}
    assert "critics" not in trainer.step(1, 0.5)
    last = trainer.step(2, 0.9)
    assert {"critics", "judged", "mel"} <= set(last)
    assert all(np.isfinite(value) for value in last.values())


def test_an_interrupted_run_ends_where_an_unbroken_one_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, budget = tones(), Budget(steps=4)
    unbroken = load_hift(train(tmp_path / "a", budget, TINY, corpus, "cpu"), fold=False)
    step = HiftTrainer.step

    def interrupted(self: HiftTrainer, index: int, fraction: float) -> dict[str, float]:
        if index == 2:
            raise KeyboardInterrupt
        return step(self, index, fraction)

    monkeypatch.setattr(HiftTrainer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "b", budget, TINY, corpus, "cpu")
    monkeypatch.setattr(HiftTrainer, "step", step)
    resumed = load_hift(train(tmp_path / "b", budget, TINY, corpus, "cpu"), fold=False)
    for name, tensor in unbroken.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, rtol=0, atol=1e-6)


def test_the_exported_weights_load_and_speak(tmp_path: Path) -> None:
    path = train(tmp_path, Budget(steps=1), TINY, tones(), "cpu")
    generator = load_hift(path)
    assert generator.config == hift_training.NANO
    wav = generator.inference(torch.zeros(1, 80, 5) - 6, torch.Generator().manual_seed(0))
    assert wav.shape == (1, 5 * HOP)
