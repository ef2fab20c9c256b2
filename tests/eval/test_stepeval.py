"""The public benchmark, from its published layout to a report, against a judge on the loopback."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from step_audio.core.audio import wav_bytes
from step_audio.core.errors import EngineError, InputError
from step_audio.core.types import Pcm
from step_audio.data.llm import ChatEndpoint, EndpointError
from step_audio.eval import stepeval
from step_audio.eval.examinee import AnswerRecord
from step_audio.eval.stepeval_data import Recordings, load_benchmark
from tests.endpoint import serving

RATE = 16_000
GOOD = '{"factuality": 1, "relevance": 1, "chat": 5, "why": "fine"}'


def tone(hertz: float) -> Pcm:
    return (0.3 * np.sin(np.arange(RATE // 4) * hertz / RATE * 6.28)).astype(np.float32)


@pytest.fixture(params=["unpacked", "archive"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Three conversations: one of two questions, one plain, one whose recording is missing."""
    rows = [
        ("a/../1", "Creativity", [("user", "q1.wav"), ("assistant", ""), ("user", "sub/q2.wav")]),
        ("2", "Gaming", [("human", "q2.wav")]),
        ("3", "Gaming", [("user", "gone.wav")]),
    ]
    (tmp_path / "data").mkdir()
    with (tmp_path / "data" / "test.jsonl").open("w") as file:
        for name, category, turns in rows:
            said = [{"role": r, "text": f"words {a}", "audio_filename": a} for r, a in turns]
            row = {"conversation_id": name, "category": category, "conversation": said}
            file.write(json.dumps(row) + "\n")
    audios = tmp_path / "audios"
    audios.mkdir()
    for name, hertz in (("q1.wav", 200), ("q2.wav", 300)):
        (audios / name).write_bytes(wav_bytes(tone(hertz), RATE))
    if request.param == "archive":
        with tarfile.open(tmp_path / "audios.tar.gz", "w:gz") as archive:
            archive.add(audios, "audios")
        for path in audios.iterdir():
            path.unlink()
        audios.rmdir()
    return tmp_path


def converse(questions: Sequence[tuple[Pcm, int]]) -> list[AnswerRecord]:
    return [
        AnswerRecord(text=f"answer {n}", pcm=pcm, rate_hz=rate)
        for n, (pcm, rate) in enumerate(questions, 1)
    ]


def test_answers_are_rated_reported_and_never_asked_for_twice(folder: Path, tmp_path: Path) -> None:
    dialogues, out = load_benchmark(folder), tmp_path / "out"
    with closing(Recordings(folder)) as sounds:
        stepeval.answer_all(dialogues, sounds, converse, out)

    def reply(body: dict[str, Any]) -> str:
        return f"Sure: {GOOD}" if "Creativity" in str(body) else "hm"

    with serving(reply) as endpoint:
        judge = ChatEndpoint(endpoint.url, "judge")
        stepeval.rate_all(dialogues, judge, out, send_audio=True)
        asked = len(endpoint.requests)
        stepeval.rate_all(dialogues, judge, out)
        assert len(endpoint.requests) == asked == 1 + stepeval.TRIES
    text, audio = endpoint.requests[0][2]["messages"][0]["content"]
    assert "Person: words q1.wav\nAssistant: answer 1\nPerson: words sub/q2.wav" in text["text"]
    assert audio["input_audio"]["format"] == "wav"
    report = stepeval.summarise(out, "judge", "nano")
    assert (report["rated"], report["unrated"], report["failed"]) == (2, 1, 1)
    assert report["categories"]["Creativity"] == {
        "n": 1,
        "factuality": 100.0,
        "relevance": 100.0,
        "chat": 5.0,
    }
    assert report["categories"]["Gaming"]["chat"] == 1.0  # the one without an answer
    assert "| all | 2 | 50.0 | 50.0 | 3.0 |" in (out / "report.md").read_text()
    with closing(Recordings(folder)) as sounds:
        stepeval.answer_all(dialogues, sounds, _never, out)


def test_a_failing_assistant_is_a_row_and_a_failing_judge_an_error(
    folder: Path, tmp_path: Path
) -> None:
    dialogues, out = load_benchmark(folder), tmp_path / "out"

    def broken(questions: Sequence[tuple[Pcm, int]]) -> list[AnswerRecord]:
        if len(questions) == 2:
            raise EngineError("it broke")
        return converse(questions)

    with closing(Recordings(folder)) as sounds:
        stepeval.answer_all(dialogues, sounds, broken, out)
    with serving(lambda body: 500) as endpoint, pytest.raises(EndpointError, match="500"):
        stepeval.rate_all(dialogues, ChatEndpoint(endpoint.url, "judge", pause_s=0), out)


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"factuality": 2, "relevance": 1, "chat": 3}', '{"factuality": 1, "relevance": 1}',
     '{"factuality": 1, "relevance": 1, "chat": 9}', "{" * 5000],
)  # fmt: skip
def test_what_is_no_rating_is_none(text: str) -> None:
    assert stepeval.parse(text) is None


def test_unknown_columns_are_named_with_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.jsonl").write_text(
        '{"kind": "a", "conversation": [{"role": "user"}]}\n'
    )
    with pytest.raises(InputError, match="no column for category among kind, conversation"):
        load_benchmark(tmp_path)
    with pytest.raises(InputError, match="download"):
        load_benchmark(tmp_path / "nowhere")


def _never(questions: Sequence[tuple[Pcm, int]]) -> list[AnswerRecord]:
    raise AssertionError("answered already")


def test_recordings_of_one_name_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    for where, hertz in (("c1", 200.0), ("c2", 300.0)):
        (tmp_path / "audios" / where).mkdir(parents=True)
        sound = wav_bytes(tone(hertz), RATE)
        (tmp_path / "audios" / where / "turn_1.wav").write_bytes(sound)
    (tmp_path / "audios" / "c2" / "turn_2.wav").write_bytes(wav_bytes(tone(400.0), RATE))

    def read_all() -> list[Pcm]:
        with closing(Recordings(tmp_path)) as sounds:
            with pytest.raises(InputError, match=r"2 recordings are called 'turn_1\.wav'"):
                sounds.read("turn_1.wav")
            with pytest.raises(InputError, match=r"no recording 'c3/turn_3\.wav'"):
                sounds.read("c3/turn_3.wav")
            names = ("c1/turn_1.wav", "audios/c2/turn_1.wav", "turn_2.wav")
            return [sounds.read(name)[0] for name in names]

    unpacked = read_all()
    assert not np.array_equal(unpacked[0], unpacked[1])
    with tarfile.open(tmp_path / "audios.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "audios", "./audios")
    shutil.rmtree(tmp_path / "audios")
    for found, wanted in zip(read_all(), unpacked, strict=True):
        assert np.array_equal(found, wanted)
