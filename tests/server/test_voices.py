from dataclasses import replace
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from starlette.testclient import TestClient

from server.app import create_app
from step_audio.core.audio import wav_bytes
from step_audio.core.errors import AudioError, VoiceNotFound, VoiceRefused
from step_audio.core.ports import VoiceLibrary
from step_audio.core.types import Recording, VoiceFacts
from step_audio.dialog.assistant import Assistant
from tests.fakes import MemoryVoices, ScriptedEngine, services, text_ids
from tests.server.conftest import Connect
from tests.server.test_http import error

PATH = "/v1/audio/voices"
WAV = wav_bytes((0.3 * np.sin(np.arange(5 * 16_000) / 9)).astype(np.float32), 16_000)
FORM = {"name": "ann", "consent": "Ann Smith, by mail", "text": "my voice is mine"}


class MemoryLibrary(MemoryVoices):
    """Voices in a dictionary; rms ships."""

    def __init__(self) -> None:
        super().__init__("rms")
        self._facts = {"rms": VoiceFacts("rms", built_in=True)}
        self.recordings: list[Recording] = []

    def names(self) -> tuple[str, ...]:
        return tuple(self._facts)

    def add(self, name: str, recording: Recording, *, text: str, consent: str) -> VoiceFacts:
        if name in self._facts:
            raise VoiceRefused(f"there is a voice {name!r}; choose another name")
        self.recordings.append(recording)
        seconds = len(recording.samples) / recording.rate_hz
        facts = VoiceFacts(name, False, text, seconds, consent, "2026-01-02T03:04:05+00:00")
        self._facts[name] = facts
        return facts

    def remove(self, name: str) -> None:
        if self.facts(name).built_in:
            raise VoiceRefused(f"{name} ships with the weights")
        del self._facts[name]

    def facts(self, name: str) -> VoiceFacts:
        if name not in self._facts:
            raise VoiceNotFound(name, self.names())
        return self._facts[name]


@pytest.fixture
def library() -> MemoryLibrary:
    return MemoryLibrary()


@pytest.fixture
def client(library: MemoryLibrary) -> TestClient:
    checked: VoiceLibrary = library
    heard = [6, *text_ids("what i said"), 7]
    parts = replace(services(ScriptedEngine([heard])), voices=library, voice_library=checked)
    app = create_app(Assistant(parts), web=None)
    return TestClient(app, base_url="http://localhost", raise_server_exceptions=False)


def test_a_voice_is_added_listed_and_removed(client: TestClient, library: MemoryLibrary) -> None:
    got = client.post(PATH, data=FORM, files={"audio_sample": ("a.wav", WAV)})
    assert got.status_code == 200
    assert (got.json()["id"], got.json()["object"]) == ("ann", "audio.voice")
    assert got.json()["created_at"] == 1767323045
    assert library.facts("ann").consent == "Ann Smith, by mail"
    assert library.recordings[0].samples.shape == (80_000, 1)
    listed = client.get(PATH).json()
    assert [voice["id"] for voice in listed["voices"]] == ["rms", "ann"]
    gone = client.delete(f"{PATH}/ann").json()
    assert gone == {"id": "ann", "object": "audio.voice.deleted", "deleted": True}
    assert client.get(PATH, params={"legacy": True}).json() == {"voices": ["rms"]}


@pytest.mark.parametrize("name", ["bad name", "安娜", "x/y", "100%", "o'hara?"])
def test_a_voice_of_any_name_is_added_and_removed(
    client: TestClient, library: MemoryLibrary, name: str
) -> None:
    form = FORM | {"name": name}
    assert client.post(PATH, data=form, files={"audio_sample": ("a", WAV)}).json()["id"] == name
    assert client.delete(f"{PATH}/{quote(name, safe='')}").json()["id"] == name
    assert library.names() == ("rms",)


def test_the_words_are_heard_when_they_are_not_given(
    client: TestClient, library: MemoryLibrary
) -> None:
    form = {key: value for key, value in FORM.items() if key != "text"}
    assert client.post(PATH, data=form, files={"audio_sample": ("a", WAV)}).status_code == 200
    assert library.facts("ann").text == "what i said"


@pytest.mark.parametrize(
    ("change", "status", "param", "code"),
    [
        ({"consent": "no"}, 400, "consent", "consent_required"),
        ({"consent": None}, 400, "consent", "invalid_value"),
        ({"name": "rms"}, 400, None, "voice_refused"),
        ({"name": ""}, 400, "name", "invalid_value"),
    ],
)
def test_a_voice_that_cannot_be_added_says_why(
    client: TestClient, change: dict[str, Any], status: int, param: str | None, code: str
) -> None:
    form = {key: value for key, value in (FORM | change).items() if value is not None}
    got = client.post(PATH, data=form, files={"audio_sample": ("a.wav", WAV)})
    assert (got.status_code, error(got)["param"], error(got)["code"]) == (status, param, code)


def test_what_is_no_recording_is_refused(client: TestClient) -> None:
    got = client.post(PATH, data=FORM, files={"audio_sample": ("a.wav", b"no sound")})
    assert (got.status_code, error(got)["param"]) == (400, "audio_sample")


def test_a_recording_that_cannot_be_used_is_named(
    client: TestClient, library: MemoryLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(*_: object, **__: object) -> VoiceFacts:
        raise AudioError("the recording is too quiet to be used")

    monkeypatch.setattr(library, "add", add)
    got = client.post(PATH, data=FORM, files={"audio_sample": ("a.wav", WAV)})
    assert (got.status_code, error(got)["param"]) == (400, "audio_sample")


@pytest.mark.parametrize(("voice", "status"), [("nobody", 404), ("rms", 400)])
def test_a_voice_that_cannot_be_removed_says_why(
    client: TestClient, voice: str, status: int
) -> None:
    assert client.delete(f"{PATH}/{voice}").status_code == status


def test_without_a_library_voices_are_only_listed(connect: Connect) -> None:
    client = connect()
    for got in (
        client.post(PATH, data=FORM, files={"audio_sample": ("a.wav", WAV)}),
        client.delete(f"{PATH}/slt"),
    ):
        assert (got.status_code, error(got)["code"]) == (400, "unsupported_operation")
