"""What a session sees of an engine in trouble: a real vLLM behind a relay, and killed for good."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from step_audio.core.config import load_profile
from step_audio.runtime import Runtime
from tests.server.loopback import serving
from tests.vllm_server.conftest import nano_profile
from tests.vllm_server.process import VllmProcess
from tests.vllm_server.weather import Relay, Weather

QUESTION = "What is the capital of France?"
LONG = "tell me a story"
"""Its answer lasts long enough to be interrupted: over 300 ids."""


@dataclass
class Seen:
    """What one question of a session brought."""

    status: str
    code: str
    words: int
    sound_s: float
    took_s: float


@dataclass
class Table:
    """One row a fault, printed at the end."""

    rows: list[str] = field(default_factory=list)

    def add(self, fault: str, seen: Seen) -> None:
        answer = f"{seen.words} words, {seen.sound_s:.1f} s of sound"
        outcome = f"{seen.status} {seen.code}".strip()
        self.rows.append(f"{fault:<44} {outcome:<26} {answer:<28} {seen.took_s:5.1f} s")


@pytest.fixture(scope="module")
def relay(nano_server: VllmProcess) -> Iterator[Relay]:
    relay = Relay(nano_server.port)
    yield relay
    relay.close()


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[Table]:
    table = Table()
    yield table
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        head = f"{'fault':<44} {'the session saw':<26} {'answer':<28} after"
        print("\n\n" + "\n".join([head, *table.rows]) + "\n")


@pytest.fixture(scope="module")
def gateway(home: Path, relay: Relay) -> Iterator[int]:
    runtime = Runtime(load_profile(str(nano_profile(home / "gateway.yaml", relay.url))))
    with serving(runtime.services(), runtime.settings()) as port:
        yield port


class Session:
    """A client of the Realtime API; `ask` waits for the end of one answer."""

    def __init__(self, port: int) -> None:
        self._open = ExitStack()
        address = f"ws://127.0.0.1:{port}/v1/realtime"
        self._socket = self._open.enter_context(connect(address, max_size=None))

    def close(self) -> None:
        self._open.close()

    def begin(self, question: str = QUESTION) -> float:
        content = [{"type": "input_text", "text": question}]
        item = {"type": "message", "role": "user", "content": content}
        self._send({"type": "conversation.item.create", "item": item})
        self._send({"type": "response.create"})
        return time.monotonic()

    def wait_for(self, kind: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = [json.loads(self._socket.recv(60))]
        while events[-1]["type"] != kind:
            events.append(json.loads(self._socket.recv(60)))
        return events

    def end(self, begun_s: float, before: list[dict[str, Any]] | None = None) -> Seen:
        events = [*(before or []), *self.wait_for("response.done")]
        response = events[-1]["response"]
        error = (response.get("status_details") or {}).get("error") or {}
        text = "".join(e["delta"] for e in events if e["type"].endswith("transcript.delta"))
        sound = sum(
            len(e["delta"]) * 3 / 4 for e in events if e["type"].endswith("output_audio.delta")
        )
        took_s = time.monotonic() - begun_s
        code = error.get("code") or ""
        return Seen(response["status"], code, len(text.split()), sound / 48_000, took_s)

    def ask(self) -> Seen:
        return self.end(self.begin())

    def _send(self, event: dict[str, Any]) -> None:
        self._socket.send(json.dumps(event))


@pytest.fixture
def session(gateway: int) -> Iterator[Session]:
    session = Session(gateway)
    yield session
    session.close()


@pytest.mark.parametrize(
    ("weather", "outcome"),
    [
        ("fair", ("completed", "")),
        ("slow", ("completed", "")),
        ("reset early", ("completed", "")),
        ("reset late", ("failed", "engine_lost")),
        ("stalls", ("failed", "engine_lost")),
        ("silent", ("failed", "engine_timeout")),
        ("no route", ("failed", "engine_unreachable")),
        ("400", ("failed", "engine_refused")),
    ],
)
def test_a_session_outlives_its_engines_trouble(
    session: Session, relay: Relay, table: Table, weather: Weather, outcome: tuple[str, str]
) -> None:
    relay.weather = weather
    try:
        seen = session.ask()
    finally:
        relay.weather = "fair"
    table.add(_words(weather), seen)
    assert (seen.status, seen.code) == outcome
    after = session.ask()
    table.add("  the next question of the session", after)
    assert (after.status, after.words > 0, after.sound_s > 0.3) == ("completed", True, True)


def test_a_killed_engine_ends_the_answer_and_a_restarted_one_gives_the_next(
    session: Session, relay: Relay, nano_server: VllmProcess, table: Table
) -> None:
    relay.weather = "held"
    begun_s = session.begin(LONG)
    before = session.wait_for("response.output_audio.delta")
    nano_server.kill()
    seen = session.end(begun_s, before)
    table.add("vLLM killed in the middle of the answer", seen)
    assert (seen.status, seen.code, seen.sound_s > 0) == ("failed", "engine_lost", True)
    relay.weather = "fair"
    dead = session.ask()
    table.add("  a question while it is dead", dead)
    assert (dead.status, dead.code) == ("failed", "engine_unreachable")
    nano_server.start()
    after = session.ask()
    table.add("  a question after its restart", after)
    assert (after.status, after.sound_s > 0.3) == ("completed", True)


def test_with_a_second_address_a_dead_engine_is_not_noticed(
    home: Path, nano_server: VllmProcess, table: Table
) -> None:
    profile = nano_profile(home / "two.yaml", "http://127.0.0.1:1", nano_server.url)
    runtime = Runtime(load_profile(str(profile)))
    with serving(runtime.services(), runtime.settings()) as port:
        session = Session(port)
        seen = session.ask()
        session.close()
    table.add("one of two engines dead", seen)
    assert (seen.status, seen.sound_s > 0.3) == ("completed", True)


def _words(weather: Weather) -> str:
    return {
        "fair": "none",
        "slow": "slow: 20 ms on top of each id",
        "reset early": "connection reset before the first id",
        "reset late": "connection reset in the middle",
        "stalls": "silence in the middle (limit 3 s)",
        "silent": "silence from the start (limit 8 s)",
        "no route": "every connection reset",
        "400": "status 400",
    }[weather]
