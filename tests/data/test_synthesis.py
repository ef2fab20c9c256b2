import subprocess
from pathlib import Path

import numpy as np
import pytest

from step_audio.core.errors import InputError
from step_audio.data import synthesis
from step_audio.data.speakers import SPEAKERS, Speaker, draw_training_speaker, speaker, speakers
from step_audio.data.synthesis import (
    PACKAGES,
    EngineMissing,
    Job,
    missing_packages,
    synthesize,
    synthesize_many,
)
from tests.machine_voices import needs_machine_voices

ONE_OF_EACH = ("flite-rms", "espeak-en-us+klatt4", "festival-ked")


def test_held_out_voices_are_named_and_no_training_voice_is_their_kin() -> None:
    assert {s.name for s in speakers("held")} == {
        *("kokoro-af_kore", "kokoro-am_puck", "kokoro-bf_isabella", "kokoro-bm_fable"),
        *("piper-joe", "festival-ked", "espeak-en-us+klatt4"),
    }
    assert not [s for s in speakers("train") if "klatt" in s.voice or "ked" in s.voice]


def test_speaker_names_are_unique_and_each_has_a_licence() -> None:
    assert len({s.name for s in SPEAKERS}) == len(SPEAKERS)
    assert all(s.licence for s in SPEAKERS)
    assert len(speakers("train")) >= 40


def test_unknown_speaker_is_an_input_error() -> None:
    with pytest.raises(InputError, match="nobody"):
        speaker("nobody")


def test_training_draw_never_meets_a_held_out_voice() -> None:
    rng = np.random.default_rng(0)
    assert {draw_training_speaker(rng).split for _ in range(300)} == {"train"}


@pytest.mark.parametrize(
    "text", ["", "-o file", 'say "x"', "a\\b", "$(id)", "a\nb", "é", "a" * 601]
)
def test_text_that_could_be_more_than_text_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        Job(text, speaker("flite-rms"))


@pytest.mark.parametrize("factor", [0.1, 5.0, float("nan")])
def test_absurd_factors_are_refused(factor: float) -> None:
    with pytest.raises(InputError):
        Job("hello", speaker("flite-rms"), rate=factor)


def test_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(EngineMissing, match="festvox-kdlpc16k"):
        synthesize("hello", speaker("festival-ked"))


@pytest.mark.parametrize("printed", ["unbound variable: voice_", "unbound variable : voice_"])
def test_a_voice_that_festival_lacks_names_its_package(
    printed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways in which versions of festival print it."""
    program = tmp_path / "festival"
    program.write_text(f"#!/bin/sh\necho 'SIOD ERROR: {printed}ked_diphone' >&2\nexit 255\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(EngineMissing, match="festvox-kdlpc16k"):
        synthesize("hello", speaker("festival-ked"))
    assert missing_packages(("festival",)) == [PACKAGES["festival"]]


def test_streamed_wav_with_a_false_size_is_read_to_its_end() -> None:
    data = np.array([1, -2, 3], dtype="<i2").tobytes()
    head = b"RIFF\x24\xf0\xff\x7fWAVEfmt \x10\0\0\0\x01\0\x01\0\x22\x56\0\0\x44\xac\0\0\x02\0\x10\0"
    pcm, rate = synthesis._read_wav(head + b"data\x00\xf0\xff\x7f" + data)
    assert rate == 22_050
    assert (pcm * 32768).tolist() == [1.0, -2.0, 3.0]


@needs_machine_voices
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_same_arguments_give_same_samples(name: str) -> None:
    first, rate = synthesize("Twelve plus thirty is forty two.", speaker(name))
    again, _ = synthesize("Twelve plus thirty is forty two.", speaker(name))
    assert first.dtype == np.float32
    assert 16_000 <= rate <= 22_050
    assert 1.0 < len(first) / rate < 5.0
    np.testing.assert_array_equal(first, again)


@needs_machine_voices
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_rate_shortens_and_pitch_keeps_the_length(name: str) -> None:
    def seconds(**factors: float) -> float:
        pcm, rate = synthesize("What is the weather in Oslo?", speaker(name), **factors)
        return len(pcm) / rate

    assert seconds(rate=1.3) < 0.9 * seconds()
    assert seconds(pitch=1.2) == pytest.approx(seconds(), rel=0.1)


@needs_machine_voices
def test_many_jobs_come_back_in_order_and_equal_single_ones() -> None:
    jobs = [Job(f"number {w}", speaker(n)) for w in ("one", "seven") for n in ONE_OF_EACH]
    for job, (pcm, rate) in zip(jobs, synthesize_many(iter(jobs), block=4), strict=True):
        alone, alone_rate = synthesize(job.text, job.speaker)
        assert rate == alone_rate
        np.testing.assert_array_equal(pcm, alone)


@needs_machine_voices
def test_unknown_flite_voice_is_not_silently_replaced() -> None:
    stranger = Speaker("x", "flite", "stranger", "m", "none", "train")
    with pytest.raises(synthesis.SynthesisError, match="stranger"):
        synthesize("hello", stranger)


@needs_machine_voices
def test_every_espeak_variant_of_the_table_is_installed() -> None:
    listing = subprocess.run(
        ["espeak-ng", "--voices=variant"], capture_output=True, text=True, check=True
    ).stdout
    known = {field[3:] for field in listing.split() if field.startswith("!v/")}
    used = {s.voice.split("+")[1] for s in SPEAKERS if s.engine == "espeak" and "+" in s.voice}
    assert used <= known
