"""`step-audio doctor` finds what is wrong and says what to do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from step_audio.cli import main
from step_audio.cli.doctor import examine_machine
from step_audio.cli.findings import Finding
from step_audio.core.config import load_profile
from step_audio.core.profile import Profile

VLLM = """\
model_name: far
responder: direct
weights: {weights}
origin: nowhere
voice: rms
engine: {{kind: vllm, url: "{url}", model: far}}
server: {{host: {host}, port: {port}}}
"""


class _Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def engine_url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Health) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _profile(tmp_path: Path, url: str, host: str = "127.0.0.1", port: int | None = None) -> Profile:
    path = tmp_path / "far.yaml"
    path.write_text(
        VLLM.format(weights=tmp_path, url=url, host=host, port=port or _free_port()),
        encoding="utf-8",
    )
    return load_profile(str(path), environ={})


def _found(profile: Profile) -> dict[str, Finding]:
    return {finding.subject: finding for finding in examine_machine(profile)}


def test_nano_is_found_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEP_AUDIO__SERVER__PORT", str(_free_port()))
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "Weights: " in said
    assert "as in the manifest" in said
    assert said.endswith("all that serving needs is there\n")


def test_missing_weights_and_a_dead_engine_are_wrong(tmp_path: Path) -> None:
    found = _found(_profile(tmp_path, f"http://127.0.0.1:{_free_port()}"))
    assert found["Weights"].state == "wrong"
    assert found["Engine"].state == "wrong"
    assert "step-audio engine" in found["Engine"].advice


def test_an_engine_that_answers_is_well(tmp_path: Path, engine_url: str) -> None:
    assert _found(_profile(tmp_path, engine_url))["Engine"].state == "ok"


def test_a_port_in_use_is_wrong(tmp_path: Path, engine_url: str) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        found = _found(_profile(tmp_path, engine_url, port=busy.getsockname()[1]))
    assert found["Address"].state == "wrong"
    assert "--port" in found["Address"].advice


def test_serving_other_machines_asks_for_tls_and_a_key(tmp_path: Path, engine_url: str) -> None:
    found = _found(_profile(tmp_path, engine_url, host="0.0.0.0"))
    assert found["Microphone"].state == "note"
    assert "--tls" in found["Microphone"].advice
    assert found["Key"].state == "note"


def test_a_failing_check_ends_with_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _profile(tmp_path, f"http://127.0.0.1:{_free_port()}")
    assert main(["doctor", "--profile", str(tmp_path / "far.yaml")]) == 1
    assert "2 to mend" in capsys.readouterr().out
