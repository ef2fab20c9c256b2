import numpy as np
import pytest

from step_audio.core.errors import AudioError
from step_audio.data.speakers import speaker
from step_audio.data.synthesis import synthesize
from step_audio.nano.exam.judge import Judge, judge_of, open_judge, prepare

TRUE = ["the capital of france is paris", "the capital of italy is rome", "two plus two is four"]
FALSE = ["the capital of france is rome", "two plus two is paris"]
WORDS = " ".join(TRUE).split()


@pytest.fixture(scope="module")
def judge(speech_tools: None) -> Judge:
    return judge_of(TRUE * 50, WORDS, {})


@pytest.mark.parametrize("text", TRUE)
def test_clear_speech_is_heard_as_spoken(judge: Judge, text: str) -> None:
    assert judge.hear(*synthesize(text, speaker("flite-rms"))) == text


@pytest.mark.parametrize("text", FALSE)
def test_false_statements_are_not_corrected(judge: Judge, text: str) -> None:
    assert judge.hear(*synthesize(text, speaker("flite-rms"))) == text


def test_level_and_repetition_do_not_change_what_is_heard(judge: Judge) -> None:
    pcm, rate = synthesize(TRUE[0], speaker("flite-rms"))
    heard = [judge.hear(pcm * np.float32(gain), rate) for gain in (1.0, 0.05, 1.0)]
    assert heard == [TRUE[0]] * 3


def test_nothing_is_heard_as_nothing(judge: Judge) -> None:
    assert judge.hear(np.zeros(0, dtype=np.float32), 22_050) == ""


def test_words_the_wheel_does_not_know_come_from_the_lexicon(speech_tools: None) -> None:
    ear = judge_of(
        ["zorblat is four"],
        ["zorblat", "is", "four"],
        {"zorblat": [("z", "ao", "r", "b", "l", "ae1", "t")]},
    )
    assert ear.hear(*synthesize("zorblat is four", speaker("flite-rms"))) == "zorblat is four"


def test_open_judge_needs_no_domain(speech_tools: None) -> None:
    heard = open_judge().hear(*synthesize("what time is it", speaker("flite-rms")))
    assert heard == "what time is it"


def test_broken_samples_are_refused() -> None:
    with pytest.raises(AudioError):
        prepare(np.array([0.0, np.nan], dtype=np.float32), 16_000)


def test_sound_is_brought_to_one_rate_and_level_between_pauses() -> None:
    quiet = np.full(22_050, 0.01, dtype=np.float32)
    samples = prepare(quiet, 22_050)
    assert len(samples) == pytest.approx(16_000 + 3_200 + 4_800, abs=2)
    assert int(samples[4_000:18_000].mean()) == pytest.approx(0.7 * 32_767, rel=0.07)
    assert np.abs(samples[:3_000]).max() < 100
