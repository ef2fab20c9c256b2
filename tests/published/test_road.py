"""The road of a user with cards, on stand-ins: what `weights download` lays down is what serves."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from step_audio.core.config import load_profile
from step_audio.core.errors import VoiceNotFound
from step_audio.core.weights import open_weights, record
from step_audio.published.speakers import RecordingsMissing, fetch_recordings, read_listing
from step_audio.runtime import Runtime
from step_audio.voices.folder import FolderVoices
from tests.published.conftest import Download
from tests.published.standins import (
    COMMIT,
    RECORDINGS,
    code_host,
    listing,
    recordings,
)


@pytest.mark.parametrize("profile", ["tts-3b", "chat-130b", "aqaa-130b"])
def test_what_was_downloaded_has_all_that_the_profile_needs(
    downloaded: Download, profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = downloaded(profile)
    weights = open_weights(folder, "")
    weights.verify()
    monkeypatch.setenv("STEP_AUDIO__WEIGHTS", str(folder))
    shipped = load_profile(profile)
    services = Runtime(shipped).services()
    assert services.default_voice == "Tingting" == shipped.voice
    assert services.singing_vocoder is not None


def test_a_missing_voice_says_which_command_brings_it(
    downloaded: Download, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(downloaded("tts-3b"), folder)
    shutil.rmtree(folder / "voices")
    record(folder)
    monkeypatch.setenv("STEP_AUDIO__WEIGHTS", str(folder))
    brings = "bring it with: step-audio voices fetch --profile tts-3b"
    with pytest.raises(VoiceNotFound, match=brings):
        Runtime(load_profile("tts-3b")).services()


def test_recordings_are_fetched_on_where_they_were_cut(
    downloaded: Download, tmp_path: Path
) -> None:
    shown = read_listing(listing(tmp_path / "speakers.json"))
    with code_host() as host:
        host.cut = {"speakers/TingtingRAP_prompt.wav": 1000}
        files = fetch_recordings(shown, tmp_path / "recordings", host.address)
        asked = [at for path, at in host.asked if "RAP" in path]
        assert asked == [None, "bytes=1000-"]
        assert [f.read_bytes() for f in files] == [
            recordings()[entry.path] for entry in shown.files
        ]
        host.asked.clear()
        fetch_recordings(shown, tmp_path / "recordings", host.address)
        assert host.asked == []


def test_a_recording_with_another_content_is_not_kept(tmp_path: Path) -> None:
    shown = read_listing(listing(tmp_path / "speakers.json"))
    path = "speakers/Tingting_prompt.wav"
    silent = recordings() | {path: bytes(len(recordings()[path]))}
    wrong = pytest.raises(RecordingsMissing, match="its hash differs")
    with code_host(silent) as host, wrong:
        fetch_recordings(shown, tmp_path / "kept", host.address)
    assert [f.name for f in (tmp_path / "kept").iterdir()] == ["speakers_info.json"]


def test_the_shipped_list_names_the_pinned_commit_and_three_recordings() -> None:
    shipped = read_listing()
    assert shipped.commit == COMMIT
    assert [file.bytes for file in shipped.files] == [416, 394_196, 1_042_174, 1_801_518]


def test_the_named_voice_knows_its_name_and_how_it_sings(downloaded: Download) -> None:
    voice = FolderVoices(open_weights(downloaded("tts-3b"), "")).get("Tingting")
    assert voice.speaker == "Tingting"
    assert voice.prompt_text == RECORDINGS["Tingting"][0]
    assert set(voice.song_examples) == {"RAP", "哼唱"}
    rap = voice.song_examples["RAP"]
    assert rap.prompt_text == RECORDINGS["TingtingRAP"][0]
    assert rap.prompt_groups != voice.prompt_groups
