"""The pipeline that a user would build out of packages, as a process of its own.

faster-whisper hears (Whisper base, int8), a chat server answers, Kokoro-82M (int8, ONNX) speaks,
with phones by espeak-ng. Reads a JSON object a line ({"question": WAV, "out": WAV}) and writes
one. `--by whole`: one part begins when the one before is done; `--by sentences`: each sentence of
the answer is spoken as soon as it is written.

Runs in build/peers, without any package of this project.
"""

from __future__ import annotations

import argparse
import json
import queue
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import soundfile
from faster_whisper import WhisperModel

RATE_HZ = 24_000
END = re.compile(r"(?<=[.!?])\s+")


class Voice:
    """Kokoro-82M in one voice."""

    def __init__(self, folder: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._model = onnxruntime.InferenceSession(str(folder / "kokoro.onnx"), options)
        self._phones = json.loads((folder / "kokoro-phones.json").read_text())["vocab"]
        styles = np.fromfile(folder / "styles" / "af_heart.bin", dtype=np.float32)
        self._styles = styles.reshape(-1, 256)

    def say(self, text: str) -> Any:
        """Return the sound of a text, (T,), float32 at 24 kHz."""
        command = ["espeak-ng", "-q", "--ipa=3", "--sep=", "-v", "en-us", text]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        phones = [self._phones[c] for c in " ".join(said.split()) if c in self._phones][:500]
        feed = {
            "tokens": np.array([[0, *phones, 0]], np.int64),
            "style": self._styles[min(len(phones), len(self._styles) - 1)][None],
            "speed": np.ones(1, np.float32),
        }
        return self._model.run(None, feed)[0].ravel()


def written(url: str, question: str) -> Iterator[str]:
    """Yield what the chat server writes, as it comes."""
    body = {"model": "m", "messages": [{"role": "user", "content": question}], "stream": True}
    request = urllib.request.Request(
        f"{url}/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        for line in answer:
            if line.startswith(b"data: {"):
                delta = json.loads(line[6:])["choices"]
                if delta and (text := delta[0]["delta"].get("content")):
                    yield text


def sentences(pieces: Iterator[str]) -> Iterator[str]:
    """Yield each sentence as soon as the next begins, and the last one."""
    held = ""
    for piece in pieces:
        held += piece
        *whole, held = END.split(held)
        yield from whole
    if held.strip():
        yield held


def ahead(rows: Iterator[str]) -> Iterator[str]:
    """Yield the same rows, read by a thread: the answer is written while it is spoken."""
    found: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for row in rows:
            found.put(row)
        found.put(None)

    threading.Thread(target=read, daemon=True).start()
    while (row := found.get()) is not None:
        yield row


def main() -> None:
    """Answer questions until there is none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--voices", type=Path, required=True, help="build/voices")
    parser.add_argument("--chat", required=True)
    parser.add_argument("--by", choices=("whole", "sentences"), required=True)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    whisper = WhisperModel(
        str(args.voices / "whisper-base"),
        device="cpu",
        compute_type="int8",
        cpu_threads=args.threads,
        local_files_only=True,
    )
    voice = Voice(args.voices, args.threads)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        question, _ = soundfile.read(job["question"], dtype="float32")
        begun = time.monotonic()
        segments, _ = whisper.transcribe(question, language="en")
        heard = " ".join(segment.text.strip() for segment in segments)
        ear_s = time.monotonic() - begun
        pieces = written(args.chat, heard)
        texts, first_s = [], 0.0
        sound = []
        for text in ahead(sentences(pieces)) if args.by == "sentences" else ["".join(pieces)]:
            texts.append(text)
            sound.append(voice.say(text))
            first_s = first_s or time.monotonic() - begun
        total_s = time.monotonic() - begun
        soundfile.write(job["out"], np.concatenate(sound), RATE_HZ)
        row = {"first_s": first_s, "total_s": total_s, "ear_s": ear_s}
        print(json.dumps({**row, "heard": heard, "text": " ".join(texts)}), flush=True)


if __name__ == "__main__":
    main()
