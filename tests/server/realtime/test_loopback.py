"""The same over a real socket: uvicorn, the websockets client, no test transport."""

import base64
import json
import subprocess
import sys

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from step_audio.core.audio import float_to_pcm16
from step_audio.dialog.prompting.layout import interleave
from tests.fakes import VOCAB, ScriptedEngine, group, services, text_ids
from tests.server.loopback import serving

ANSWER = [6, *text_ids("hello"), 7, *interleave(text_ids("Hi."), [group(1)] * 3, VOCAB)]


def test_a_spoken_turn_over_a_real_socket() -> None:
    with serving(services(ScriptedEngine([ANSWER]))) as port:
        with connect(f"ws://127.0.0.1:{port}/v1/realtime") as socket:
            assert json.loads(socket.recv(10))["type"] == "session.created"
            for _ in range(20):
                pcm = float_to_pcm16(np.full(960, 0.1, np.float32))
                audio = base64.b64encode(pcm).decode()
                socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
            socket.send('{"type": "input_audio_buffer.commit"}')
            socket.send('{"type": "response.create"}')
            events = [json.loads(socket.recv(10))]
            while events[-1]["type"] != "response.done":
                events.append(json.loads(socket.recv(10)))
        deltas = [e["delta"] for e in events if e["type"] == "response.output_audio.delta"]
        assert sum(len(base64.b64decode(delta)) for delta in deltas) == 2 * 3 * 2880
        assert events[-1]["response"]["status"] == "completed"
        # A page of another origin is refused with a status, not with a bare close.
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(f"ws://127.0.0.1:{port}/v1/realtime", origin=Origin("http://evil.example")),
        ):
            pass
        assert refused.value.response.status_code == 403


def test_the_server_loads_no_model_runtime() -> None:
    code = (
        "import sys, server.app; "
        "bad = {'torch', 'torchaudio', 'transformers', 'onnxruntime', 'librosa', 'soundfile'}; "
        "print(*sorted(bad & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""
