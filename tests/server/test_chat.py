import base64
import io
import json
import wave
from typing import Any

import numpy as np
import pytest

from step_audio.core.audio import pcm16_to_float, wav_bytes
from step_audio.core.decoding import decode_audio
from step_audio.core.errors import EngineError
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.settings import DialogSettings
from tests.fakes import VOCAB, ScriptedEngine, group, text_ids
from tests.server.conftest import Connect
from tests.server.test_http import error

PATH = "/v1/chat/completions"
SPOKEN = [6, *text_ids("hello"), 7, *interleave(text_ids("Hi."), [group(1)] * 3, VOCAB)]
WRITTEN = [*text_ids("Hi there.")]
CALL = [8, *text_ids('get_weather {"city":"Oslo"}')]
ASK = [{"role": "user", "content": "Hello."}]
WAV = base64.b64encode(wav_bytes(np.full(24_000, 0.1, np.float32), 24_000)).decode()
SAID = [
    {
        "role": "user",
        "content": [{"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}],
    }
]
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {}}}


def prompt_text(engine: ScriptedEngine, at: int = 0) -> str:
    ids = engine.requests[at].prompt
    return bytes(i - 300 for i in ids if 300 <= i < 556).decode(errors="replace")


def events(got: Any) -> list[dict[str, Any]]:
    parts = [part.removeprefix("data: ") for part in got.text.split("\n\n") if part]
    assert parts[-1] == "[DONE]"
    return [json.loads(part) for part in parts[:-1]]


def test_text_is_answered_in_text(connect: Connect) -> None:
    got = connect([WRITTEN]).post(PATH, json={"model": "x", "messages": ASK})
    assert got.status_code == 200
    body = got.json()
    assert body["object"] == "chat.completion"
    assert body["model"] == "fake"
    choice = body["choices"][0]
    assert choice["message"]["content"] == "Hi there."
    assert choice["finish_reason"] == "stop"
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0


def test_speech_is_answered_in_speech(connect: Connect) -> None:
    body = {"messages": SAID, "modalities": ["text", "audio"], "audio": {"voice": "alloy"}}
    message = connect([SPOKEN]).post(PATH, json=body).json()["choices"][0]["message"]
    assert message["content"] is None
    assert message["audio"]["transcript"] == "Hi."
    assert set(message["audio"]) == {"id", "expires_at", "data", "transcript"}
    with wave.open(io.BytesIO(base64.b64decode(message["audio"]["data"]))) as file:
        assert (file.getframerate(), file.getnframes()) == (24_000, 3 * 2880)


@pytest.mark.parametrize("audio_format", ["mp3", "opus", "flac", "aac", "pcm16"])
def test_a_spoken_answer_comes_in_the_format_asked_for(connect: Connect, audio_format: str) -> None:
    body = {"messages": ASK, "modalities": ["text", "audio"], "audio": {"format": audio_format}}
    audio = connect([SPOKEN]).post(PATH, json=body).json()["choices"][0]["message"]["audio"]
    data = base64.b64decode(audio["data"])
    if audio_format == "pcm16":
        assert len(data) == 2 * 3 * 2880
    else:
        pcm, rate_hz = decode_audio(io.BytesIO(data), 10)
        assert abs(len(pcm) / rate_hz - 0.36) < 0.1


def test_a_stream_tells_words_and_sound_as_they_come(connect: Connect) -> None:
    body = {
        "messages": SAID,
        "modalities": ["text", "audio"],
        "audio": {"voice": "rms", "format": "pcm16"},
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    chunks = events(connect([SPOKEN]).post(PATH, json=body))
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert deltas[0]["role"] == "assistant"
    assert set(deltas[0]["audio"]) == {"id", "expires_at"}
    audio = [delta["audio"] for delta in deltas[1:] if "audio" in delta]
    assert "".join(part.get("transcript", "") for part in audio) == "Hi."
    sound = b"".join(base64.b64decode(part["data"]) for part in audio if "data" in part)
    assert len(pcm16_to_float(sound)) == 3 * 2880
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["completion_tokens_details"]["audio_tokens"] == 15


def test_a_stream_of_text_joins_to_the_answer(connect: Connect) -> None:
    chunks = events(connect([WRITTEN]).post(PATH, json={"messages": ASK, "stream": True}))
    said = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks]
    assert "".join(said) == "Hi there."


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_of_the_client_is_called_by_the_client(connect: Connect, stream: bool) -> None:
    body = {"messages": ASK, "tools": [WEATHER], "stream": stream}
    got = connect([CALL]).post(PATH, json=body)
    if stream:
        chunks = [chunk["choices"][0] for chunk in events(got)]
        calls = next(c["delta"]["tool_calls"] for c in chunks if "tool_calls" in c["delta"])
        reason = chunks[-1]["finish_reason"]
        assert calls[0]["index"] == 0
    else:
        choice = got.json()["choices"][0]
        calls, reason = choice["message"]["tool_calls"], choice["finish_reason"]
        assert choice["message"]["content"] is None
    assert reason == "tool_calls"
    function = {"name": "get_weather", "arguments": '{"city":"Oslo"}'}
    assert (calls[0]["type"], calls[0]["function"]) == ("function", function)


