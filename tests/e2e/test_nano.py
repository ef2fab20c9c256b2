"""nano as it ships: real weights, real sockets, a spoken question of the golden clips."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile as sf
from websockets.sync.client import ClientConnection, connect

from step_audio.cli import main
from step_audio.core.audio import read_audio
from step_audio.core.config import load_profile
from step_audio.core.weights import open_weights
from step_audio.runtime import Runtime
from tests.server.loopback import serving
from tests.talk import answer, append, read_aloud, sound_of, until_done

QUESTION = Path(__file__).parents[1] / "golden" / "audio" / "en_1.wav"
MOST_BYTES = 60_000_000


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    runtime = Runtime(load_profile("nano"))
    with serving(runtime.services(), runtime.settings()) as bound:
        yield bound


def test_the_shipped_weights_are_whole_and_small() -> None:
    profile = load_profile("nano")
    weights = open_weights(profile.weights, profile.origin)
    weights.verify()
    assert weights.total_bytes <= MOST_BYTES
    assert "MODEL_CARD.md" in weights.files


def test_ask_writes_a_spoken_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoken = tmp_path / "answer.wav"
    assert main(["ask", str(QUESTION), "-o", str(spoken), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert set(facts) == {"heard", "text", "calls", "first_audio_ms", "rtf", "seconds"}
    assert facts["text"]
    sound, rate_hz = sf.read(spoken)
    assert len(sound) / rate_hz == pytest.approx(facts["seconds"], abs=0.01)
    assert np.abs(sound).max() > 0.05


def test_the_same_seed_gives_the_same_answer(tmp_path: Path) -> None:
    for name in ("one.wav", "two.wav"):
        assert main(["ask", str(QUESTION), "-o", str(tmp_path / name), "--seed", "3"]) == 0
    assert (tmp_path / "one.wav").read_bytes() == (tmp_path / "two.wav").read_bytes()


def test_speech_is_synthesised_over_rest(port: int) -> None:
    sound = read_aloud(f"127.0.0.1:{port}", "Twelve plus thirty is forty two.")
    assert 0.5 < len(sound) / 24_000 < 15


def test_print_is_read_like_plain_text() -> None:
    # With a seed, or the vocoder's noise would differ between two readings of the same ids.
    profile = load_profile("nano", {"STEP_AUDIO__SAMPLING__SEED": "3"})
    runtime = Runtime(profile)
    with serving(runtime.services(), runtime.settings()) as port:
        text = "It's late. Twelve plus thirty is forty two."
        # A prompt whose beginning is remembered is rounded otherwise than one that is read whole,
        # which may turn a code that lies near a border: both are compared with it remembered.
        read_aloud(f"127.0.0.1:{port}", text)
        plain = read_aloud(f"127.0.0.1:{port}", text)
        marked = "## It’s **late**.\n\n* * *\n\n_Twelve_ plus `30` is 42. 😀"
        printed = read_aloud(f"127.0.0.1:{port}", marked)
    assert len(printed) == len(plain)
    np.testing.assert_allclose(printed, plain, atol=1e-3)


def test_a_spoken_turn_over_the_websocket_is_answered_in_speech(port: int) -> None:
    with connect(f"ws://127.0.0.1:{port}/v1/realtime?model=nano") as socket:
        assert json.loads(socket.recv(10))["type"] == "session.created"
        append(socket, *read_audio(QUESTION))
        events = answer(socket)
    kinds = [event["type"] for event in events]
    assert kinds[-1] == "response.done"
    assert events[-1]["response"]["status"] == "completed"
    first_sound = kinds.index("response.output_audio.delta")
    assert kinds.index("response.created") < first_sound < kinds.index("response.output_audio.done")
    assert any(kind == "response.output_audio_transcript.delta" for kind in kinds)
    assert len(sound_of(events))


def test_the_server_hears_the_end_of_a_turn_and_of_an_answer(port: int) -> None:
    pcm, rate_hz = read_audio(QUESTION)
    with connect(f"ws://127.0.0.1:{port}/v1/realtime?model=nano") as socket:
        append(socket, np.concatenate((pcm, np.zeros(rate_hz, np.float32))), rate_hz)
        kinds = [event["type"] for event in until_done(socket)]
    assert kinds[0] == "session.created"
    assert kinds.index("input_audio_buffer.speech_started") < kinds.index("response.created")
    assert "input_audio_buffer.committed" in kinds
    assert "response.output_audio.delta" in kinds


LAMP = {"type": "function", "name": "switch_lamp", "parameters": {"type": "object"}}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "switch_lamp"}])
def test_a_call_that_a_client_requires_is_made_whatever_was_asked(
    port: int, choice: object
) -> None:
    (made,) = _asked(port, tools=[LAMP], tool_choice=choice)[-1]["response"]["output"]
    assert (made["type"], made["name"]) == ("function_call", "switch_lamp")


def test_no_tool_is_called_where_a_client_forbids_it(port: int) -> None:
    events = _asked(port, tool_choice="none", include=["response.builtin_tool_call"])
    assert events[-1]["response"]["status"] == "completed"
    assert not [e["type"] for e in events if "call" in e["type"]]


def _asked(port: int, **session: object) -> list[dict[str, Any]]:
    """Return the events of the question about the weather in a session of these settings."""
    by_hand = {"input": {"turn_detection": None}}
    with connect(f"ws://127.0.0.1:{port}/v1/realtime?model=nano") as socket:
        wanted = {"type": "realtime", "audio": by_hand, **session}
        socket.send(json.dumps({"type": "session.update", "session": wanted}))
        append(socket, *read_audio(QUESTION))
        return answer(socket)


ASKED = (
    ("what is twelve plus thirty", "forty two"),
    ("what time is it in london", "london"),
    ("what is the capital of france", "paris"),
    ("how many legs does a spider have", "eight"),
    ("what color is the sky", "blue"),
    ("how much is seven times eight", "fifty six"),
)


def test_a_second_question_about_something_else_is_no_follow_up(port: int) -> None:
    wrong = []
    for (first, _), (second, word) in permutations(ASKED, 2):
        said = [{"role": "user", "content": first}]
        said.append({"role": "assistant", "content": _written(port, said)})
        text = _written(port, [*said, {"role": "user", "content": second}])
        if word not in text.lower():
            wrong.append((first, second, text))
    # v0.2 had 16 of these 30 wrong.
    assert len(wrong) <= 3, wrong


FIRST = ("What time is it?", "What is 12 + 30?", "hi", "speak faster please")


@pytest.mark.parametrize("first", FIRST)
def test_what_is_typed_in_mid_conversation_is_taken_as_it_is_at_the_start(
    port: int, first: str
) -> None:
    with connect(f"ws://127.0.0.1:{port}/v1/realtime?model=nano") as socket:
        wanted = {"output_modalities": ["text"], "include": ["response.builtin_tool_call"]}
        session = {"type": "realtime", **wanted}
        socket.send(json.dumps({"type": "session.update", "session": session}))
        _typed(socket, first)
        for city in ("Paris", "Seattle"):
            called, _ = _typed(socket, f"What is the weather in {city}?")
            assert called == [("get_weather", json.dumps({"city": city}, separators=(",", ":")))]
        called, said = _typed(socket, "tell me about quantum physics")
        assert (called, said[:22]) == ([], "Sorry, I can not do th")


def _typed(socket: ClientConnection, question: str) -> tuple[list[tuple[str, str]], str]:
    """Return the server's calls for a typed question, each with its arguments, and the answer."""
    content = [{"type": "input_text", "text": question}]
    item = {"type": "message", "role": "user", "content": content}
    socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
    socket.send(json.dumps({"type": "response.create"}))
    events = until_done(socket)
    calls = [
        (event["name"], event["arguments"])
        for event in events
        if event["type"] == "response.builtin_tool_call.in_progress"
    ]
    deltas = [event for event in events if event["type"] == "response.output_text.delta"]
    return calls, "".join(event["delta"] for event in deltas)


