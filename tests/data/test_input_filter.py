"""Whatever a tokenizer hears went through one filter: in serving, in packs, in nano's training."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from step_audio.core.audio import write_wav
from step_audio.core.ports import Stage
from step_audio.core.types import Pcm, TokenGroup, Voice
from step_audio.data.manifest import SpokenUtterance, sound_hash
from step_audio.data.pack import tokens
from step_audio.dialog.turns.input_audio import TurnAudio
from step_audio.dialog.turns.utterance import Utterance
from tests.fakes import CountingTokenizer, group

RATE = 24_000
PCM: Pcm = (np.round(np.random.default_rng(4).uniform(-0.9, 0.9, 2 * RATE) * 32767) / 32768).astype(
    np.float32
)


class Ear(CountingTokenizer):
    """Keeps the samples that it hears."""

    def __init__(self) -> None:
        self.heard: list[Pcm] = []

    def open(self) -> Stage[Pcm, TokenGroup]:
        return _Keeping(self.heard)

    def encode_whole(self, pcm: Pcm) -> list[TokenGroup]:
        self.heard.append(pcm)
        return [group(1)]

    @property
    def sound(self) -> Pcm:
        return np.concatenate(self.heard)


class _Keeping:
    def __init__(self, heard: list[Pcm]) -> None:
        self._heard = heard

    def __deepcopy__(self, _: dict[int, object]) -> _Keeping:
        return self

    def push(self, item: Pcm, /) -> Iterable[TokenGroup]:
        self._heard.append(item)
        return (group(1),)

    def flush(self) -> Iterable[TokenGroup]:
        return ()


def served() -> Pcm:
    """Return what a spoken question at 24 kHz sounds like to the tokenizer of a server."""
    ear = Ear()
    question = Utterance(ear, RATE)
    for chunk in np.split(PCM, 100):
        question.push(chunk)
    question.finish()
    return ear.sound


def test_a_turn_of_a_session_sounds_as_a_question_sent_whole() -> None:
    ear = Ear()
    turn = TurnAudio(ear, RATE)
    for chunk in np.split(PCM, 100):
        turn.push(chunk)
    assert turn.take() is not None
    np.testing.assert_array_equal(ear.sound, served())


def test_a_packed_utterance_sounds_as_it_does_to_a_server(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", PCM, RATE)
    utterance = SpokenUtterance("a", "", "a.wav", sound_hash(PCM), 2.0, "ann")
    ear = Ear()
    tokens(tmp_path, [utterance], lambda: ear, "weights")
    np.testing.assert_allclose(ear.sound, served(), atol=1e-4)


def test_a_voice_is_made_of_what_a_server_hears() -> None:
    making = pytest.importorskip("step_audio.voices.making")
    stream = pytest.importorskip("tests.vocoder.test_stream")
    ear = Ear()
    lender = Voice("rms", np.zeros(192, dtype=np.float32))
    maker = making.VoiceMaker(ear, stream.tiny_flow(), None, [lender])
    maker.make("ann", "words", PCM, RATE)
    np.testing.assert_array_equal(ear.sound, served())


def nano_corpus() -> Pcm:
    corpus = pytest.importorskip("step_audio.nano.corpus.corpus")
    made: Pcm = corpus.to_16k(PCM, RATE).astype(np.float32)
    return made


def nano_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pcm:
    lm_data = pytest.importorskip("step_audio.nano.training.lm_data")
    monkeypatch.setattr(lm_data, "synthesize_many", lambda jobs, workers: [(PCM, RATE)] * len(jobs))
    monkeypatch.setattr(lm_data, "vocabulary", lambda: ["one"])
    ear = Ear()
    lm_data.speaking_shard(0, ear, 0, tmp_path, ["hello"])
    return ear.heard[0]


def test_nano_is_trained_on_what_a_server_hears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for sound in (nano_corpus(), nano_answers(tmp_path, monkeypatch)):
        # Levels differ, the filter does not.
        same, of = sound / np.abs(sound).max(), served() / np.abs(served()).max()
        np.testing.assert_allclose(same, of, atol=1e-4)
