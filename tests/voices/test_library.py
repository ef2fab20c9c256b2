"""Voices that people add: kept in folders, found by name, made again when the weights change."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from step_audio.core.audio import read_audio
from step_audio.core.errors import AudioError, VoiceNotFound, VoiceRefused
from step_audio.core.types import Recording, Voice
from step_audio.core.weights import record
from step_audio.voices.folder import FolderVoices
from step_audio.voices.library import UserVoices
from step_audio.voices.making import VoiceMaker
from tests.fakes import CountingTokenizer
from tests.vocoder.speech import speechlike
from tests.vocoder.test_stream import tiny_flow
from vocoder.grid import frames_until

SPEECH = Recording(speechlike(4.3)[:, None], 16_000)
WORDS = {"text": "one two three", "consent": "my own voice"}


@pytest.fixture
def built_in(tmp_path: Path) -> FolderVoices:
    rng = np.random.default_rng(0)
    for name in ("rms", "slt"):
        folder = tmp_path / "weights" / "voices" / name
        folder.mkdir(parents=True)
        np.save(folder / "embedding.npy", rng.standard_normal(192).astype(np.float32))
    return FolderVoices(record(tmp_path / "weights"))


Open = Callable[..., UserVoices]


@pytest.fixture
def library(tmp_path: Path, built_in: FolderVoices) -> Open:
    def opened(made_with: str = "these weights", limit: int = 200) -> UserVoices:
        def maker() -> VoiceMaker:
            own = [built_in.get(name) for name in built_in.names()]
            return VoiceMaker(CountingTokenizer(), tiny_flow(), None, own)

        return UserVoices(built_in, tmp_path / "kept", maker, made_with, limit)

    return opened


def same(a: Voice, b: Voice) -> bool:
    return (
        (a.name, a.prompt_text, a.prompt_groups) == (b.name, b.prompt_text, b.prompt_groups)
        and np.array_equal(a.embedding, b.embedding)
        and np.array_equal(a.prompt_mel, b.prompt_mel)
    )


def test_a_voice_is_there_after_a_restart(library: Open) -> None:
    facts = library().add("Anna", SPEECH, **WORDS)
    assert library().names() == ("rms", "slt", "Anna")
    assert library().facts("Anna") == facts
    assert (facts.text, facts.consent, facts.built_in) == ("one two three", "my own voice", False)
    first = library()
    assert same(first.get("Anna"), library().get("Anna"))
    assert first.get("Anna") is first.get("Anna")


def test_tokens_and_mel_come_from_the_kept_sound(library: Open, tmp_path: Path) -> None:
    voices = library()
    facts = voices.add("Anna", SPEECH, **WORDS)
    voice, folder = voices.get("Anna"), voices.place("Anna")
    assert folder is not None
    pcm, rate_hz = read_audio(folder / "prompt.wav")
    assert len(voice.prompt_groups) == len(pcm) // (rate_hz * 120 // 1000) == 35
    assert voice.prompt_mel.shape == (frames_until(35), 80)
    assert facts.prompt_s == pytest.approx(35 * 0.12)
    assert voices.facts("rms").built_in
    assert voices.place("rms") is None


def test_without_a_speaker_encoder_a_vector_is_borrowed_and_that_is_said(
    library: Open, built_in: FolderVoices
) -> None:
    voices = library()
    facts = voices.add("Anna", SPEECH, **WORDS)
    lender = facts.notes[-1].split()[-1]
    assert facts.notes[-1].startswith("no speaker encoder: speaker vector of ")
    np.testing.assert_array_equal(voices.get("Anna").embedding, built_in.get(lender).embedding)


def test_other_weights_make_the_arrays_again_from_the_sound(library: Open) -> None:
    before = library()
    before.add("Anna", SPEECH, **WORDS)
    folder = before.place("Anna")
    assert folder is not None
    np.save(folder / "embedding.npy", np.zeros(192, np.float32))
    after = library("other weights")
    assert same(after.get("Anna"), before.get("Anna"))
    assert json.loads((folder / "voice.json").read_text())["made_with"] == "other weights"
    assert same(library("other weights").get("Anna"), before.get("Anna"))


def test_a_removed_voice_leaves_nothing_behind(library: Open, tmp_path: Path) -> None:
    voices = library()
    voices.add("Anna", SPEECH, **WORDS)
    voices.remove("Anna")
    assert voices.names() == ("rms", "slt")
    assert list((tmp_path / "kept").iterdir()) == []
    for lost in (voices.get, voices.remove, voices.facts):
        with pytest.raises(VoiceNotFound, match="rms, slt"):
            lost("Anna")


def test_another_process_sees_what_was_added_and_removed(library: Open) -> None:
    ours, theirs = library(), library()
    ours.add("Anna", SPEECH, **WORDS)
    theirs.get("Anna")
    ours.remove("Anna")
    with pytest.raises(VoiceNotFound):
        theirs.get("Anna")


@pytest.mark.parametrize(
    "name", ["", " ", "a" * 65, "../x", ".hidden", "/etc", "a\0b", "a\nb", "-x"]
)
def test_an_unusable_name_is_refused(library: Open, name: str, tmp_path: Path) -> None:
    with pytest.raises(VoiceRefused, match="voice name"):
        library().add(name, SPEECH, **WORDS)
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("name", ["安娜", "Anna Lena", "x/../../y", "o'hara", "CON"])
def test_a_name_is_only_text(library: Open, name: str, tmp_path: Path) -> None:
    library().add(name, SPEECH, **WORDS)
    assert library().get(name).name == name
    assert [path.name[:6] for path in (tmp_path / "kept").iterdir()] == ["voice-"]


@pytest.mark.parametrize("name", ["rms", "RMS", "Anna", "anna"])
def test_a_name_that_is_taken_is_refused(library: Open, name: str) -> None:
    voices = library()
    voices.add("Anna", SPEECH, **WORDS)
    with pytest.raises(VoiceRefused, match="already"):
        voices.add(name, SPEECH, **WORDS)


@pytest.mark.parametrize("words", [{"text": " "}, {"text": "a" * 1001}, {"consent": ""}])
def test_words_and_consent_are_asked_for(library: Open, words: dict[str, str]) -> None:
    with pytest.raises(VoiceRefused, match=r"give the words|who agreed"):
        library().add("Anna", SPEECH, **(WORDS | words))


def test_a_bad_recording_leaves_nothing_behind(library: Open, tmp_path: Path) -> None:
    with pytest.raises(AudioError):
        library().add("Anna", Recording(np.zeros((9, 1), np.float32), 16_000), **WORDS)
    assert not (tmp_path / "kept").exists()


def test_there_is_a_limit(library: Open) -> None:
    voices = library(limit=1)
    voices.add("Anna", SPEECH, **WORDS)
    with pytest.raises(VoiceRefused, match="1 voices were added"):
        voices.add("Berta", SPEECH, **WORDS)


def test_built_in_voices_stay(library: Open) -> None:
    with pytest.raises(VoiceRefused, match="ships with the weights"):
        library().remove("rms")


def test_a_damaged_voice_does_not_hide_the_others(library: Open) -> None:
    voices = library()
    voices.add("Anna", SPEECH, **WORDS)
    voices.add("Berta", SPEECH, **WORDS)
    folder = voices.place("Anna")
    assert folder is not None
    (folder / "voice.json").write_text("{")
    assert library().names() == ("rms", "slt", "Berta")


def test_a_folder_that_cannot_be_written_is_an_error_that_says_so(
    library: Open, tmp_path: Path
) -> None:
    (tmp_path / "kept").write_text("a file is in the way")
    with pytest.raises(VoiceRefused, match="cannot keep the voice"):
        library().add("Anna", SPEECH, **WORDS)


def test_a_voice_of_other_weights_is_made_once_for_all_who_ask(
    tmp_path: Path, built_in: FolderVoices, library: Open
) -> None:
    library().add("Anna", SPEECH, **WORDS)
    asked, makers = threading.Barrier(3), []

    def maker() -> VoiceMaker:
        makers.append(threading.get_ident())
        asked.wait(10)  # the others ask while it is made
        own = [built_in.get(name) for name in built_in.names()]
        return VoiceMaker(CountingTokenizer(), tiny_flow(), None, own)

    voices = UserVoices(built_in, tmp_path / "kept", maker, "other weights")

    def ask() -> Voice:
        asked.wait(10)
        return voices.get("Anna")

    with ThreadPoolExecutor(3) as pool:
        others = [pool.submit(ask) for _ in range(2)]
        first = pool.submit(voices.get, "Anna")
        made = {id(each.result(20)) for each in (*others, first)}
    assert len(made) == len(makers) == 1


def test_descriptions_are_read_again_only_when_they_change(
    library: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    voices, other = library(), library()
    for name in ("Anna", "Bert"):
        voices.add(name, SPEECH, **WORDS)
    assert voices.names()[2:] == ("Anna", "Bert")
    opened: list[str] = []
    plain = Path.open

    def noted(self: Path, *args: Any, **facts: Any) -> Any:
        opened.append(self.name)
        return plain(self, *args, **facts)

    monkeypatch.setattr(Path, "open", noted)
    assert voices.names()[2:] == ("Anna", "Bert")
    assert voices.facts("Bert").name == "Bert"
    assert not opened
    other.remove("Bert")
    assert voices.names()[2:] == ("Anna",)