def test_asked_to_speak_first_it_greets_and_hears_the_question_that_follows(port: int) -> None:
    with connect(f"ws://127.0.0.1:{port}/v1/realtime?model=nano") as socket:
        by_hand = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        wanted = {**by_hand, "tools": [{**LAMP, "name": "get_weather"}]}
        socket.send(json.dumps({"type": "session.update", "session": wanted}))
        socket.send(json.dumps({"type": "response.create"}))
        assert _said(until_done(socket)) == "Hello! How can I help you?"
        append(socket, *read_audio(QUESTION))
        called = answer(socket)[-1]["response"]["output"][-1]
        assert (called["name"], called["arguments"]) == ("get_weather", '{"city":"Paris"}')


@pytest.mark.parametrize("heard", ["", "The capital", "The capital of France is"])
def test_a_question_after_an_answer_that_was_broken_off_is_answered(port: int, heard: str) -> None:
    said = [
        {"role": "user", "content": "what is the capital of france"},
        {"role": "assistant", "content": heard},
        {"role": "user", "content": "what is twelve plus thirty"},
    ]
    assert "forty two" in _written(port, said)


def _said(events: list[dict[str, Any]]) -> str:
    return "".join(
        event["delta"]
        for event in events
        if event["type"] == "response.output_audio_transcript.delta"
    )


def _written(port: int, messages: list[dict[str, str]]) -> str:
    asked = {"model": "nano", "messages": messages, "modalities": ["text"]}
    reply = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=asked, timeout=60)
    text: str = reply.json()["choices"][0]["message"]["content"]
    return text
