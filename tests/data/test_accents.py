"""Voices of other languages that speak English: the plan, the mapping, the sound."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from step_audio.core.errors import InputError
from step_audio.data import accents, synthesis
from step_audio.data.accents import Phone, planner, read_plans, utterance
from step_audio.data.speakers import speaker, speakers
from step_audio.data.synthesis import Job, SynthesisError, synthesize, synthesize_many
from step_audio.eval.wer import word_error_rate
from step_audio.nano.domain import pronunciations
from step_audio.nano.exam.judge import domain_judge
from tokenizer.preprocess import resample

VOICES = Path("/usr/share/festival/voices")
ACCENTED = [s for s in speakers("guest") if s.engine == "accent"]

speaks = pytest.mark.skipif(
    shutil.which("festival") is None
    or not all((VOICES / name).exists() for name in ("czech/czech_ph", "english/kal_diphone")),
    reason="training only: apt install festival festvox-kallpc16k festvox-czech-ph",
)
judges = pytest.mark.skipif(
    importlib.util.find_spec("pocketsphinx") is None, reason="training only: make test-train"
)


def test_a_plan_is_read_as_it_was_printed() -> None:
    assert read_plans("plan\npau 0.2\nhh 0.3 0.2 110 0.25 99.5\nplan\n") == [
        [Phone("pau", 0.2, ()), Phone("hh", 0.3, ((0.2, 110.0), (0.25, 99.5)))],
        [],
    ]


def test_time_is_shared_and_every_point_of_the_melody_kept() -> None:
    plan = [Phone("pau", 0.1, ()), Phone("ow", 0.3, ((0.1, 100.0), (0.25, 90.0), (0.3, 80.0)))]
    said = utterance(plan, "czech_ph", rate=2.0, pitch=1.0)
    assert said == (
        '(Utterance Segments (("#" 0.0500) ("o" 0.0500 (0.0000 110.0))'
        ' ("u" 0.0500 (0.0250 99.0) (0.0500 88.0))))'
    )


def test_a_sound_that_the_language_lacks_is_left_out() -> None:
    said = utterance([Phone("hh", 0.1, ((0.0, 100.0),)), Phone("iy", 0.2, ())], "lp_diphone")
    assert said == '(Utterance Segments (("i1" 0.1000)))'


def test_an_unknown_voice_is_an_input_error() -> None:
    with pytest.raises(InputError, match="nobody"):
        utterance([], "nobody")


def test_every_language_has_a_sound_for_every_phone_and_every_voice_a_speaker() -> None:
    file = Path(accents.__file__).with_name("accents.yaml")
    tables = yaml.safe_load(file.read_text(encoding="utf-8"))
    phones = {phone for ways in pronunciations().values() for way in ways for phone in way}
    for language in tables["languages"].values():
        assert phones <= set(language["phones"])
    assert {s.voice for s in ACCENTED} == set(tables["voices"])


def test_text_stands_in_the_program_as_a_string() -> None:
    assert planner(["hello there"]).endswith('(plan "hello there")\n')


def test_a_plan_that_lacks_a_sentence_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "_run", lambda *_: b"plan\npau 0.2\n")
    jobs = [Job(words, speaker("accent-ph")) for words in ("one", "two")]
    with pytest.raises(SynthesisError, match="planned 1 of 2"):
        list(synthesize_many(jobs, workers=1))


@speaks
def test_sound_depends_on_its_arguments_alone_and_follows_the_rate() -> None:
    who, text = speaker("accent-ph"), "what is twelve plus thirty"
    first, _ = synthesize(text, who)
    np.testing.assert_array_equal(first, synthesize(text, who)[0])
    slow, _ = synthesize(text, who, rate=0.8)
    assert len(slow) / len(first) == pytest.approx(1 / 0.8, abs=0.05)


@speaks
@judges
def test_what_is_said_is_understood() -> None:
    who, text = speaker("accent-ph"), "what is twelve plus thirty"
    texts = [text, "how many days are in a week", "nine minus three", "thank you very much"]
    sounds = synthesize_many([Job(words, who) for words in texts], workers=1)
    judge = domain_judge()
    heard = [judge.hear(resample(pcm, at), 16_000) for pcm, at in sounds]
    assert word_error_rate(texts, heard) < 0.6
