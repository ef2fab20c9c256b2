import base64
import io
import json
import wave
from typing import Any

import numpy as np
import pytest
import soundfile

from server.admission.limits import ServerSettings
from step_audio.core.audio import pcm16_to_float
from step_audio.core.decoding import decode_audio
from step_audio.core.errors import EngineError
from step_audio.core.types import TextOptions
from step_audio.dialog.settings import DialogSettings
from step_audio.dialog.speakable.reading_domain import read_domain
from tests.fakes import VOCAB, ScriptedEngine, group
from tests.server.conftest import Connect
from tests.server.test_http import error

SPEECH = VOCAB.ids([group(1), group(2)])
HELLO = {"model": "x", "input": "Hello.", "voice": "slt"}


def test_speech_as_pcm_is_24_khz(connect: Connect) -> None:
    got = connect([SPEECH]).post("/v1/audio/speech", json={**HELLO, "response_format": "pcm"})
    assert got.status_code == 200
    assert got.headers["content-type"] == "audio/pcm"
    pcm = pcm16_to_float(got.content)
    assert len(pcm) == 2 * 960 * 3  # two groups of 120 ms
    spectrum = np.abs(np.fft.rfft(pcm[: 960 * 3] * np.hanning(960 * 3)))
    assert abs(spectrum.argmax() * 24000 / (960 * 3) - 201) < 10  # the fake's pitch


def test_speech_as_wav_opens_as_wav(connect: Connect) -> None:
    got = connect([SPEECH]).post(
        "/v1/audio/speech",
        json={"input": "Hello.", "voice": {"id": "rms"}, "response_format": "wav"},
    )
    assert got.headers["content-type"] == "audio/wav"
    with wave.open(io.BytesIO(got.content)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24000, 1, 2)
    assert len(got.content) == 44 + 2 * 2 * 960 * 3


@pytest.mark.parametrize(
    ("response_format", "media_type"),
    [("mp3", "audio/mpeg"), ("opus", "audio/ogg"), ("aac", "audio/aac"), ("flac", "audio/flac")],
)
def test_each_compressed_format_decodes_to_the_same_length(
    connect: Connect, response_format: str, media_type: str
) -> None:
    script = VOCAB.ids([group(n) for n in range(10)])
    body = {**HELLO, "response_format": response_format}
    got = connect([script]).post("/v1/audio/speech", json=body)
    assert got.headers["content-type"] == media_type
    pcm, rate_hz = decode_audio(io.BytesIO(got.content), 10)
    assert abs(len(pcm) / rate_hz - 1.2) < 0.1


def test_mp3_is_the_default_and_is_not_cached(connect: Connect) -> None:
    got = connect([SPEECH]).post("/v1/audio/speech", json=HELLO)
    assert got.headers["content-type"] == "audio/mpeg"
    assert got.headers["cache-control"] == "no-store"
    assert "content-length" not in got.headers


def test_speed_and_tags_change_the_length_of_the_sound(connect: Connect) -> None:
    script = VOCAB.ids([group(n) for n in range(10)])

    def seconds(**change: Any) -> float:
        body = {**HELLO, "response_format": "pcm", **change}
        return len(connect([script]).post("/v1/audio/speech", json=body).content) / 48000

    assert seconds() == pytest.approx(1.2, abs=0.01)
    assert seconds(speed=2) == pytest.approx(0.6, abs=0.01)
    assert seconds(input="(slow) Hello.") == pytest.approx(1.2 / 0.87, abs=0.01)
    assert seconds(instructions="Speak very fast!") == pytest.approx(1.2 / 1.35, abs=0.01)


@pytest.mark.parametrize("more", [{}, {"stream": False}])
@pytest.mark.parametrize("rate_hz", [8000, 16000, 48000])
def test_a_client_of_stepfun_gets_the_rate_it_asks_for(
    connect: Connect, rate_hz: int, more: dict[str, Any]
) -> None:
    body = {**HELLO, "sample_rate": rate_hz, **more}
    client = connect([SPEECH])
    pcm = client.post("/v1/audio/speech", json={**body, "response_format": "pcm"}).content
    assert abs(len(pcm) / 2 / rate_hz - 0.24) < 0.001
    wav = client.post("/v1/audio/speech", json={**body, "response_format": "wav"}).content
    with wave.open(io.BytesIO(wav)) as file:
        assert file.getframerate() == rate_hz


