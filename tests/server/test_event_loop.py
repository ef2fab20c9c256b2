"""Reading the disk, models and codecs: none of it runs on the event loop, whoever asks for it."""

import asyncio
import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import pytest
from starlette.testclient import TestClient

from server.app import create_app
from server.routes.chat import answer
from step_audio.core.encoding import SoundFile
from step_audio.core.types import Pcm
from step_audio.dialog.assistant import Assistant
from tests.fakes import ScriptedEngine, services
from tests.server.test_chat import SAID, SPOKEN
from tests.server.test_tts import until
from tests.server.test_voices import FORM, WAV, MemoryLibrary
from tests.server.wire import talking
from tokenizer.vad import EnergyTurnDetector


class Calls:
    """What was called, and what of it on an event loop."""

    def __init__(self) -> None:
        self.made: set[str] = set()
        self.on_loop: set[str] = set()

    def note(self, name: str) -> None:
        self.made.add(name)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        self.on_loop.add(name)


class Watched:
    """A part whose calls are noted, and those of the streams that it opens."""

    def __init__(self, name: str, part: Any, calls: Calls) -> None:
        self._name, self._part, self._calls = name, part, calls

    def __deepcopy__(self, memo: dict[int, Any]) -> "Watched":
        return Watched(self._name, copy.deepcopy(self._part, memo), self._calls)

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._part, attribute)
        if not callable(value):
            return value

        def called(*args: Any, **facts: Any) -> Any:
            if attribute != "open":  # an empty state, no work
                self._calls.note(f"{self._name}.{attribute}")
            made = value(*args, **facts)
            return (
                Watched(f"{self._name} stream", made, self._calls) if attribute == "open" else made
            )

        return called


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def client(calls: Calls) -> Iterator[TestClient]:
    voices = cast("MemoryLibrary", Watched("voices", MemoryLibrary(), calls))
    parts = services(ScriptedEngine([SPOKEN]))
    parts = replace(
        parts,
        voices=voices,
        voice_library=voices,
        audio_tokenizer=cast("Any", Watched("tokenizer", parts.audio_tokenizer, calls)),
        vocoder=cast("Any", Watched("vocoder", parts.vocoder, calls)),
        turn_detector=cast("Any", Watched("detector", EnergyTurnDetector(), calls)),
    )
    with TestClient(create_app(Assistant(parts), web=None), base_url="http://localhost") as made:
        yield made


def test_voices_are_listed_made_and_erased_beside_the_event_loop(
    client: TestClient, calls: Calls
) -> None:
    path = "/v1/audio/voices"
    assert client.post(path, data=FORM, files={"audio_sample": ("a.wav", WAV)}).status_code == 200
    assert len(client.get(path).json()["voices"]) == 2
    assert client.get(path, params={"legacy": True}).status_code == 200
    assert client.delete(f"{path}/ann").status_code == 200
    assert calls.made >= {"voices.add", "voices.names", "voices.facts", "voices.remove"}
    assert not calls.on_loop


def test_a_voice_is_loaded_beside_the_event_loop_whoever_speaks_with_it(
    client: TestClient, calls: Calls
) -> None:
    spoken = {"messages": SAID, "modalities": ["text", "audio"], "audio": {"voice": "alloy"}}
    assert client.post("/v1/chat/completions", json=spoken).status_code == 200
    read = {"input": "Good morning.", "voice": "rms", "response_format": "wav"}
    assert client.post("/v1/audio/speech", json=read).status_code == 200
    with client.websocket_connect("ws://localhost/v1/realtime/audio") as socket:
        socket.receive_text()
        socket.send_json({"type": "tts.create", "data": {"voice_id": "nova"}})
        socket.send_json({"type": "tts.text.delta", "data": {"text": "Good morning."}})
        socket.send_json({"type": "tts.text.done"})
        until(socket, "tts.response.audio.done")
    with talking(client) as talk:
        output = {"type": "realtime", "audio": {"output": {"voice": "rms"}}}
        talk.send("session.update", session=output)
        talk.until("session.updated")
        talk.hear(0.5, level=0.3)
        talk.hear(1.0)
        talk.until("response.done")
        talk.send("response.create", response={"audio": {"output": {"voice": "nova"}}})
        talk.until("response.done")
    assert {"voices.get", "voices.facts"} <= calls.made
    assert {"tokenizer stream.push", "vocoder stream.push", "detector stream.push"} <= calls.made
    assert not calls.on_loop


def test_a_whole_answer_is_encoded_beside_the_event_loop(
    client: TestClient, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Noted(SoundFile):
        def write(self, pcm: Pcm) -> None:
            calls.note("file.write")
            super().write(pcm)

        def close(self) -> None:
            calls.note("file.close")
            super().close()

    monkeypatch.setattr(answer, "SoundFile", Noted)
    audio = {"voice": "rms", "format": "mp3"}
    spoken = {"messages": SAID, "modalities": ["text", "audio"], "audio": audio}
    assert client.post("/v1/chat/completions", json=spoken).status_code == 200
    assert calls.made >= {"file.write", "file.close"}
    assert not calls.on_loop
