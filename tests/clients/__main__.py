"""Stock clients against nano on loopback. Run: make test-clients [CLIENTS="livekit pipecat"]

Each runs in its own environment (build/clients, from the locks beside this file) and does a spoken
turn with a function call, an interruption and a clean close. The last line is JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from step_audio.core.audio import float_to_pcm16, read_audio
from step_audio.core.resampling import resample
from tests.clients.tls import tls

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
BUILD: Final = ROOT / "build" / "clients"
SOUNDS: Final = {
    "weather": ROOT / "tests" / "golden" / "audio" / "en_1.wav",
    "story": HERE / "sounds" / "story.wav",
    "capital": HERE / "sounds" / "capital.wav",
}
LIMIT_S: Final = 300
"""Each script ends sooner, and says what it waited for; this is for one that is stuck."""


@dataclass(frozen=True)
class Client:
    """One stock client: its environment and the script that drives it."""

    name: str
    environment: str
    script: tuple[str, ...]

    def command(self) -> list[str]:
        """Return what to run."""
        if self.environment == "node":
            # Beside its node_modules, where Node looks for packages.
            return ["node", str(BUILD / self.script[0]), *self.script[1:]]
        return [str(BUILD / self.environment / "bin" / "python"), *self.script]


CLIENTS: Final = (
    Client("openai-python", "openai3", ("python/openai_client.py",)),
    Client("openai-python-beta", "openai2", ("python/openai_client.py", "--beta")),
    Client("openai-agents", "agents", ("python/agents_client.py",)),
    Client("pipecat", "frameworks", ("python/pipecat_client.py",)),
    Client("livekit", "frameworks", ("python/livekit_client.py",)),
    Client("openai-node", "node", ("node/openai_client.mjs", "openai")),
    Client("openai-node-6", "node", ("node/openai_client.mjs", "openai-6")),
    Client("openai-agents-js", "node", ("node/agents_client.mjs",)),
    Client("openai-realtime-api", "node", ("node/beta_client.mjs",)),
)


def write_sounds() -> Path:
    """Write the questions as PCM16 at 24 kHz and return their folder."""
    folder = BUILD / "sounds"
    folder.mkdir(parents=True, exist_ok=True)
    for name, clip in SOUNDS.items():
        pcm, rate_hz = read_audio(clip)
        (folder / f"{name}.pcm").write_bytes(float_to_pcm16(resample(pcm, rate_hz, 24_000)))
    return folder


@contextmanager
def nano() -> Iterator[int]:
    """Serve nano on a free port of loopback and yield the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = [sys.executable, "-m", "step_audio", "serve", "--profile", "nano"]
    log = (BUILD / "server.log").open("w")
    server = subprocess.Popen(
        [*command, "--port", str(port)], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
    )
    try:
        deadline = time.monotonic() + 120
        while not _ready(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"nano did not start; see {log.name}")
            time.sleep(0.2)
        yield port
    finally:
        server.terminate()
        server.wait(30)
        log.close()


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
            return True
    except OSError:
        return False


def run(client: Client, environ: dict[str, str]) -> dict[str, Any]:
    """Run one client and return its report."""
    begun = time.monotonic()
    try:
        done = subprocess.run(
            client.command(),
            cwd=HERE,
            env=environ,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        output, error, code = done.stdout, done.stderr, done.returncode
    except subprocess.TimeoutExpired as late:
        # Bytes, even with text=True.
        output, error = (bytes(said or b"").decode() for said in (late.stdout, late.stderr))
        error, code = f"{error}\nstopped after {LIMIT_S} s", 124
    (BUILD / f"{client.name}.log").write_text(output + error)
    lines = [line for line in output.splitlines() if line.startswith("{")]
    report = json.loads(lines[-1]) if lines else {"error": error[-1500:]}
    took_s = round(time.monotonic() - begun, 1)
    return {"client": client.name, **report, "ok": code == 0, "seconds": took_s}


def main() -> int:
    """Run the clients named on the command line, all by default."""
    wanted = sys.argv[1:] or [client.name for client in CLIENTS]
    sounds = write_sounds()
    reports = []
    shutil.copytree(HERE / "node", BUILD / "node", dirs_exist_ok=True)
    with nano() as port, tls(port, BUILD) as secure:
        environ = {
            **os.environ,
            "REALTIME_URL": f"ws://127.0.0.1:{port}/v1/realtime",
            "REALTIME_TLS_URL": f"wss://localhost:{secure}/v1/realtime",
            "REALTIME_SOUNDS": str(sounds),
        }
        for client in CLIENTS:
            if client.name in wanted:
                reports.append(run(client, environ))
                print(json.dumps(reports[-1]), flush=True)
    good = sum(report["ok"] for report in reports)
    print(json.dumps({"clients": len(reports), "good": good}))
    return 0 if reports and good == len(reports) else 1


if __name__ == "__main__":
    sys.exit(main())