def test_volume_is_a_factor(connect: Connect) -> None:
    script = VOCAB.ids([group(n) for n in range(10)])

    def level(volume: float) -> float:
        body = {**HELLO, "response_format": "pcm", "volume": volume}
        pcm = pcm16_to_float(connect([script]).post("/v1/audio/speech", json=body).content)
        return float(np.abs(pcm).max())

    assert level(0.5) == pytest.approx(level(1.0) / 2, rel=0.01)


def test_tags_and_figures_never_reach_the_model_as_written(connect: Connect) -> None:
    engine = ScriptedEngine([SPEECH])
    body = {**HELLO, "input": "(happy) It is 42."}
    assert connect(engine=engine).post("/v1/audio/speech", json=body).status_code == 200
    prompt = bytes(i - 300 for i in engine.requests[0].prompt if 300 <= i < 556).decode()
    assert "It is forty two." in prompt
    assert "happy" not in prompt


def test_each_sentence_is_a_request_of_one_stream(connect: Connect) -> None:
    engine = ScriptedEngine([SPEECH])
    body = {**HELLO, "input": "One. Two. Three.", "response_format": "pcm"}
    got = connect(engine=engine).post("/v1/audio/speech", json=body)
    assert len(engine.requests) == 3
    assert len(got.content) == 3 * 2 * 2 * 960 * 3


@pytest.mark.parametrize("voice", ["alloy", "nova", "marin"])
def test_stock_voices_of_openai_are_mapped(connect: Connect, voice: str) -> None:
    got = connect([SPEECH]).post("/v1/audio/speech", json={**HELLO, "voice": voice})
    assert got.status_code == 200


def test_an_operator_names_voices(connect: Connect) -> None:
    client = connect([SPEECH], settings=ServerSettings(voice_names={"alloy": "gone", "me": "slt"}))
    for voice, status in (("me", 200), ("alloy", 400), ("nova", 200)):
        got = client.post("/v1/audio/speech", json={**HELLO, "voice": voice})
        assert got.status_code == status


def test_server_sent_events_carry_the_same_bytes(connect: Connect) -> None:
    client = connect([SPEECH])
    body = {**HELLO, "response_format": "pcm"}
    plain = client.post("/v1/audio/speech", json=body).content
    got = client.post("/v1/audio/speech", json={**body, "stream_format": "sse"})
    assert got.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in got.text.split("\n\n") if line]
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    assert b"".join(base64.b64decode(event["audio"]) for event in events[:-1]) == plain
    assert events[-1]["type"] == "speech.audio.done"
    assert set(events[-1]["usage"]) == {"input_tokens", "output_tokens", "total_tokens"}


@pytest.mark.parametrize(
    ("change", "status", "param", "code"),
    [
        ({"response_format": "midi"}, 400, "response_format", "invalid_value"),
        ({"speed": 5}, 400, "speed", "invalid_value"),
        ({"stream_format": "x"}, 400, "stream_format", "invalid_value"),
        ({"voice": "../../etc/passwd"}, 400, "voice", "voice_not_found"),
        ({"voice": 5}, 400, "voice", "invalid_value"),
        ({"input": "   "}, 400, "input", "invalid_value"),
        ({"input": ""}, 400, "input", "invalid_value"),
        ({"input": "x" * 100_001}, 413, "input", "string_above_max_length"),
        ({"input": 5}, 400, "input", "invalid_value"),
        ({"input": None}, 400, "input", "invalid_value"),
    ],
)
def test_a_speech_request_that_cannot_be_served_says_which_field(
    connect: Connect, change: dict[str, Any], status: int, param: str | None, code: str
) -> None:
    got = connect([SPEECH]).post("/v1/audio/speech", json={"input": "Hello.", **change})
    assert (got.status_code, error(got)["param"], error(got)["code"]) == (status, param, code)


@pytest.mark.parametrize("response_format", ["mp3", "opus", "aac", "flac", "wav"])
def test_a_file_sent_whole_tells_its_length_in_its_header(
    connect: Connect, response_format: str
) -> None:
    script = VOCAB.ids([group(n) for n in range(10)])
    body = {**HELLO, "response_format": response_format, "stream": False}
    got = connect([script]).post("/v1/audio/speech", json=body)
    if response_format != "aac":  # libsndfile does not know it
        with soundfile.SoundFile(io.BytesIO(got.content)) as file:
            assert abs(file.frames / file.samplerate - 1.2) < 0.01
            assert len(file.read()) == file.frames
    pcm, rate_hz = decode_audio(io.BytesIO(got.content), 10)
    # AAC has no header at all: its first and last frame are padded.
    assert abs(len(pcm) / rate_hz - 1.2) < (0.1 if response_format == "aac" else 0.01)


