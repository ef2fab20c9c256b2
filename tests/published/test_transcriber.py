"""A transcriber of their own for profiles whose model writes no transcripts, as they ship.

Who hears is Whisper in this process, with the weights of `make nano-voices`, or any server's
`/v1/audio/transcriptions`. Asked for words: REST, events of a realtime session, and the history.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from websockets.sync.client import ClientConnection, connect

from step_audio.cli import main
from step_audio.core.audio import read_audio
from step_audio.core.config import load_profile
from step_audio.core.errors import ProfileError
from step_audio.runtime import Runtime
from tests.fake_vllm import FakeVllm
from tests.published.conftest import Download
from tests.published.engines import running, said, words
from tests.published.standins import SOUND
from tests.published.walk import SPEECH, VOCAB
from tests.server.loopback import serving
from tests.talk import append
from tests.tools.loopback import serving as serving_app
from tests.vllm_server.process import ROOT

WHISPER = ROOT / "build" / "voices" / "whisper-base"
CAPITAL, LEGS = "What is the capital of France?", "How many legs does a spider have?"
SAMPLES = ROOT / "web" / "samples"
SPOKEN = {CAPITAL: SAMPLES / "capital.mp3", LEGS: SAMPLES / "legs.mp3"}
KIND = "conversation.item.input_audio_transcription"
MODELS = {"tts-3b": "step-audio-tts-3b", "aqaa-130b": "step-audio-aqaa"}

Environ = dict[str, str]


@pytest.fixture(params=["endpoint", "whisper"])
def ear(request: pytest.FixtureRequest) -> Iterator[Environ]:
    """Who hears, as an operator sets it."""
    if request.param == "whisper":
        pytest.importorskip("faster_whisper", reason="needs the extra `whisper`")
        if not WHISPER.is_dir():
            pytest.skip("no build/voices/whisper-base: make nano-voices fetches it")
        yield {"KIND": "whisper", "MODEL": str(WHISPER), "LANGUAGES": "en"}
        return
    sounds = {text: read_audio(path) for text, path in SPOKEN.items()}
    lengths = {text: len(pcm) / rate_hz for text, (pcm, rate_hz) in sounds.items()}

    async def heard(request: Request) -> JSONResponse:
        async with request.form() as form:
            sound = await form["file"].read()  # type: ignore[union-attr]
        seconds = (len(sound) - 44) / 2 / 16_000
        near = min(SPOKEN, key=lambda text: abs(lengths[text] - seconds))  # it knows these two
        return JSONResponse({"text": near, "language": "english"})

    routes = [Route("/v1/audio/transcriptions", heard, methods=["POST"])]
    with serving_app(Starlette(routes=routes)) as address:
        yield {"KIND": "endpoint", "URL": f"{address}/v1", "MODEL": "whisper-1"}


@contextmanager
def served(
    profile: str, weights: Path, environ: Environ, answer: Callable[[dict[str, Any]], list[int]]
) -> Iterator[tuple[int, FakeVllm]]:
    """Serve a profile as it ships on what was downloaded; yield the port and its engine."""
    engine = FakeVllm(answer, model=MODELS[profile], max_model_len=32768)
    with running(engine):
        own = {"WEIGHTS": str(weights), "ENGINE__URL": engine.url}
        own |= {f"TRANSCRIBER__{key}": value for key, value in environ.items()}
        loaded = load_profile(profile, {f"STEP_AUDIO__{k}": v for k, v in own.items()})
        runtime = Runtime(loaded)
        with serving(runtime.services(), runtime.settings()) as port:
            yield port, engine


def transcribed(port: int, path: Path) -> httpx.Response:
    url = f"http://127.0.0.1:{port}/v1/audio/transcriptions"
    files = {"file": (path.name, path.read_bytes(), "audio/mpeg")}
    return httpx.post(url, files=files, data={"model": "x"}, timeout=120)


def until(socket: ClientConnection, kind: str) -> list[Any]:
    events = [json.loads(socket.recv(120))]
    while events[-1]["type"] != kind:
        assert events[-1]["type"] != "error", events[-1]
        events.append(json.loads(socket.recv(120)))
    return events


def asked_aloud(socket: ClientConnection, text: str) -> None:
    append(socket, *read_audio(SPOKEN[text]))
    socket.send('{"type": "input_audio_buffer.commit"}')


def test_aqaa_tells_words_and_keeps_words(downloaded: Download, ear: Environ) -> None:
    answer = [*words("It is Paris."), *VOCAB.ids(SOUND), VOCAB.eot]
    parts = served("aqaa-130b", downloaded("aqaa-130b"), ear, lambda body: answer)
    with parts as (port, engine):
        got = transcribed(port, SPOKEN[LEGS])
        assert (got.status_code, got.json()["text"]) == (200, LEGS)
        with connect(f"ws://127.0.0.1:{port}/v1/realtime?model=x") as socket:
            audio = {"input": {"turn_detection": None, "transcription": {"model": "any"}}}
            session = {"type": "realtime", "audio": audio}
            socket.send(json.dumps({"type": "session.update", "session": session}))
            until(socket, "session.updated")
            for question in (CAPITAL, LEGS):
                asked_aloud(socket, question)
                told = until(socket, f"{KIND}.completed")[-1]
                assert (told["transcript"], told["language"]) == (question, "en")
                socket.send('{"type": "response.create"}')
                done = until(socket, "response.done")[-1]
                assert done["response"]["status"] == "completed"
    prompts = [body["prompt"] for body in engine.answers]
    assert said(prompts[1]).count(CAPITAL) == 1
    newest = prompts[1][prompts[1].index(words(CAPITAL)[0]) :]
    sounds = [sum(map(VOCAB.is_audio, prompt)) for prompt in prompts]
    assert sounds[1] == sum(map(VOCAB.is_audio, newest)), "only the question is sound"
    assert 0 < sounds[1] < 1.5 * sounds[0]


def test_tts_writes_down_what_is_said_though_it_has_no_conversations(
    downloaded: Download, ear: Environ
) -> None:
    parts = served("tts-3b", downloaded("tts-3b"), ear, lambda body: SPEECH)
    with parts as (port, engine):
        assert transcribed(port, SPOKEN[CAPITAL]).json()["text"] == CAPITAL
        with connect(f"ws://127.0.0.1:{port}/v1/realtime?intent=transcription") as socket:
            audio = {"input": {"turn_detection": None}}
            session = {"type": "transcription", "audio": audio}
            socket.send(json.dumps({"type": "session.update", "session": session}))
            asked_aloud(socket, LEGS)
            told = until(socket, f"{KIND}.completed")[-1]
            assert told["transcript"] == LEGS
    assert not engine.answers, "no model of ours was asked"


@pytest.mark.parametrize("profile", ["tts-3b", "aqaa-130b"])
def test_without_one_nobody_claims_to_hear(downloaded: Download, profile: str) -> None:
    with served(profile, downloaded(profile), {}, lambda body: SPEECH) as (port, engine):
        got = transcribed(port, SPOKEN[CAPITAL])
        told = got.json()["error"]
        assert (got.status_code, told["code"]) == (501, "transcription_unsupported")
        assert "give its profile a transcriber" in told["message"]
    assert not engine.answers


def test_the_model_itself_must_have_been_taught(
    downloaded: Download, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEP_AUDIO__WEIGHTS", str(downloaded("aqaa-130b")))
    monkeypatch.setenv("STEP_AUDIO__TRANSCRIBER__KIND", "own_model")
    with pytest.raises(ProfileError, match="own_model"):
        Runtime(load_profile("aqaa-130b")).services()


def test_doctor_asks_the_transcriber_of_an_address(
    downloaded: Download, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STEP_AUDIO__WEIGHTS", str(downloaded("tts-3b")))
    monkeypatch.setenv("STEP_AUDIO__SERVER__PORT", "0")
    monkeypatch.setenv("STEP_AUDIO__TRANSCRIBER__KIND", "endpoint")
    monkeypatch.setenv("STEP_AUDIO__TRANSCRIBER__URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("STEP_AUDIO__TRANSCRIBER__MODEL", "whisper-1")
    assert main(["doctor", "--profile", "tts-3b"]) == 1
    assert "WRONG  Transcriber: http://127.0.0.1:1/v1 does not answer" in capsys.readouterr().out