def test_what_a_tool_returned_reaches_the_model(connect: Connect) -> None:
    engine = ScriptedEngine([WRITTEN])
    function = {"name": "get_weather", "arguments": '{"city":"Oslo"}'}
    call = {"id": "call_1", "type": "function", "function": function}
    messages = [
        *ASK,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": '{"degrees":7}'},
    ]
    got = connect(engine=engine).post(PATH, json={"messages": messages, "tools": [WEATHER]})
    assert got.json()["choices"][0]["message"]["content"] == "Hi there."
    assert '{"degrees":7}' in prompt_text(engine)
    assert 'get_weather {"city":"Oslo"}' in prompt_text(engine)


def test_a_forbidden_tool_is_not_offered(connect: Connect) -> None:
    body = {"messages": ASK, "tools": [WEATHER], "tool_choice": "none"}
    engine = ScriptedEngine([CALL, WRITTEN])
    message = connect(engine=engine).post(PATH, json=body).json()["choices"][0]["message"]
    assert "tool_calls" not in message


def test_an_earlier_spoken_answer_is_known_by_its_id(connect: Connect) -> None:
    engine = ScriptedEngine([SPOKEN, WRITTEN])
    client = connect(engine=engine)
    body = {"messages": ASK, "modalities": ["text", "audio"]}
    audio = client.post(PATH, json=body).json()["choices"][0]["message"]["audio"]
    messages = [*ASK, {"role": "assistant", "audio": {"id": audio["id"]}}, *ASK]
    assert client.post(PATH, json={"messages": messages}).status_code == 200
    assert "Hi." in prompt_text(engine, 1)


def test_instructions_reach_models_that_take_them(connect: Connect) -> None:
    messages = [{"role": "system", "content": "Be a pirate."}, *ASK]
    for takes in (True, False):
        engine = ScriptedEngine([WRITTEN])
        client = connect(engine=engine, dialog=DialogSettings(takes_instructions=takes))
        client.post(PATH, json={"messages": messages})
        assert ("Be a pirate." in prompt_text(engine)) is takes


def test_how_ids_are_drawn_can_be_chosen(connect: Connect) -> None:
    engine = ScriptedEngine([WRITTEN])
    body = {"messages": ASK, "temperature": 0.2, "top_p": 0.5, "seed": -1}
    got = connect(engine=engine).post(PATH, json=body | {"max_completion_tokens": 9})
    assert got.json()["choices"][0]["finish_reason"] == "length"
    sampling = engine.requests[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (0.2, 0.5, 9)
    assert sampling.seed == 2**32 - 1


@pytest.mark.parametrize(
    ("change", "status", "param", "code"),
    [
        ({"messages": []}, 400, "messages", "invalid_value"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, None, "invalid_value"),
        ({"messages": [{"role": "cat", "content": "x"}]}, 400, "messages.0", "invalid_value"),
        ({"n": 2}, 400, "n", "invalid_value"),
        ({"audio": {"voice": "nobody"}}, 400, "audio.voice", "voice_not_found"),
        ({"tool_choice": {"type": "function"}}, 400, "tool_choice.function", "invalid_value"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
         400, "messages.0.content.0.input_audio.data", "invalid_value"),
        ({"messages": [{"role": "user"}]}, 400, "messages.0.content", "invalid_value"),
        ({"messages": [{"role": "user", "content": "x" * 20_001}]}, 400, "messages.0.content",
         "invalid_value"),
        ({"stream": True, "modalities": ["audio"], "audio": {"format": "mp3"}}, 400, None,
         "invalid_value"),
        ({"messages": [{"role": "user", "content": [
            {"type": "input_audio", "input_audio": {"data": "%%%", "format": "wav"}}]}]},
         400, "messages.0.content.0.input_audio", "invalid_audio"),
        ({"messages": [{"role": "tool", "tool_call_id": "x", "content": "y"}]}, 400,
         "messages.0.tool_call_id", "invalid_call_id"),
        ({"messages": [{"role": "assistant", "audio": {"id": "x"}}, *ASK]}, 400,
         "messages.0.audio.id", "audio_not_found"),
    ],
)  # fmt: skip
def test_a_completion_that_cannot_be_made_says_where(
    connect: Connect, change: dict[str, Any], status: int, param: str | None, code: str
) -> None:
    got = connect([WRITTEN]).post(PATH, json={"messages": ASK, **change})
    assert (got.status_code, error(got)["param"], error(got)["code"]) == (status, param, code)


def test_a_picture_is_refused_as_what_it_is(connect: Connect) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]}]
    got = connect([WRITTEN]).post(PATH, json={"messages": messages})
    assert (got.status_code, error(got)["param"]) == (400, "messages.0.content.1")
    assert "'image_url'" in error(got)["message"]


def test_a_stream_that_fails_before_its_first_word_is_an_error_with_a_status(
    connect: Connect,
) -> None:
    client = connect(engine=ScriptedEngine([[]], error=EngineError("no memory")))
    got = client.post(PATH, json={"messages": ASK, "stream": True})
    assert (got.status_code, error(got)["code"]) == (500, "engine_failed")


def test_a_stream_that_fails_in_the_middle_says_so(connect: Connect) -> None:
    client = connect(engine=ScriptedEngine([WRITTEN], error=EngineError("no memory")))
    got = client.post(PATH, json={"messages": ASK, "stream": True})
    parts = [json.loads(part.removeprefix("data: ")) for part in got.text.split("\n\n") if part]
    assert parts[0]["choices"][0]["delta"]["role"] == "assistant"
    assert parts[-1]["error"]["code"] == "engine_failed"
    assert "[DONE]" not in got.text