def test_an_engine_that_breaks_before_a_whole_file_is_an_error_in_words(connect: Connect) -> None:
    script = VOCAB.ids([group(n) for n in range(150)])
    client = connect(engine=ScriptedEngine([script], error=EngineError("no memory")))
    got = client.post("/v1/audio/speech", json={"input": "hello " * 40, "stream": False})
    assert (got.status_code, error(got)["code"]) == (500, "engine_failed")


@pytest.mark.parametrize("text", ["* * *", "?!", "(happy)", "😀", "<br>"])
def test_a_text_without_words_is_a_pause(connect: Connect, text: str) -> None:
    engine = ScriptedEngine([SPEECH])
    body = {"input": text, "response_format": "pcm"}
    got = connect(engine=engine).post("/v1/audio/speech", json=body)
    assert got.content == bytes(24_000)
    assert not engine.requests


def test_marks_of_print_never_reach_the_model(connect: Connect) -> None:
    engine = ScriptedEngine([SPEECH])
    body = {**HELLO, "input": "## It’s **late**.\n\n* * *\n\n“Go” — she said 😀"}
    assert connect(engine=engine).post("/v1/audio/speech", json=body).status_code == 200
    prompts = [
        bytes(i - 300 for i in request.prompt if 300 <= i < 556).decode()
        for request in engine.requests
    ]
    assert len(prompts) == 2
    assert "It's late." in prompts[0]
    assert '"Go", she said' in prompts[1]


def test_a_body_of_another_type_is_named(connect: Connect) -> None:
    for sent in ({"data": {"input": "Hello."}}, {"content": b'{"input": "Hello."}'}):
        got = connect([SPEECH]).post("/v1/audio/speech", **sent)
        assert (got.status_code, error(got)["code"]) == (415, "unsupported_media_type")
        assert "application/json" in error(got)["message"]


def test_an_engine_that_breaks_in_the_middle_ends_the_events_with_an_error(
    connect: Connect,
) -> None:
    # More groups than the queues hold: some are sound before the engine breaks.
    script = VOCAB.ids([group(n) for n in range(150)])
    client = connect(engine=ScriptedEngine([script], error=EngineError("no memory")))
    got = client.post(
        "/v1/audio/speech",
        json={"input": "hello " * 40, "stream_format": "sse", "response_format": "pcm"},
    )
    assert got.status_code == 200
    last = json.loads(got.text.strip().split("\n\n")[-1].removeprefix("data: "))
    assert (last["type"], last["error"]["code"]) == ("error", "engine_failed")


@pytest.mark.parametrize("more", [{}, {"stream_format": "sse"}, {"stream": False}])
def test_a_text_in_letters_the_model_was_not_taught_is_refused(
    connect: Connect, more: dict[str, Any]
) -> None:
    client = connect([SPEECH], dialog=DialogSettings(languages=("en",)))
    got = client.post("/v1/audio/speech", json={**HELLO, "input": "Hello. Привет, мир.", **more})
    assert got.status_code == 400
    refused = error(got)
    assert refused["code"] == "unreadable_text"
    assert refused["param"] == "input"
    assert "English" in refused["message"]
    assert "'Привет, мир.'" in refused["message"]
    tagged = {**HELLO, "input": "（高兴1）Hello, мир.", **more}
    assert client.post("/v1/audio/speech", json=tagged).status_code == 200


def prompts(engine: ScriptedEngine) -> list[str]:
    return [bytes(i - 300 for i in r.prompt if 300 <= i < 556).decode() for r in engine.requests]


@pytest.mark.parametrize("more", [{}, {"stream": False}, {"stream_format": "sse"}])
def test_on_request_what_cannot_be_read_is_left_out_and_said_in_a_header(
    connect: Connect, more: dict[str, Any]
) -> None:
    engine = ScriptedEngine([SPEECH])
    client = connect(engine=engine, dialog=DialogSettings(languages=("en",)))
    body = {**HELLO, "input": "One. Привет, мир. Two.", "unreadable": "skip", **more}
    got = client.post("/v1/audio/speech", json=body)
    assert got.status_code == 200
    said = got.headers["step-audio-warnings"].encode().decode("unicode_escape")
    assert said == "left out 'Привет, мир.': this model was not taught Cyrillic letters"
    assert ["One." in p or "Two." in p for p in prompts(engine)] == [True, True]


