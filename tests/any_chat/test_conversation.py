"""A real conversation with Whisper, a chat server and nano's voice. Run: make test-any-chat."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.any_chat.conftest import Deployment
from tests.any_chat.scripted import CAPITAL, JOKE, LEGS, LONG, OTHER, SLOWER
from tests.web.test_browser import CHROMIUM, MODULES, Drive, browser, drive, page

HERE = Path(__file__).parent
STOCK = HERE.parents[1] / "build" / "clients" / "openai3" / "bin" / "python"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
__all__ = ["browser", "drive", "page"]


@pytest.fixture(scope="module")
def report(deployment: Deployment, sounds: Path) -> dict[str, Any]:
    """What the stock client saw."""
    if not STOCK.exists():
        pytest.skip("make test-any-chat installs the stock client")
    environ = {
        **os.environ,
        "REALTIME_URL": f"ws://127.0.0.1:{deployment.port}/v1/realtime",
        "SOUNDS": str(sounds),
    }
    script = [str(STOCK), str(HERE / "openai_client.py")]
    done = subprocess.run(
        script, env=environ, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(found, indent=1))
    return found


def test_the_stock_client_knows_every_event(report: dict[str, Any]) -> None:
    assert report["violations"] == []


def test_a_spoken_question_is_answered_and_no_thought_is_spoken(report: dict[str, Any]) -> None:
    turn = report["capital"]
    assert turn["heard"] == turn["deltas"] == "What is the capital of France?"
    assert turn["language"] == "en"
    assert turn["said"] == CAPITAL
    assert turn["sound_s"] > 1


def test_a_tool_of_an_mcp_server_is_called(report: dict[str, Any], deployment: Deployment) -> None:
    assert report["legs"]["said"] == LEGS
    sent = [message for body in deployment.chat.bodies for message in body["messages"]]
    results = [message for message in sent if message["role"] == "tool"]
    assert any("a spider has eight" in m["content"] for m in results)


def test_a_tool_of_the_client_is_called(report: dict[str, Any]) -> None:
    assert report["joke"]["calls"] == [{"name": "tell_joke", "arguments": "{}"}]
    assert report["after_call"]["said"] == JOKE


def test_an_answer_is_interrupted_and_the_history_says_how_far_it_was_heard(
    report: dict[str, Any], deployment: Deployment
) -> None:
    assert report["interrupted"]["status"] == "cancelled"
    assert report["after_interruption"]["said"] == CAPITAL
    history = next(
        body["messages"]
        for body in reversed(deployment.chat.bodies)
        if "capital" in str(body["messages"][-1]["content"]).lower() and len(body["messages"]) > 6
    )
    cut = history[-2]
    assert cut["role"] == "assistant"
    assert LONG.startswith(cut["content"])
    assert len(cut["content"]) < 300


def test_dictation_by_the_stock_client(report: dict[str, Any]) -> None:
    assert report["session"] == "transcription"
    legs, capital = report["dictated"]
    assert legs["heard"] == legs["deltas"] == "How many legs does a spider have?"
    assert capital["heard"] == "What is the capital of France?"


def speak(socket: ClientConnection, folder: Path, name: str) -> None:
    pcm = (folder / f"{name}.pcm").read_bytes() + bytes(48_000)
    for at in range(0, len(pcm), 4800):
        audio = base64.b64encode(pcm[at : at + 4800]).decode()
        socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))


def until(socket: ClientConnection, *kinds: str) -> list[dict[str, Any]]:
    seen = [json.loads(socket.recv(120))]
    while seen[-1]["type"] not in (*kinds, "error"):
        seen.append(json.loads(socket.recv(120)))
    assert seen[-1]["type"] != "error", seen[-1]
    return seen


def test_a_dropped_socket_is_resumed_in_the_middle_of_an_answer(
    deployment: Deployment, sounds: Path
) -> None:
    url = f"ws://127.0.0.1:{deployment.port}/v1/realtime"
    wish = [Subprotocol("realtime"), Subprotocol("step-audio-resume")]
    with connect(url, subprotocols=wish, max_size=None) as socket:
        token = until(socket, "session.resumable")[-1]["token"]
        speak(socket, sounds, "legs")
        last = until(socket, "response.output_audio.delta")[-1]["event_id"]
        socket.socket.close()
    offered = [Subprotocol("realtime"), Subprotocol(f"step-audio-resume.{token}.{last}")]
    with connect(url, subprotocols=offered, max_size=None) as socket:
        assert until(socket, "session.resumed")
        done = until(socket, "response.done")[-1]
        assert done["response"]["status"] == "completed"
        content = done["response"]["output"][-1]["content"][0]
        assert content["transcript"] == LEGS
        speak(socket, sounds, "capital")
        done = until(socket, "response.done")[-1]
        assert done["response"]["output"][-1]["content"][0]["transcript"] == CAPITAL


@pytest.mark.skipif(
    CHROMIUM is None or not MODULES.is_dir(), reason="needs Chromium and make test-web's packages"
)
def test_the_page_talks_and_says_who_is_at_work(
    drive: Drive, page: Path, deployment: Deployment
) -> None:
    from tests.server.loopback import serving  # noqa: PLC0415

    with serving(*deployment.parts(), web=page) as port:
        found = drive("talk", port)
    assert found["bubbles"][0] == ["user", "What is the capital of France?"]
    assert found["bubbles"][1] == ["assistant", CAPITAL]
    assert "Whisper base" in found["at_work"]
    assert "nano, rms" in found["at_work"]


@pytest.mark.skipif(
    CHROMIUM is None or not MODULES.is_dir(), reason="needs Chromium and make test-web's packages"
)
def test_the_page_converses_with_tools_an_interruption_and_a_dropped_line(
    drive: Drive, page: Path, deployment: Deployment
) -> None:
    """Spoken and typed turns: an MCP tool, a function of the page, a drop, an interruption."""
    from tests.server.loopback import serving  # noqa: PLC0415

    with serving(*deployment.parts(), web=page) as port:
        found = drive("converse", port)
    answers = [text for who, text in found["bubbles"] if who == "assistant"]
    assert answers[:4] == [CAPITAL, LEGS, SLOWER, OTHER]
    assert LONG.startswith(answers[4][:20])
    assert answers[5] == CAPITAL
    mcp, own = found["calls"]
    assert "count_legs" in mcp
    assert "a spider has eight" in mcp
    assert "set_speech" in own
    assert found["speed"] == "0.8"
    sent = [message for body in deployment.chat.bodies for message in body["messages"]]
    assert '{"speed":0.8,"loudness":3}' in [m["content"] for m in sent if m["role"] == "tool"]
    assert found["breaks"] == 1
    for part in ("Ear: Whisper base.", "Voice: nano, rms.", "Chat model: "):
        assert part in found["parts"]
    history = deployment.chat.bodies[-1]["messages"]
    assert history[-1] == {"role": "user", "content": "What is the capital of France?"}
    assert LONG.startswith(history[-2]["content"])
    assert len(history[-2]["content"]) < len(LONG) / 2, "the answer was not cut where it was heard"
