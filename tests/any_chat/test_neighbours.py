"""Programs that bring a microphone of their own: Home Assistant and Open WebUI with local-chat.

Home Assistant speaks Wyoming, which the package wyoming-openai translates: it is run as it is, in
build/wyoming (make test-any-chat makes it where there is a Python of its own kind, 3.12 or later).
Open WebUI is not run: it takes a hundred packages. Its requests are made here as its release
0.12.4 makes them (routers/audio).
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import httpx
import pytest

from step_audio.core.audio import read_audio, write_wav
from tests.any_chat.conftest import SAMPLES, Deployment

HERE = Path(__file__).parent
WYOMING = HERE.parents[1] / "build" / "wyoming" / "bin" / "python"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.skipif(not WYOMING.exists(), reason="make test-any-chat installs wyoming-openai")
def test_home_assistant_hears_and_speaks_through_wyoming(
    deployment: Deployment, sounds: Path
) -> None:
    log = HERE.parents[1] / "build" / "any-chat" / "wyoming.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environ = {
        **os.environ,
        "BASE_URL": f"http://127.0.0.1:{deployment.port}/v1",
        "SOUNDS": str(sounds),
        "LOG": str(log),
    }
    done = subprocess.run(
        [str(WYOMING), str(HERE / "wyoming_client.py")],
        env=environ, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    told = log.read_text(errors="replace")[-3000:]
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{told}"
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["heard"] == "How many legs does a spider have?"
    assert found["heard_live"] == found["heard"]
    assert any("rms" in voice for voice in found["voices"])
    assert found["sound_s"] > 0.5


def test_what_open_webui_asks_is_answered(deployment: Deployment, tmp_path: Path) -> None:
    pcm, rate_hz = read_audio(SAMPLES / "capital.mp3")
    write_wav(tmp_path / "q.wav", pcm, rate_hz)
    bearer = {"Authorization": "Bearer none"}
    address = f"http://127.0.0.1:{deployment.port}/v1"
    with httpx.Client(base_url=address, headers=bearer, timeout=300, trust_env=False) as client:
        models = client.get("/audio/models").json()["models"]
        assert [model["id"] for model in models] == ["step-audio-local-chat"]
        voices = {v["id"]: v["name"] for v in client.get("/audio/voices").json()["voices"]}
        assert "rms" in voices
        asked = {"input": "It is noon.", "voice": "rms", "model": "tts-1"}
        said = client.post("/audio/speech", json=asked)
        assert said.headers["content-type"] == "audio/mpeg"
        assert len(said.content) > 1000
        sound = (tmp_path / "q.wav").read_bytes()
        for language in ("en", None):  # what is set for the person, then without
            form = {"model": "whisper-1"} | ({"language": language} if language else {})
            files = {"file": ("q.wav", sound)}
            heard = client.post("/audio/transcriptions", data=form, files=files)
            assert heard.status_code == 200
            assert heard.json()["text"] == "What is the capital of France?"
        listed = client.get("/models").json()["data"]
        chat = {
            "model": listed[0]["id"],
            "messages": [{"role": "user", "content": "What is the capital of France?"}],
            "stream": True,
        }
        streamed = client.post("/chat/completions", json=chat).text
        assert "Paris" in streamed
        assert streamed.rstrip().endswith("data: [DONE]")
