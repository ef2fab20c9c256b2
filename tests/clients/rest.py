"""Stock OpenAI clients against nano over REST. Run: make test-clients-rest

Each client writes one sound file a format; what it wrote is decoded here, by soundfile where it
knows the format and by ffmpeg's libraries everywhere. The last line is JSON.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import soundfile

from step_audio.core.config import load_profile
from step_audio.core.decoding import decode_audio
from step_audio.dialog.assistant import Assistant
from step_audio.runtime import Runtime
from tests.bench.speech import serving

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
BUILD: Final = ROOT / "build" / "clients"
BY_SOUNDFILE: Final = ("mp3", "opus", "wav")  # flac wants the length in the header: sent whole
TOLERANCE_S: Final = 0.12
"""Codecs of frames pad the first and the last one."""
LIMIT_S: Final = 900


def durations(folder: Path, client: str) -> dict[str, float]:
    """Return the seconds of a client's files. Raises SystemExit: one is not as long as pcm."""
    pcm_s = (folder / f"{client}.pcm").stat().st_size / 2 / 24_000
    found = {"pcm": pcm_s}
    for name in ("mp3", "opus", "aac", "flac", "wav"):
        data = (folder / f"{client}.{name}").read_bytes()
        pcm, rate_hz = decode_audio(io.BytesIO(data), 600)
        found[name] = len(pcm) / rate_hz
        if name in BY_SOUNDFILE:
            found[f"{name} by soundfile"] = _by_soundfile(data)
    whole = (folder / f"{client}-whole.flac").read_bytes()
    found["flac sent whole, by soundfile"] = _by_soundfile(whole)
    wrong = {name: s for name, s in found.items() if abs(s - pcm_s) > TOLERANCE_S}
    if wrong:
        raise SystemExit(f"{client}: pcm lasts {pcm_s:.2f} s, but {wrong}")
    return {name: round(seconds, 2) for name, seconds in found.items()}


def _by_soundfile(data: bytes) -> float:
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        return len(file.read()) / float(file.samplerate)


def shown(address: str) -> dict[str, Any]:
    """Run the Python example of docs/rest.md as it stands there, at another address."""
    page = (ROOT / "docs" / "rest.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    code = code.replace("http://127.0.0.1:8000", address)
    python = str(BUILD / "openai3/bin/python")
    subprocess.run([python, "-c", code], cwd=BUILD / "sounds", timeout=LIMIT_S, check=True)
    with (BUILD / "sounds" / "said.mp3").open("rb") as file:
        pcm, rate_hz = decode_audio(file, 600)
    return {"client": "docs/rest.md", "ok": len(pcm) > rate_hz / 2, "seconds": len(pcm) / rate_hz}


def run(client: str, command: list[str], address: str) -> dict[str, Any]:
    """Run one client and return its report."""
    environ = {**os.environ, "REST_URL": f"{address}/v1", "REST_FOLDER": str(BUILD / "sounds")}
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    if done.returncode:
        return {"client": client, "ok": False, "error": (done.stdout + done.stderr)[-2000:]}
    report = json.loads(done.stdout.splitlines()[-1])
    seconds = durations(BUILD / "sounds", client)
    return {"client": client, "ok": True, **report, "seconds": seconds}


def main() -> int:
    """Run both clients and the example of the documents."""
    (BUILD / "sounds").mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "tests/golden/audio/en_1.wav", BUILD / "sounds" / "question.wav")
    # Beside its node_modules, where Node looks for packages.
    (BUILD / "node").mkdir(exist_ok=True)
    shutil.copy(HERE / "node" / "rest_client.mjs", BUILD / "node" / "rest_client.mjs")
    commands = {
        "python": [str(BUILD / "openai3/bin/python"), str(HERE / "python/rest_client.py")],
        "node": ["node", str(BUILD / "node" / "rest_client.mjs")],
    }
    parts = Runtime(load_profile("nano"))
    reports = []
    with serving(Assistant(parts.services(), parts.settings())) as address:
        for client, command in commands.items():
            reports.append(run(client, command, address))
            print(json.dumps(reports[-1]), flush=True)
        reports.append(shown(address))
        print(json.dumps(reports[-1]), flush=True)
    good = sum(report["ok"] for report in reports)
    print(json.dumps({"clients": len(reports), "good": good}))
    return 0 if good == len(reports) else 1


if __name__ == "__main__":
    sys.exit(main())
