"""Run what README and the documents show: `make docs-walk`.

Each command is run in a scratch copy of the repository, with a home of its own, on loopback, within
a limit of time; one server of nano runs for those that call one. Commands for other machines are
marked with what they need, here or in the page (`<!-- needs: a GPU -->` before a block). Prints a
table; ends with 1 when a command failed that is not marked.

    python -m tests.docs.walk --list           # what would be run, and what is marked
    python -m tests.docs.walk --only voices    # pages whose name holds this
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from websockets import Subprotocol
from websockets.sync.client import connect

from tests.docs.commands import ROOT
from tests.docs.shell_commands import ShownCommand, all_commands

OUT: Final = ROOT / "build" / "docs-walk"
LIMIT_S: Final = 600
READY_S: Final = 300

NEEDS: Final = (
    (r"^(?:\w+=\S+ )*docker |REGISTRY", "Docker"),
    (r"^kubectl ", "a cluster"),
    (r"^sudo ", "rights of root"),
    (r"\bray start\b", "cards in two machines"),
    (r"^torchrun|Step-Audio-(?:TTS-3B|Chat)", "cards and a hub"),
    (
        r"^git clone ADDRESS|ADDRESS-OR-FOLDER|pip install|ollama|weights download|voices fetch"
        r"|--hub OWNER",
        "a hub",
    ),
    (r"^step-audio engine (?!.*--dry-run)|^node-\d", "cards"),
    (r"--profile (?:aqaa-130b|chat-130b|tts-3b)(?! --gpu)|/models/", "cards and a hub"),
    (r"PROFILE=local-chat", "a chat server"),
    (r"--url http://HOST|--judge-url", "a language model that judges or writes"),
    (r"^make nano-voices", "a hub"),
    (
        r"runs/sft|tuned\.yaml|chosen/pairs|pairs\.parquet|--data build/nano|ablation table",
        "the results of hours of training",
    ),
    (r"^step-audio train (?:reject|grpo|score)|post_training|data loop", "half an hour"),
    (r"my-voice|my_voice", "an hour of recordings and of training"),
    (r"^step-audio eval turns .*--make", "natural voices (make nano-voices) and half an hour"),
    (r"^step-audio eval (?:llama-questions|compare runs/a)", "a downloaded set and its judge"),
    (r"\$CODES|\$LM", "the results of hours of training"),
    (r"--questions 450", "hours"),
    (r"tests\.bench\.load", "nine quiet minutes"),
    (r"^make nano-", "hours"),
    (r"^cd |^export ", "a shell that goes on"),
)
"""What a command needs that this walk has not: the first pattern that fits says it."""

PLAN: Final = re.compile(r"^step-audio (?:plan|engine .*--dry-run)")
"""Reckons only, whatever the profile."""

QUICK_TARGETS: Final = ("golden", "run", "wheel")
"""Targets of make that are carried out; of others `make -n` shows that they are there."""

STAMPS: Final = ("run", "dev", "train", "whisper")


@dataclass(frozen=True, slots=True)
class Step:
    """What is done with a command: "run", "serve" (until it is ready), "dry" or "marked"."""

    command: ShownCommand
    how: str
    needs: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: whether it is as it should be, and in words."""

    well: bool
    said: str
    seconds: float = 0.0


def step_of(command: ShownCommand) -> Step:
    """Return how a command is tried."""
    text = command.text
    if command.needs:
        return Step(command, "marked", command.needs)
    if not PLAN.match(text):
        for pattern, needs in NEEDS:
            if re.search(pattern, text):
                return Step(command, "marked", needs)
    if command.program == "make":
        words = [word for word in text.split()[1:] if "=" not in word]
        quick = all(word in QUICK_TARGETS for word in words)
        return Step(command, "serve" if words == ["run"] else "run" if quick else "dry")
    if re.match(r"(?:\w+=\S+ )*step-audio serve\b", text):
        return Step(command, "serve")
    return Step(command, "run")