def test_a_text_of_which_nothing_can_be_read_is_a_pause_on_request(connect: Connect) -> None:
    client = connect([SPEECH], dialog=DialogSettings(languages=("en",)))
    body = {"input": "Привет.", "unreadable": "skip", "response_format": "pcm"}
    got = client.post("/v1/audio/speech", json=body)
    assert got.content == bytes(24_000)
    assert "step-audio-warnings" in got.headers


def test_the_header_of_warnings_is_bounded(connect: Connect) -> None:
    client = connect([SPEECH], dialog=DialogSettings(languages=("en",)))
    body = {**HELLO, "input": "Привет. " * 1000, "unreadable": "skip"}
    header = client.post("/v1/audio/speech", json=body).headers["step-audio-warnings"]
    assert header.endswith("; and 980 more")
    assert len(header) < 8000


@pytest.mark.parametrize(
    ("options", "read"),
    [
        ({}, "Go to x dot org slash a for five dollars."),
        ({"numbers": False}, "Go to x dot org slash a for $5."),
        ({"addresses": "host"}, "Go to x dot org for five dollars."),
        ({"addresses": "omit"}, "Go to for five dollars."),
        ({"input": "AT&amp;T", "markdown": False}, "AT and amp;T"),
        ({"markdown": None, "style_tags": None}, "Go to x dot org slash a for five dollars."),
    ],
)
def test_what_of_a_text_is_read_is_asked_for(
    connect: Connect, options: dict[str, Any], read: str
) -> None:
    engine = ScriptedEngine([SPEECH])
    body = {**HELLO, "input": "(sad) Go to x.org/a for $5.", **options}
    assert connect(engine=engine).post("/v1/audio/speech", json=body).status_code == 200
    assert read in prompts(engine)[0]


def test_style_tags_are_words_on_request_and_by_the_profile(connect: Connect) -> None:
    off = DialogSettings(text_options=TextOptions(style_tags=False))
    for dialog, more in ((None, {"style_tags": False}), (off, {})):
        engine = ScriptedEngine([SPEECH])
        body = {**HELLO, "input": "(English) Hello.", **more}
        client = connect(engine=engine, dialog=dialog)
        assert client.post("/v1/audio/speech", json=body).status_code == 200
        assert "(English) Hello." in prompts(engine)[0]


@pytest.mark.parametrize("wrong", [{"addresses": "spell"}, {"unreadable": True}, {"numbers": "no"}])
def test_an_unknown_text_option_is_named(connect: Connect, wrong: dict[str, Any]) -> None:
    got = connect([SPEECH]).post("/v1/audio/speech", json={**HELLO, **wrong})
    assert got.status_code == 400
    assert error(got)["param"] == next(iter(wrong))


@pytest.mark.parametrize("text", ["Go to example.com.", "🅷🅸", "```python\nx\n```", "<foo>"])
def test_a_text_with_letters_is_spoken(connect: Connect, text: str) -> None:
    engine = ScriptedEngine([SPEECH])
    got = connect(engine=engine).post("/v1/audio/speech", json={**HELLO, "input": text})
    assert got.status_code == 200
    assert len(engine.requests) == 1


def test_rap_is_refused_with_the_reason_where_it_cannot_be_done(connect: Connect) -> None:
    client = connect([SPEECH])
    for body in ({"input": "Well. (RAP) Yo."}, {"input": "Yo.", "instructions": "rap it"}):
        got = client.post("/v1/audio/speech", json={**HELLO, **body})
        assert (got.status_code, error(got)["code"]) == (400, "singing_unsupported")
        assert "vocoder for singing" in error(got)["message"]


DOMAIN = DialogSettings(domain=read_domain("< hello\nhello my\nmy friend\nfriend >\nhello >"))


def test_a_header_tells_how_many_sentences_the_model_was_not_taught(connect: Connect) -> None:
    client = connect([SPEECH] * 4, dialog=DOMAIN)
    text = "(happy) Hello, my friend! My house is red. Hello."
    told = client.post("/v1/audio/speech", json={**HELLO, "input": text})
    assert told.status_code == 200
    assert told.headers["x-out-of-domain"] == "1/3"
    events = client.post("/v1/audio/speech", json={**HELLO, "input": text, "stream_format": "sse"})
    assert events.headers["x-out-of-domain"] == "1/3"
    known = client.post("/v1/audio/speech", json={**HELLO, "input": "Hello my friend."})
    assert "x-out-of-domain" not in known.headers


def test_a_model_without_a_list_reads_anything(connect: Connect) -> None:
    got = connect([SPEECH]).post("/v1/audio/speech", json={**HELLO, "input": "My house is red."})
    assert "x-out-of-domain" not in got.headers
