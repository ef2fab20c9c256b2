"""`eval` from the command line on fakes: a profile, all sets of a folder, comparisons."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from step_audio.cli import main as step_audio
from step_audio.cli.parts import CommandParts
from step_audio.cli.profile_examinee import ProfileExaminee, fixed_seed
from step_audio.core.audio import write_wav
from step_audio.core.config import load_profile
from step_audio.core.ports import Services, ToolSpec
from step_audio.core.profile import Profile
from step_audio.core.types import Voice
from step_audio.dialog.settings import DialogSettings
from step_audio.eval import packaged_encoder
from step_audio.eval.examinee import AskedTurn
from tests.eval.test_sets import lines, put, table, tone
from tests.fakes import ScriptedEngine, services, text_ids

pytest.importorskip("whisper_normalizer", reason="needs the extra `eval`")

RATE = 16_000


@dataclass
class Parts:
    """Parts of a profile around fakes."""

    engine: ScriptedEngine
    made: int = 0

    def services(self) -> Services:
        return services(self.engine)

    def settings(self) -> DialogSettings:
        return DialogSettings()

    def speaker_encoder(self) -> None:
        return None

    def voice_maker(self) -> Parts:
        return self

    def make(self, name: str, text: str, pcm: Any, rate_hz: int) -> tuple[Voice, str]:
        self.made += 1
        like = services(self.engine).voices.get("rms")
        return Voice(name, like.embedding, text, like.prompt_groups, like.prompt_mel), ""


def parts(*answers: str) -> Parts:
    return Parts(ScriptedEngine([text_ids(answer) for answer in answers]))


def a_set(folder: Path, answer: str = "Paris") -> Path:
    base = folder / "eval_datas" / "llama_questions"
    rows = [("What?", answer, "1.wav"), ("Who?", answer, "gone.wav")]
    put(base / "llama_questions.csv", table(("Questions", "Answer", "audio_filename"), *rows))
    write_wav(base / "1.wav", tone(), RATE)
    return folder


def run(parts_: Parts, *words: str) -> int:
    def load(profile: Profile) -> CommandParts:
        return parts_  # type: ignore[return-value]

    return step_audio(["eval", *words], load)


def test_a_set_on_a_profile_by_one_command_and_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = a_set(tmp_path / "set"), tmp_path / "run"
    words = ("llama-questions", str(folder), "-o", str(out), "--recognizer", "none")
    assert run(parts("it is paris"), *words) == 0
    told = capsys.readouterr().out
    assert "| all | right answer contained % | text | 100.00 |" in told
    assert "1 without their sound" in told
    assert run(parts(), *words) == 0  # nothing is asked again
    assert (out / "page.html").is_file()
    other = (*words, "--name", "other")
    assert run(parts(), *other) == 2
    assert "holds another run" in capsys.readouterr().err
    assert run(parts(), "compare", str(out), "-o", str(tmp_path / "table")) == 0
    assert "| - | Step-Audio-Chat 81* |" in capsys.readouterr().out  # nobody judged here
    assert (tmp_path / "table" / "compare.html").is_file()


def test_all_sets_of_a_folder_and_one_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_set(tmp_path / "sets" / "OpenAudioBench")
    put(tmp_path / "sets" / "big-bench-audio" / "metadata.jsonl", lines({"x": 1}))
    put(tmp_path / "sets" / "notes" / "readme.txt", "nothing")
    words = ("all", str(tmp_path / "sets"), "-o", str(tmp_path / "runs"), "--recognizer", "none")
    assert run(parts("paris"), *words) == 1
    told = capsys.readouterr().out
    assert "notes: no set that is known" in told
    assert "big-bench-audio: metadata.jsonl: no column for the sound" in told
    report = json.loads((tmp_path / "runs" / "llama-questions" / "report.json").read_text())
    assert report["answered"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("llama-questions", "SET", "-o", "OUT", "--url", "http://x"), "no websocket address"),
        (("llama-questions", "SET", "-o", "OUT", "--rest", "ws://x"), "no address of a server"),
        (("llama-questions", "SET", "-o", "OUT", "--judge-url", "http://x/v1"), "--judge-model"),
        (("llama-questions", "SET", "-o", "OUT", "--recognizer", "dog"), "no recogniser 'dog'"),
        (("llama-questions", "SET", "-o", "OUT", "--parts", "sky"), "no part 'sky'"),
        (("librispeech", "SET", "-o", "OUT"), "holds no SPLIT/SPK/CHAP"),
        (("turns", "SET", "-o", "OUT", "--rest", "http://x/v1"), "in real time"),
    ],
)
def test_what_cannot_be_asked_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    folder = str(a_set(tmp_path / "set"))
    filled = [{"SET": folder, "OUT": str(tmp_path / "run")}.get(word, word) for word in words]
    assert run(parts("paris"), *filled) == 2
    assert message in capsys.readouterr().err


class OneVector:
    """Whoever speaks sounds alike."""

    def embed(self, pcm: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        return np.ones(4, np.float32)


def test_speakers_are_compared_by_the_package_where_the_weights_bring_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packaged_encoder, "packaged_weights", lambda: tmp_path)
    monkeypatch.setattr(packaged_encoder, "PackagedSpeakerEncoder", lambda path: OneVector())
    put(tmp_path / "set" / "en" / "meta.lst", "utt|a tone|0.wav|It is Paris.\n")
    write_wav(tmp_path / "set" / "en" / "0.wav", tone(), RATE)
    words = ("seed-tts", str(tmp_path / "set"), "-o", str(tmp_path / "run"), "--recognizer", "none")
    assert run(parts("it is paris"), *words) == 0
    assert "similarity:Resemblyzer 0.1.4." in capsys.readouterr().out


async def test_a_profile_answers_typed_turns_and_reads_in_the_voice_of_an_example() -> None:
    profile = fixed_seed(load_profile("scripted"))
    assert profile.sampling.seed == 0
    made = parts("one", "two", "three")
    tool = ToolSpec("get_weather", "", {"type": "object", "properties": {}})
    examinee = ProfileExaminee(made, profile, tools=[tool], places=1000)  # type: ignore[arg-type]
    assert examinee.places == profile.limits.max_sessions
    assert examinee.services.tools.specs() == (tool,)
    turns = [AskedTurn("hm", tone(), RATE), AskedTurn("typed", None)]
    records = await examinee.answer(turns)
    assert [record.text for record in records] == ["one", "two"]
    pcm, _ = await examinee.speak("three", (tone(), RATE), "hm")
    assert isinstance(pcm, np.ndarray)
    assert made.made == 1
    assert examinee.services.voices.names() == ("rms", "slt")
    await examinee.aclose()
