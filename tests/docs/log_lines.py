"""The lines that six failures leave in the log, as operations.md shows them: real failures of a
server on a socket of loopback, configured and logged as `serve` does it.

    python -m tests.docs.log_lines          # writes them into docs/operations.md

Times, addresses, durations and tracebacks are replaced, so that the page stays the same.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import httpx
from websockets import Subprotocol
from websockets.sync.client import connect

from server.admission.limits import ServerSettings
from server.observability.log import LogForm, configure_log
from step_audio.core.decoder_pool import DecoderLimits
from step_audio.core.keys import Keyring
from step_audio.core.ports import Engine
from step_audio.core.types import ToolCall, ToolResult
from step_audio.engine.vllm import VllmEngine
from tests.docs.tables import DOCS
from tests.fakes import VOCAB, FakeTools, InProcessDecoder, ScriptedEngine, services, text_ids
from tests.server.loopback import serving
from tests.server.test_sound_files import SharedPool
from tests.sound_files import a_tone_of

PAGE: Final = DOCS / "operations.md"
BLOCK: Final = re.compile(r"(<!-- log lines -->\n).*?(<!-- end of log lines -->)", re.DOTALL)
FORMS: Final[tuple[LogForm, ...]] = ("text", "json")
TOOL: Final = 8  # the id that opens a call in the vocabulary of the fakes
BEFORE: Final = "before"
"""The request that made a failure possible; its line is left out."""
_NAMED: Final = {"x-request-id": "mine-1"}
_CHAT: Final = "/v1/chat/completions"
_ASKED: Final = {"messages": [{"role": "user", "content": "What time is it?"}]}


class BrokenTools(FakeTools):
    """A tool with a fault of its own."""

    async def call(self, call: ToolCall) -> ToolResult:
        raise KeyError("timezone")


class FullDisk:
    """A file on a disk without room: the kernel refuses every write."""

    def __init__(self) -> None:
        self._file = os.open("/dev/full", os.O_WRONLY)

    def write(self, text: str) -> int:
        return os.write(self._file, text.encode())

    def close(self) -> None:
        os.close(self._file)


@contextmanager
def served(
    engine: Engine | None = None, settings: ServerSettings | None = None, **parts: Any
) -> Iterator[httpx.Client]:
    """Yield a client of a server whose other parts are made up."""
    made = services(ScriptedEngine([text_ids("Noon.")]))
    made = replace(made, engine=engine or made.engine, sound_decoder=InProcessDecoder())
    made = replace(made, **parts)
    with serving(made, limits=settings) as port:
        address = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=address, headers=_NAMED, timeout=60) as client:
            yield client


def engine_down() -> None:
    """Nobody listens where the engine should be."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with served(VllmEngine([address], "m", VOCAB)) as client:
        assert client.post(_CHAT, json=_ASKED).status_code == 503


