import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.admission.limits import ServerSettings
from server.http import uploads
from step_audio.core.audio import wav_bytes
from step_audio.core.encoding import AudioFormat, open_encoder
from step_audio.core.errors import EngineError
from step_audio.core.types import GenerationRequest
from step_audio.dialog.settings import DialogSettings
from tests.fakes import ByteTokenizer, ScriptedEngine, text_ids
from tests.server.conftest import Connect
from tests.server.test_http import error

HEARD = [6, *text_ids("what time is it"), 7, *text_ids("Noon.")]
TONE = (0.3 * np.sin(np.arange(24_000) / 20)).astype(np.float32)
WAV = wav_bytes(TONE, 24_000)
PATH = "/v1/audio/transcriptions"


def test_what_is_heard_is_written_down_and_nothing_answered(connect: Connect) -> None:
    engine = ScriptedEngine([HEARD])
    got = connect(engine=engine).post(PATH, files={"file": ("a.wav", WAV)}, data={"model": "x"})
    assert got.status_code == 200
    assert got.headers["content-type"] == "application/json"
    usage = {"type": "duration", "seconds": 1.0}
    assert got.json() == {"text": "what time is it", "usage": usage}
    # The request ended where the transcript did.
    assert engine.aborted == [engine.requests[0].request_id]


@pytest.mark.parametrize(
    ("response_format", "text"),
    [
        ("text", "what time is it\n"),
        ("srt", "1\n00:00:00,000 --> 00:00:01,000\nwhat time is it\n"),
        ("vtt", "WEBVTT\n\n1\n00:00:00.000 --> 00:00:01.000\nwhat time is it\n"),
    ],
)
def test_formats_of_text(connect: Connect, response_format: str, text: str) -> None:
    data = {"response_format": response_format}
    got = connect([HEARD]).post(PATH, files={"file": ("a.wav", WAV)}, data=data)
    assert got.headers["content-type"] == "text/plain; charset=utf-8"
    assert got.text == text