def free_port() -> int:
    """Return a port of loopback that nobody has now."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port: int = made.getsockname()[1]
        return port


def on_loopback(text: str, port: int) -> str:
    """Return a command that calls, or starts, the server of this walk; small where it was large."""
    text = text.replace("0.0.0.0", "127.0.0.1").replace("--count 5000", "--count 3")
    text = re.sub(r"127\.0\.0\.1:8[02]0\d", f"127.0.0.1:{port}", text)
    text = re.sub(r"compare runs/(?:a|turns) ", "compare ", text)  # runs of marked commands
    if text.startswith("python docs/examples/"):
        text += " 3"  # steps
    text = re.sub(r"--port \d+", f"--port {port}", text)
    text = re.sub(r"--sessions \d+ --turns \d+", "--sessions 2 --turns 1", text)
    if re.search(r"\bstep-audio load\b(?!.*--url)", text):
        text += f" --url ws://127.0.0.1:{port}/v1/realtime"
    if re.search(r"\bstep-audio serve\b(?!.*--port)", text):
        text += f" --port {port}"
    if text.startswith("make "):
        old = " ".join(f"-o {sys.prefix}/.{name}-ready" for name in STAMPS)
        text += f" VENV={sys.prefix} {old}" + (f" PORT={port}" if " run" in text else "")
    return text


class Walk:
    """A scratch copy of the repository, and what its commands find there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.copy = folder / "copy"
        self.logs = folder / "logs"
        self.port = free_port()
        self.traces = folder / "traces"
        self._done: dict[str, Outcome] = {}

    def prepare(self) -> None:
        """Copy the tracked files, and lay out the files that the documents speak of."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.logs.mkdir(parents=True)
        self.traces.mkdir()
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for name in listed.decode().split("\0"):
            if name and (ROOT / name).is_file():
                (self.copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, self.copy / name)
                shutil.copymode(ROOT / name, self.copy / name)
        spoken = self.copy / "tests/golden/audio/en_1.wav"
        for name in ("question.wav", "speech.wav", "anna.wav", "recordings/ann/1.wav"):
            (self.copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(spoken, self.copy / name)
        asked = self.copy / "llama-questions/eval_datas/llama_questions"
        (asked / "audios").mkdir(parents=True)
        shutil.copyfile(self.copy / "web/samples/capital.mp3", asked / "audios/0.mp3")
        rows = "Questions,Answer,audio_filename\nWhat is the capital of France?,Paris,0.mp3\n"
        (asked / "llama_questions.csv").write_text(rows)
        (self.copy / "dialogues").mkdir()
        shutil.copyfile(spoken, self.copy / "dialogues/a.wav")
        line = {"id": "e1", "kind": "end_of_turn", "first": "a.wav"}
        (self.copy / "dialogues/turns.jsonl").write_text(json.dumps(line) + "\n")
        row = {"audio": "anna.wav", "text": "what is the capital of france"}
        (self.copy / "rows.jsonl").write_text(json.dumps(row) + "\n")
        (self.copy / "recordings/ann/1.txt").write_text("what is the capital of france\n")
        (self.copy / "book.txt").write_text("Twelve plus thirty is forty two.\n")
        (self.copy / "lines").mkdir()
        (self.copy / "lines" / "1.txt").write_text("It is ten o'clock.\n")
        profile = (self.copy / "step_audio/profiles/nano.yaml").read_text()
        weights = self.copy / "step_audio/weights/nano"
        (self.copy / "my-profile.yaml").write_text(profile.replace("../weights/nano", str(weights)))

    def trace(self) -> None:
        """Leave the trace of a session that asked for one."""
        address = f"ws://127.0.0.1:{self.port}/v1/realtime"
        with connect(address, subprotocols=[Subprotocol("step-audio-trace")]) as socket_:
            content = [{"type": "input_text", "text": "What is twelve plus thirty?"}]
            item = {"type": "message", "role": "user", "content": content}
            socket_.send(json.dumps({"type": "conversation.item.create", "item": item}))
            socket_.send(json.dumps({"type": "response.create"}))
            while json.loads(socket_.recv(timeout=READY_S))["type"] != "response.done":
                pass

    def environment(self, page: str = "") -> Mapping[str, str]:
        """Return the environment of the commands: this Python's programs, the copy's modules, the
        voices that a page adds."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        kept = {k: v for k, v in os.environ.items() if not k.startswith("STEP_AUDIO")}
        return kept | {
            "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(self.copy),
            "HOME": str(home),
            "STEP_AUDIO__VOICE_FOLDER": str(home / "voices" / Path(page).stem),
            "STEP_AUDIO__SERVER__TRACES": str(self.traces),
            "STEP_AUDIO__SAMPLING__SEED": "0",  # a session is replayed to the same sound
            "OMP_NUM_THREADS": "1",
        }

    def take(self, step: Step) -> Outcome:
        """Try a step; the same command is tried once."""
        if step.how == "marked":
            return Outcome(True, f"needs {step.needs}")
        text = step.command.text
        if text not in self._done:
            began = time.monotonic()
            well, said = self._tried(step, len(self._done))
            self._done[text] = Outcome(well, said, time.monotonic() - began)
        return self._done[text]

    def _tried(self, step: Step, number: int) -> tuple[bool, str]:
        log = self.logs / f"{number:03}.txt"
        if step.how == "serve":
            port = free_port()
            with self.serving(on_loopback(step.command.text, port), port, log) as ready:
                return ready, "served" if ready else _last(log)
        text = on_loopback(step.command.text, self.port)
        if "TRACE" in text:
            text = text.replace("TRACE", str(next(self.traces.iterdir())))
        if step.how == "dry":
            text = text.replace("make ", "make -n ", 1)
        with log.open("w") as out:
            out.write(f"$ {text}\n")
            out.flush()
            try:
                ended = subprocess.run(
                    ["bash", "-c", f"set -o pipefail; {text}"],
                    cwd=self.copy,
                    env=dict(self.environment(step.command.page)),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    timeout=LIMIT_S,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                return False, f"not done in {LIMIT_S} s"
        wrong = step.command.program == "curl" and '"error"' in log.read_text(errors="replace")
        if ended or wrong:
            return False, _last(log)
        return True, "known to make" if step.how == "dry" else "ran"

    @contextmanager
    def serving(self, text: str, port: int, log: Path) -> Iterator[bool]:
        """Run a command that serves, and yield whether it became ready in its time."""
        with log.open("w") as out:
            out.write(f"$ {text}\n")
            out.flush()
            server = subprocess.Popen(
                ["bash", "-c", text],
                cwd=self.copy,
                env=dict(self.environment()),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                yield _ready(server, port, log)
            finally:
                if server.poll() is None:
                    os.killpg(server.pid, signal.SIGTERM)
                try:
                    server.wait(30)
                except subprocess.TimeoutExpired:
                    os.killpg(server.pid, signal.SIGKILL)
                    server.wait()


def _ready(server: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    """Wait until a server says that it is ready. With TLS its log says that it listens."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return True
        except OSError:
            if "https://" in log.read_text(errors="replace") and _listens(port):
                return True
            time.sleep(0.3)
    return False


def _listens(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def _last(log: Path) -> str:
    """Return the last line of a log that says something."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:160] if lines else "nothing said"


def table(rows: Sequence[tuple[Step, Outcome]]) -> str:
    """Return a row a command: where it stands, what it is, what came of it."""
    out = ["| where | command | |", "|---|---|---|"]
    for step, outcome in rows:
        command = step.command
        said = outcome.said if outcome.well else f"FAILED: {outcome.said}"
        shown = command.text.replace("|", "\\|")
        out.append(f"| {command.page}:{command.line} | `{shown[:110]}` | {said} |")
    return "\n".join(out)


def walked(walk: Walk, steps: Sequence[Step]) -> list[tuple[Step, Outcome]]:
    """Take all steps, a server of nano beside them."""
    walk.prepare()
    served = f"step-audio serve --profile nano --port {walk.port}"
    rows = []
    with walk.serving(served, walk.port, walk.logs / "server.txt") as ready:
        if not ready:
            raise SystemExit(f"nano does not serve: {_last(walk.logs / 'server.txt')}")
        walk.trace()
        for step in steps:
            outcome = walk.take(step)
            rows.append((step, outcome))
            mark = "ok" if outcome.well else "FAILED"
            print(f"{mark:7}{outcome.seconds:6.1f} s  {step.command.text[:100]}", flush=True)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Walk, print the table, return 1 when a command failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="pages whose name holds this")
    parser.add_argument("--list", action="store_true", help="run nothing")
    args = parser.parse_args(argv)
    steps = [step_of(command) for command in all_commands() if args.only in command.page]
    if args.list:
        for step in steps:
            how = f"needs {step.needs}" if step.how == "marked" else step.how
            print(f"{step.command.page}:{step.command.line}\t{how}\t{step.command.text[:110]}")
        return 0
    rows = walked(Walk(OUT), steps)
    (OUT / "table.md").write_text(table(rows) + "\n", encoding="utf-8")
    print(table(rows))
    failed = [step for step, outcome in rows if not outcome.well]
    ran = sum(step.how in ("run", "serve") for step, _ in rows)
    marked = sum(step.how == "marked" for step, _ in rows)
    print(f"{len(rows)} commands: {ran} run, {marked} marked, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