def engine_slow() -> None:
    """The engine takes the connection and says nothing."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with served(VllmEngine([address], "m", VOCAB, first_token_timeout_s=0.3)) as client:
            assert client.post(_CHAT, json=_ASKED).status_code == 503


def decoder_died() -> None:
    """The process that decodes an upload is killed."""
    pool = SharedPool(DecoderLimits(wall_s=20))
    hears = ScriptedEngine([[6, *text_ids("hello"), 7]])
    with served(hears, sound_decoder=pool) as client:
        sound = {"file": ("a.wav", a_tone_of("wav", 1.0))}
        before = {"x-request-id": BEFORE}
        heard = client.post("/v1/audio/transcriptions", files=sound, headers=before)
        assert heard.status_code == 200
        slow = {"file": ("a.wav", a_tone_of("wav", 200.0))}
        answers: list[int] = []

        def upload() -> None:
            answers.append(client.post("/v1/audio/transcriptions", files=slow).status_code)

        asking = threading.Thread(target=upload)
        asking.start()
        while asking.is_alive():  # until one is met while it decodes
            pool.kill_who_waits()
            time.sleep(0.005)
        assert answers == [400]
    pool.end()


def tool_failed() -> None:
    """A tool of the server raises what it should not."""
    call = [TOOL, *text_ids("get_time {}")]
    engine = ScriptedEngine([call, text_ids("Sorry.")])
    with served(engine, tools=BrokenTools()) as client:
        assert client.post(_CHAT, json=_ASKED).status_code == 200


def disk_full() -> None:
    """The disk of the traces has no room: writes go to /dev/full."""
    opened = Path.open

    def full(path: Path, *given: Any, **named: Any) -> Any:
        if path.name.endswith(".trace.jsonl"):
            opened(path, "x").close()
            return FullDisk()
        return opened(path, *given, **named)

    with tempfile.TemporaryDirectory() as folder, patch.object(Path, "open", full):
        settings = ServerSettings(traces=Path(folder))
        with served(settings=settings) as client:
            offered = [Subprotocol("realtime"), Subprotocol("step-audio-trace")]
            address = f"ws://127.0.0.1:{client.base_url.port}/v1/realtime"
            with connect(address, subprotocols=offered, additional_headers=_NAMED) as session:
                session.recv(timeout=60)


def key_wrong() -> None:
    """A client shows a key that nobody was given."""
    settings = ServerSettings(keys=Keyring({}, "sesame"))
    with served(settings=settings) as client:
        headers = {"authorization": "Bearer wrong"}
        assert client.get("/v1/models", headers=headers).status_code == 401


FAILURES: Final[dict[str, Callable[[], None]]] = {
    "The engine is down": engine_down,
    "The engine is slow": engine_slow,
    "A decoder died": decoder_died,
    "A tool failed": tool_failed,
    "The disk is full": disk_full,
    "The key is wrong": key_wrong,
}


@contextmanager
def logged(form: LogForm) -> Iterator[io.StringIO]:
    """Yield what is logged in a form; the loggers are put back as they were."""
    names = ("", "step_audio", "server", "tokenizer", "vocoder")
    kept = [(log := logging.getLogger(name), log.handlers[:], log.level) for name in names]
    with redirect_stderr(io.StringIO()) as told:
        configure_log(form)
        try:
            yield told
        finally:
            for log, handlers, level in kept:
                log.handlers[:] = handlers
                log.setLevel(level)


def lines_of(failure: Callable[[], None], form: LogForm) -> list[str]:
    """Return the lines that a failure leaves, with what differs from run to run replaced."""
    with logged(form) as told:
        failure()
    rows = [row for row in told.getvalue().splitlines() if BEFORE not in row]
    if form == "json":
        return [_steady_json(row) for row in rows]
    # A traceback's lines begin with a space, or with the name of what was raised.
    return [_steady(row) for row in rows if re.match(r"\d{4}-\d\d-\d\dT", row)]


def _steady_json(row: str) -> str:
    fields = json.loads(row)
    if "exception" in fields:
        fields["exception"] = "Traceback (most recent call last): ..."
    return _steady(json.dumps(fields))


def _steady(row: str) -> str:
    row = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "2026-11-29T12:00:00.000000Z", row)
    row = re.sub(r"127\.0\.0\.1:\d+", "engine:8000", row)
    row = re.sub(r"sess_\w+", "sess_1", row)
    row = re.sub(r"(\b(?:ms|first_byte_ms|s|file_bytes)(?:=|\": ))[\d.]+", r"\g<1>12.3", row)
    return re.sub(r" after [\d.]+ s", " after 5 s", row)


def made() -> str:
    """Return the part of the page: each failure in both forms."""
    parts = []
    for name, failure in FAILURES.items():
        text, as_json = (lines_of(failure, form) for form in FORMS)
        assert text
        assert len(text) == len(as_json)
        shown = "\n".join([*text, "", *as_json])
        parts.append(f"**{name}.** {(failure.__doc__ or '').strip()}\n\n```text\n{shown}\n```\n")
    return "\n" + "\n".join(parts) + "\n"


def filled(page: str, part: str) -> str:
    """Return a page with the part in its place."""
    return BLOCK.sub(lambda found: f"{found[1]}{part}{found[2]}", page)


def main() -> int:
    """Write the part into the page."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), made()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