def test_verbose_json_has_segments(connect: Connect) -> None:
    data = {"response_format": "verbose_json", "timestamp_granularities[]": "segment"}
    got = connect([HEARD]).post(PATH, files={"file": ("a.wav", WAV)}, data=data).json()
    assert (got["task"], got["duration"], got["text"]) == ("transcribe", 1.0, "what time is it")
    (segment,) = got["segments"]
    assert (segment["id"], segment["start"], segment["end"]) == (0, 0.0, 1.0)
    assert segment["text"] == "what time is it"
    # Whisper's, which strict clients ask for.
    numbers = ("seek", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob")
    assert all(isinstance(segment[name], int | float) for name in numbers)
    assert segment["tokens"] == ByteTokenizer().encode("what time is it")
    assert "words" not in got
    assert "warnings" not in got


@pytest.mark.parametrize("response_format", ["verbose_json", "VERBOSE_JSON", "json", "text"])
def test_times_of_words_cost_nobody_those_of_segments(
    connect: Connect, response_format: str
) -> None:
    data: dict[str, Any] = {"response_format": response_format}
    data["timestamp_granularities[]"] = ["Word", "segment"]
    got = connect([HEARD]).post(PATH, files={"file": ("a.wav", WAV)}, data=data)
    assert got.status_code == 200
    assert "times of words" in got.headers["step-audio-warnings"]
    if response_format == "text":
        assert got.text == "what time is it\n"
        return
    assert "times of words" in got.json()["warnings"][0]
    if response_format != "json":
        assert len(got.json()["segments"]) == 1
        assert got.json()["words"] == []


def test_long_recordings_are_heard_in_parts(connect: Connect) -> None:
    engine = ScriptedEngine([HEARD])
    wav = wav_bytes(np.tile(TONE, 130), 24_000)  # 130 s; a question may last 60
    got = connect(engine=engine).post(PATH, files={"file": ("a.wav", wav)})
    assert got.json()["text"] == " ".join(["what time is it"] * 3)


def test_events_tell_the_words_as_they_come(connect: Connect) -> None:
    wav = wav_bytes(np.tile(TONE, 70), 24_000)
    got = connect([HEARD]).post(PATH, files={"file": ("a.wav", wav)}, data={"stream": "true"})
    events = [json.loads(part[6:]) for part in got.text.split("\n\n") if part]
    assert [event["type"] for event in events] == [
        "transcript.text.delta",
        "transcript.text.delta",
        "transcript.text.done",
    ]
    assert "".join(event["delta"] for event in events[:-1]) == events[-1]["text"]


def test_events_that_fail_in_the_middle_say_so(connect: Connect) -> None:
    class Tired(ScriptedEngine):
        async def generate(self, request: GenerationRequest) -> AsyncIterator[int]:
            if self.requests:
                raise EngineError("no memory")
            async for token_id in super().generate(request):
                yield token_id

    wav = wav_bytes(np.tile(TONE, 70), 24_000)
    client = connect(engine=Tired([HEARD]))
    got = client.post(PATH, files={"file": ("a.wav", wav)}, data={"stream": "true"})
    events = [json.loads(part[6:]) for part in got.text.split("\n\n") if part]
    assert events[0]["type"] == "transcript.text.delta"
    assert (events[-1]["type"], events[-1]["error"]["code"]) == ("error", "engine_failed")


@pytest.mark.parametrize("audio_format", ["mp3", "opus", "aac", "flac"])
def test_files_are_known_by_their_content(connect: Connect, audio_format: AudioFormat) -> None:
    encoder = open_encoder(audio_format, 24_000)
    data = b"".join([*encoder.push(TONE), *encoder.flush()])
    got = connect([HEARD]).post(PATH, files={"file": ("whatever.xyz", data, "text/plain")})
    assert got.json()["text"] == "what time is it"


@pytest.mark.parametrize(
    ("files", "data", "says"),
    [
        ({"file": ("a.wav", b"nothing like sound")}, {}, (400, "file", "invalid_audio")),
        ({"file": ("a.wav", b"")}, {}, (400, "file", "invalid_audio")),
        ({"other": ("a.wav", WAV)}, {}, (400, "file", "invalid_value")),
        ({"file": ("a.wav", WAV)}, {"response_format": "x"},
         (400, "response_format", "invalid_value")),
        ({"file": ("a.wav", WAV)}, {"temperature": "2"},
         (400, "temperature", "invalid_value")),
        ({"file": ("a.wav", WAV)}, {"timestamp_granularities[]": "letter"},
         (400, "timestamp_granularities[].0", "invalid_value")),
    ],
)  # fmt: skip
def test_what_cannot_be_transcribed_says_why(
    connect: Connect, files: Any, data: dict[str, str], says: tuple[int, str, str]
) -> None:
    got = connect([HEARD]).post(PATH, files=files, data=data)
    assert (got.status_code, error(got)["param"], error(got)["code"]) == says


def test_sound_that_is_too_long_is_refused_before_it_is_decoded(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.routes.transcriptions.MAX_UPLOAD_S", 0.5)
    got = connect([HEARD]).post(PATH, files={"file": ("a.wav", WAV)})
    assert (got.status_code, error(got)["code"]) == (413, "audio_too_long")
    assert error(got)["param"] == "file"


def test_uploads_may_be_longer_than_other_bodies(connect: Connect) -> None:
    client = connect([HEARD], settings=ServerSettings(max_body_bytes=100, max_upload_bytes=60_000))
    assert client.post(PATH, files={"file": ("a.wav", WAV)}).status_code == 200
    got = client.post(PATH, files={"file": ("a.wav", WAV * 2)})
    assert (got.status_code, error(got)["code"]) == (413, "request_too_large")


def test_a_body_that_is_no_form_is_named(connect: Connect) -> None:
    got = connect([HEARD]).post(PATH, json={"file": "x"})
    assert (got.status_code, error(got)["code"]) == (415, "unsupported_media_type")


def test_translation_is_refused_with_what_to_do_instead(connect: Connect) -> None:
    got = connect([HEARD]).post("/v1/audio/translations", files={"file": ("a.wav", WAV)})
    assert (got.status_code, error(got)["code"]) == (400, "unsupported_operation")
    assert "transcriptions" in error(got)["message"]


def test_no_file_of_an_upload_stays(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    big = wav_bytes(np.tile(TONE, 40), 24_000)  # more than is kept in memory
    client = connect([HEARD])
    assert client.post(PATH, files={"file": ("a.wav", big)}).status_code == 200
    broken = io.BytesIO(b"RIFF" + b"\xff" * (2 << 20))
    assert client.post(PATH, files={"file": ("a.wav", broken)}).status_code == 400
    assert list(tmp_path.iterdir()) == []


def test_the_longest_upload_is_documented() -> None:
    assert uploads.MAX_UPLOAD_S == 600


def test_a_profile_whose_model_cannot_transcribe_says_so(connect: Connect) -> None:
    client = connect([HEARD], dialog=DialogSettings(transcribe_prompt=""))
    got = client.post(PATH, files={"file": ("a.wav", WAV)})
    assert (got.status_code, got.json()["error"]["code"]) == (501, "transcription_unsupported")
