"""What `doctor` tries with whole models: a spoken round trip, and the form of prompts."""

from __future__ import annotations

import re
import shutil
import socket
from pathlib import Path

import pytest

from step_audio.cli import main
from step_audio.cli.trials import SENTENCES
from step_audio.core.types import TokenGroup
from step_audio.core.vocab import HeaderIds, Vocab
from step_audio.core.weights import PUBLISHED, open_weights
from tests.fake_vllm import FakeVllm
from tests.published.conftest import Download
from tests.published.engines import running, words
from tests.published.standins import recordings

VOCAB = Vocab()
GROUPS = [TokenGroup((n, n + 1), (n, n + 1, n + 2)) for n in range(20)]


@pytest.fixture
def folder(downloaded: Download, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """chat-130b's weights in a folder of their own; a free port to serve at."""
    copy = tmp_path / "weights"
    shutil.copytree(downloaded("chat-130b"), copy)
    monkeypatch.setenv("STEP_AUDIO__WEIGHTS", str(copy))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("STEP_AUDIO__SERVER__PORT", str(probe.getsockname()[1]))
    return copy


def examined(
    monkeypatch: pytest.MonkeyPatch, writer: FakeVllm, reader: FakeVllm, *flags: str
) -> int:
    with running(writer, reader):
        monkeypatch.setenv("STEP_AUDIO__ENGINE__URL", writer.url)
        monkeypatch.setenv("STEP_AUDIO__SPEECH_ENGINE__URL", reader.url)
        return main(["doctor", "--profile", "chat-130b", *flags])


def reader(**more: object) -> FakeVllm:
    ids = [*VOCAB.ids(GROUPS), VOCAB.eot]
    return FakeVllm(lambda body: ids, model="step-audio-tts-3b", max_model_len=32768, **more)  # type: ignore[arg-type]


def writer(*answers: str, **more: object) -> FakeVllm:
    replies = [[*words(text), VOCAB.eot] for text in answers]
    return FakeVllm(
        lambda body: replies.pop(0),
        model="step-audio-chat",
        max_model_len=32768,
        **more,  # type: ignore[arg-type]
    )


def test_a_round_trip_says_how_much_of_what_was_spoken_is_understood(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert examined(monkeypatch, writer(SENTENCES["zh"], SENTENCES["en"]), reader()) == 0
    printed = capsys.readouterr().out
    assert "ok     Spoken round trip (zh): 0% of the words or characters are wrong" in printed
    assert "ok     Spoken round trip (en): 0%" in printed
    assert examined(monkeypatch, writer(SENTENCES["zh"], "it is noon"), reader()) == 1
    printed = capsys.readouterr().out
    assert "WRONG  Spoken round trip (en)" in printed
    assert "heard 'it is noon'; try `doctor --prompts`" in printed


def test_the_likeliest_form_of_prompts_is_written_down(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert open_weights(folder, "").facts == PUBLISHED

    def without_begin(ids: list[int]) -> float:
        return -1.0 if ids[:2] == [4, *words("system")] else -2.0

    def begin_in_headers(ids: list[int]) -> float:
        return -1.0 if ids[:3] == [1, 4, 1] else -2.0

    engines = (
        writer(SENTENCES["zh"], SENTENCES["en"], logprob=without_begin),
        reader(logprob=begin_in_headers),
    )
    assert examined(monkeypatch, *engines, "--prompts") == 0
    printed = capsys.readouterr().out
    assert "note   speech_headers: log-probability an id: <s> and bos -1.000, <s> and" in printed
    assert "facts.json now says so" in printed
    weights = open_weights(folder, "")
    weights.verify()
    assert weights.facts.speech_headers == HeaderIds(bos=True, roles="bos")
    assert weights.facts.chat_headers == HeaderIds(bos=False, roles="bare")
    assert weights.facts.vocab == PUBLISHED.vocab


def test_what_is_too_close_to_tell_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engines = (writer(SENTENCES["zh"], SENTENCES["en"]), reader())
    assert examined(monkeypatch, *engines, "--prompts") == 0
    assert capsys.readouterr().out.count("too close to tell; nothing was changed") == 2
    assert open_weights(folder, "").facts == PUBLISHED


def test_an_added_voice_is_compared_with_its_example(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    speech = tmp_path / "speech.wav"
    speech.write_bytes(recordings()["speakers/Tingting_prompt.wav"])
    monkeypatch.setenv("STEP_AUDIO__VOICE_FOLDER", str(tmp_path / "kept"))
    reads = reader()
    command = ["voices", "add", "Anna", str(speech), "--text", "你好", "--consent", "a test"]
    with running(reads):
        monkeypatch.setenv("STEP_AUDIO__SPEECH_ENGINE__URL", reads.url)
        assert main([*command, "--profile", "chat-130b"]) == 0
    printed = capsys.readouterr().out
    assert "tokens of the trimmed, levelled sound; mel and speaker vector of all of it" in printed
    assert re.search(r"sounds -?[01]\.\d\d like its example, -?[01]\.\d\d like the next", printed)
    monkeypatch.setenv("STEP_AUDIO__SPEECH_ENGINE__URL", "http://127.0.0.1:1")
    monkeypatch.setenv("STEP_AUDIO__SPEECH_ENGINE__FIRST_TOKEN_TIMEOUT_S", "0.5")
    assert main([*command[:2], "Bert", *command[3:], "--profile", "chat-130b"]) == 0
    assert "not compared with its example: the engine cannot be reached" in capsys.readouterr().out
