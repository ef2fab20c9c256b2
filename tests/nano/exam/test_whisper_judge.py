import numpy as np
import pytest

from step_audio.core.errors import AudioError
from step_audio.data.speakers import speaker
from step_audio.data.synthesis import synthesize
from step_audio.eval import whisper
from step_audio.nano.exam.examination import open_sentences
from step_audio.nano.exam.judge import WhisperJudge, in_words


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("12 plus 30 is 42.", "twelve plus thirty is forty two"),
        ("It is 7°C in Rome.", "it is seven degrees celsius in rome"),
        ("It's November 21st.", "it's november twenty first"),
        ("Twenty-one, 3.5", "twenty one three point five"),
        ("-5 degrees", "minus five degrees"),
        ("It is 15:42 in Paris.", "it is fifteen forty two in paris"),
        ("", ""),
    ],
)
def test_figures_are_put_into_words(written: str, said: str) -> None:
    assert in_words(written) == said


def test_words_stay_as_they_are_so_that_texts_and_what_is_heard_compare() -> None:
    text = "twelve plus thirty is forty two"
    assert in_words(text) == text


def test_broken_samples_are_refused_and_silence_is_nothing() -> None:
    with pytest.raises(AudioError):
        whisper.hear(np.array([0.0, np.nan], dtype=np.float32), 16_000)
    assert WhisperJudge().hear(np.zeros(16_000, dtype=np.float32), 16_000) == ""
    assert WhisperJudge().hear(np.zeros(0, dtype=np.float32), 22_050) == ""


@pytest.mark.parametrize("text", ["the capital of france is rome", "two plus two is nine"])
def test_false_statements_are_not_corrected(text: str, speech_tools: None) -> None:
    assert WhisperJudge().hear(*synthesize(text, speaker("flite-rms"))) == text


def test_there_are_a_hundred_different_open_sentences() -> None:
    read = open_sentences()
    assert len(set(read)) == len(read) == 100
    assert all(4 <= len(in_words(sentence).split()) <= 14 for sentence in read)
