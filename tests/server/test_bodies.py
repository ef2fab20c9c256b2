"""Bodies as programs write them: numbers as text, names in capitals, wishes nobody can grant."""

import base64
import json
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from server.http.body import Body, base64_bytes
from server.http.errors import RequestError
from server.routes.chat.answer import StopSequences
from tests.fakes import VOCAB, ScriptedEngine, group, text_ids
from tests.server.conftest import Connect
from tests.server.test_http import error

SPEECH = VOCAB.ids([group(1), group(2)])
ASKED = {"messages": [{"role": "user", "content": "What time is it?"}]}


class Inner(Body):
    wanted: bool = False


class Example(Body):
    """A body with a field of each kind."""

    speed: Annotated[float, Field(ge=0.25, le=4)] = 1.0
    count: int | None = None
    rate: Literal[8000, 24000] = 24000
    kind: Literal["wav", "mp3"] = "wav"
    text: str | None = None
    inner: Inner | None = None


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"speed": "1.0"}, {"speed": 1.0}),
        ({"speed": " 2 "}, {"speed": 2.0}),
        ({"speed": "5e-1"}, {"speed": 0.5}),
        ({"speed": 2}, {"speed": 2.0}),
        ({"count": "5"}, {"count": 5}),
        ({"count": 5.0}, {"count": 5}),
        ({"rate": "8000"}, {"rate": 8000}),
        ({"rate": 8000.0}, {"rate": 8000}),
        ({"kind": "MP3"}, {"kind": "mp3"}),
        ({"text": "1.0"}, {"text": "1.0"}),
        ({"inner": {"wanted": "True"}}, {"inner": Inner(wanted=True)}),
        ({"speed": None, "count": None, "kind": None, "inner": None}, {}),
        ({"inner": {"wanted": None}}, {"inner": Inner()}),
    ],
)
def test_what_can_only_mean_one_thing_is_taken_for_it(
    given: dict[str, Any], meant: dict[str, Any]
) -> None:
    assert Example.model_validate(given) == Example.model_construct(**Example().__dict__ | meant)


@pytest.mark.parametrize(
    "given",
    [
        {"speed": "fast"},
        {"speed": "nan"},
        {"speed": "9"},
        {"speed": ""},
        {"speed": True},
        {"count": "5.5"},
        {"count": "٥"},
        {"rate": "9000"},
        {"kind": "mp4"},
        {"text": 5},
        {"inner": {"wanted": "perhaps"}},
    ],
)
def test_what_means_something_else_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Example.model_validate(given)


@pytest.mark.parametrize(
    ("change", "media_type"),
    [
        ({"speed": "1.0", "response_format": "PCM"}, "audio/pcm"),
        ({"response_format": "ogg", "volume": "0.5", "sample_rate": "16000"}, "audio/ogg"),
        ({"response_format": "Wave", "stream": "false"}, "audio/wav"),
        ({"response_format": "audio/mpeg"}, "audio/mpeg"),
        ({"stream_format": "SSE"}, "text/event-stream"),
    ],
)
def test_speech_is_made_of_such_a_body(
    connect: Connect, change: dict[str, Any], media_type: str
) -> None:
    body = {"model": "tts-1", "input": "Hello.", "voice": "alloy", **change}
    got = connect([SPEECH]).post("/v1/audio/speech", json=body)
    assert (got.status_code, got.headers["content-type"].split(";")[0]) == (200, media_type)


def test_an_unknown_format_is_named(connect: Connect) -> None:
    body = {"input": "Hello.", "response_format": "midi"}
    got = connect([SPEECH]).post("/v1/audio/speech", json=body)
    assert (got.status_code, error(got)["param"]) == (400, "response_format")


