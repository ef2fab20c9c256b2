"""What programs made for OpenAI's servers do unasked: names, nulls, HEAD, unwanted keys."""

from typing import Any

import pytest

from server.admission.limits import ServerSettings
from step_audio.core.keys import Keyring
from tests.fakes import VOCAB, ScriptedEngine, group, text_ids
from tests.server.conftest import Connect
from tests.server.test_http import error

SPEECH = VOCAB.ids([group(1), group(2)])
ANSWER = [*text_ids("Hi."), 4]


@pytest.mark.parametrize("model", ["tts-1", "tts-1-hd", "gpt-4o-mini-tts", "", None])
def test_any_model_name_is_answered_by_the_one_there_is(
    connect: Connect, model: str | None
) -> None:
    got = connect([SPEECH]).post("/v1/audio/speech", json={"model": model, "input": "Hi."})
    assert got.status_code == 200
    asked = {"model": model, "messages": [{"role": "user", "content": "Hello."}]}
    assert connect([ANSWER]).post("/v1/chat/completions", json=asked).json()["model"] == "fake"


@pytest.mark.parametrize("voice", ["Alloy", " nova ", "SLT", "", None, {"id": "Echo"}])
def test_voices_are_known_however_they_are_written(connect: Connect, voice: Any) -> None:
    got = connect([SPEECH]).post("/v1/audio/speech", json={"input": "Hi.", "voice": voice})
    assert got.status_code == 200


def test_null_is_the_same_as_left_out(connect: Connect) -> None:
    fields = ("model", "voice", "response_format", "speed", "instructions", "stream_format")
    body = {"input": "Hi.", **dict.fromkeys(fields)}
    got = connect([SPEECH]).post("/v1/audio/speech", json=body)
    assert (got.status_code, got.headers["content-type"]) == (200, "audio/mpeg")


def test_fields_of_other_servers_are_passed_over(connect: Connect) -> None:
    body = {"input": "Hi.", "lang_code": "a", "stream": True, "return_download_link": False}
    assert connect([SPEECH]).post("/v1/audio/speech", json=body).status_code == 200


@pytest.mark.parametrize("header", ["Bearer none", "Bearer sk-proj-abc", "Bearer ", "Basic eA=="])
def test_any_key_does_where_none_is_asked(connect: Connect, header: str) -> None:
    got = connect().get("/v1/models", headers={"authorization": header})
    assert got.status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/models", "/v1/audio/voices", "/docs"])
def test_head_is_get_without_a_body(connect: Connect, path: str) -> None:
    client = connect()
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


def test_the_list_for_programs_that_read_aloud_has_ids_and_names(connect: Connect) -> None:
    listed = connect().get("/v1/audio/models").json()
    assert [(model["id"], model["name"]) for model in listed["models"]] == [("fake", "fake")]


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/audio/speech", "the base address ends in /v1"),
        ("/chat/completions", "the base address ends in /v1"),
        ("/v1/v1/audio/speech", "leave it out of the base address"),
    ],
)
def test_a_wrong_base_address_is_told(connect: Connect, path: str, hint: str) -> None:
    got = connect().post(path, json={"input": "Hi."})
    assert got.status_code == 404
    assert hint in error(got)["message"]


def test_a_long_text_is_read_sentence_by_sentence(connect: Connect) -> None:
    engine = ScriptedEngine([VOCAB.ids([group(1)])])
    chapter = "A sentence of a book. " * 900  # 20 000 characters
    body = {"input": chapter, "response_format": "pcm"}
    got = connect(engine=engine).post("/v1/audio/speech", json=body)
    assert len(engine.requests) == 900
    assert len(got.content) == 900 * 2 * 960 * 3


def test_a_keyed_server_says_what_to_send(connect: Connect) -> None:
    client = connect(settings=ServerSettings(keys=Keyring({}, "s3cret")))
    got = client.post("/v1/audio/speech", json={"input": "Hi."})
    assert got.status_code == 401
    assert "Authorization: Bearer KEY" in error(got)["message"]