def content(connect: Connect, answer: str, **wanted: Any) -> tuple[str, str]:
    """Return (text, finish_reason), which a stream tells as well as a whole answer."""
    client = connect([text_ids(answer)])
    whole = client.post("/v1/chat/completions", json={**ASKED, **wanted}).json()["choices"][0]
    client = connect([text_ids(answer)])
    got = client.post("/v1/chat/completions", json={**ASKED, **wanted, "stream": True}).text
    chunks = [json.loads(line[6:]) for line in got.split("\n\n")[:-2]]
    said = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    reason = chunks[-1]["choices"][0]["finish_reason"]
    assert (said, reason) == (whole["message"]["content"], whole["finish_reason"])
    return said, reason


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        ("noon", "It is "),
        (["zzz", " is"], "It"),
        (["noon.", "n."], "It is "),
        ("zzz", "It is noon."),
        ("noon?", "It is noon."),
        ([], "It is noon."),
        ("", "It is noon."),
        (None, "It is noon."),
    ],
)
def test_stop_ends_the_text_before_it(connect: Connect, stop: Any, text: str) -> None:
    assert content(connect, "It is noon.", stop=stop) == (text, "stop")


@given(text=st.text("ab", max_size=12), stop=st.text("ab", min_size=1, max_size=4), data=st.data())
def test_a_stop_is_found_wherever_the_text_is_cut(
    text: str, stop: str, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    stage, said = StopSequences([stop]), ""
    for here, there in zip([0, *cuts], [*cuts, len(text)], strict=True):
        said += stage.push(text[here:there])
    said += stage.flush()
    assert said == text.partition(stop)[0]
    assert stage.reached == (stop in text)


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
        ({"stop": "x", "modalities": ["text", "audio"]}, "stop"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"frequency_penalty": "0.5"}, "frequency_penalty"),
        ({"functions": [{"name": "go"}]}, "functions"),
    ],
)
def test_a_wish_that_changes_the_answer_is_granted_or_refused(
    connect: Connect, wanted: dict[str, Any], param: str
) -> None:
    got = connect([text_ids("Noon.")]).post("/v1/chat/completions", json={**ASKED, **wanted})
    assert got.status_code == 400
    assert (error(got)["code"], error(got)["param"]) == ("unsupported_value", param)


@pytest.mark.parametrize(
    "wanted",
    [
        {"response_format": {"type": "text"}, "presence_penalty": 0, "frequency_penalty": 0.0},
        {"logprobs": False, "logit_bias": {}, "functions": [], "stop": [], "top_logprobs": 0},
        {"response_format": None, "parallel_tool_calls": True, "n": 1, "user": "me"},
    ],
)
def test_wishes_for_what_is_anyway_are_no_errors(connect: Connect, wanted: dict[str, Any]) -> None:
    got = connect([text_ids("Noon.")]).post("/v1/chat/completions", json={**ASKED, **wanted})
    assert got.json()["choices"][0]["message"]["content"] == "Noon."


def test_without_parallel_calls_only_the_first_counts(connect: Connect) -> None:
    calls = [8, *text_ids('go {"a":1}'), 8, *text_ids('go {"a":2}')]
    tools = [{"type": "function", "function": {"name": "go"}}]

    def made(**wanted: Any) -> int:
        body = {**ASKED, "tools": tools, **wanted}
        got = connect(engine=ScriptedEngine([calls])).post("/v1/chat/completions", json=body)
        return len(got.json()["choices"][0]["message"]["tool_calls"])

    assert made() == 2
    assert made(parallel_tool_calls=False) == 1


@pytest.mark.parametrize("length", [0, 1, 3 << 16, (3 << 16) + 1, 1_000_000])
def test_base64_of_any_length_is_decoded_in_pieces_as_in_one(length: int) -> None:
    data = np.random.default_rng(0).bytes(length)
    assert base64_bytes(base64.b64encode(data).decode(), "audio") == data


def test_padding_between_two_pieces_is_no_base64() -> None:
    text = "A" * ((1 << 18) - 2) + "==" + "AAAA"
    with pytest.raises(RequestError, match="not base64"):
        base64_bytes(text, "audio")
