"""Two gateways behind the proxy of docker/proxy share an engine and nothing else; one leaves.

Real processes: two `step-audio serve` and nginx with the configuration that ships. The engine that
both ask is a scripted chat server; the voice is a tone, at the pace of speech. Clients come
from addresses of their own, as behind a load balancer, and do what a client has to do after close
code 1012: connect again, give the new session the items that the old one had confirmed, and ask
again what was not answered.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.any_chat.scripted import chat_server
from tests.chat_server import saying
from tests.vllm_server.process import free_port

ROOT: Final = Path(__file__).parents[2]
NGINX: Final = os.environ.get("NGINX") or shutil.which(
    "nginx", path=f"{os.environ['PATH']}:/usr/sbin"
)
CLIENTS, QUESTIONS, GROUPS = 6, 5, 12

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(NGINX is None, reason="needs nginx: apt-get install nginx"),
]


@contextmanager
def gateway(profile: Path, log: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Serve a profile in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "step_audio", "serve", "--profile", str(profile)]
    with log.open("wb") as out:
        process = subprocess.Popen([*command, "--port", str(port)], cwd=ROOT, stderr=out)
    try:
        wait_for(f"http://127.0.0.1:{port}/readyz", process, log)
        yield port, process
    finally:
        process.kill()
        process.wait(10)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 300
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=5).status_code == 200:
                return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


@contextmanager
def proxy(folder: Path, ports: list[int]) -> Iterator[int]:
    """Run nginx with the configuration that ships; only the addresses are this machine's."""
    assert NGINX is not None
    port = free_port()
    shipped = (ROOT / "docker" / "proxy" / "gateway.conf").read_text()
    servers = "".join(f"    server 127.0.0.1:{one} max_fails=0;\n" for one in ports)
    text, changed = re.subn(
        r"^ *server gateway:8000 resolve max_fails=0;\n", servers, shipped, flags=re.M
    )
    assert changed == 1
    text, changed = re.subn(r"^ *resolver .*\n", "", text, flags=re.M)
    assert changed == 1
    text, changed = re.subn(r"listen 8080;", f"listen 127.0.0.1:{port};", text)
    assert changed == 1
    # Worker processes of another user could not write below a test's folder.
    user = "user root;\n" if os.geteuid() == 0 else ""
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = folder / "nginx.conf"
    main.write_text(
        f"{user}daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{text}\n}}\n"
    )
    process = subprocess.Popen((NGINX, "-p", str(folder), "-c", str(main)), stderr=subprocess.PIPE)
    try:
        wait_for(f"http://127.0.0.1:{port}/healthz", process, folder / "error.log")
        yield port
    finally:
        process.terminate()
        process.wait(10)
        if process.stderr is not None:
            process.stderr.close()


@dataclass
class Client:
    """One caller: what the servers have confirmed to it, and how its answers ended."""

    port: int
    address: str
    leaving: threading.Event
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Confirmed, by their ids, in their order."""
    answered: int = 0
    sound: list[int] = field(default_factory=list)
    moves: int = 0
    cut: list[str] = field(default_factory=list)
    """Answers whose beginning was confirmed and whose end never came."""
    closes: list[int] = field(default_factory=list)

    def run(self) -> None:
        """Ask all questions, whatever becomes of the gateway."""
        while self.answered < QUESTIONS:
            with self.connected() as talk:
                self.restore(talk)
                try:
                    while self.answered < QUESTIONS:
                        self.ask(talk)
                        if self.answered == 2:
                            self.leaving.wait(300)  # everybody is in a conversation by then
                    self.check(talk)
                except ConnectionClosed as closed:
                    self.closes.append(closed.rcvd.code if closed.rcvd else 0)
                    self.moves += 1

    def connected(self) -> ClientConnection:
        """Connect from this client's address; a gateway that leaves is not the last word."""
        return connect(
            f"ws://127.0.0.1:{self.port}/v1/realtime",
            subprotocols=[Subprotocol("realtime")],
            source_address=(self.address, 0),
            max_size=None,
            open_timeout=120,
        )

    def send(self, talk: ClientConnection, **event: Any) -> None:
        talk.send(json.dumps(event))

    def restore(self, talk: ClientConnection) -> None:
        """Give a new session what another had confirmed."""
        for item in list(self.items.values()):
            self.send(talk, type="conversation.item.create", item=item)
            while self.event(talk)["type"] != "conversation.item.done":
                pass

    def event(self, talk: ClientConnection) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(talk.recv(120))
        assert event["type"] != "error", event
        if event["type"] == "conversation.item.done":
            item = event["item"]
            content = [as_input(part, item["role"]) for part in item["content"]]
            kept = {"id": item["id"], "type": "message", "role": item["role"], "content": content}
            self.items[item["id"]] = kept
        return event

    def ask(self, talk: ClientConnection) -> None:
        """Ask the next question unless it is confirmed already; wait for the whole answer."""
        name = f"question_{self.answered}"
        if name not in self.items:
            words = [{"type": "input_text", "text": f"Question {self.answered} of {self.address}"}]
            item = {"id": name, "type": "message", "role": "user", "content": words}
            self.send(talk, type="conversation.item.create", item=item)
        self.send(talk, type="response.create")
        begun, heard = "", 0
        try:
            while True:
                event = self.event(talk)
                if event["type"] == "response.created":
                    begun = event["response"]["id"]
                if event["type"] == "response.output_audio.delta":
                    heard += len(base64.b64decode(event["delta"]))
                if event["type"] == "response.done":
                    assert event["response"]["status"] == "completed", event
                    self.sound.append(heard)
                    self.answered += 1
                    return
        except ConnectionClosed:
            if begun:
                self.cut.append(begun)
            raise

    def check(self, talk: ClientConnection) -> None:
        """Assert that the session has every item that was ever confirmed, with its words."""
        for name, item in self.items.items():
            self.send(talk, type="conversation.item.retrieve", item_id=name)
            while (event := json.loads(talk.recv(120)))["type"] != "conversation.item.retrieved":
                assert event["type"] != "error", event
            assert words_of(event["item"]) == words_of(item)


def as_input(part: dict[str, Any], role: str) -> dict[str, Any]:
    """Return a confirmed part of an item as a client gives it to another session."""
    words = part.get("text") or part.get("transcript") or ""
    return {"type": "output_text" if role == "assistant" else "input_text", "text": words}


def words_of(item: dict[str, Any]) -> list[str]:
    return [part.get("text") or part.get("transcript") or "" for part in item["content"]]


def turns(port: int) -> float:
    """Return how many answers a gateway completed."""
    return counted(port, 'step_audio_turns_total{status="completed"}')


def counted(port: int, name: str) -> float:
    """Return the sum of a gateway's counters whose line begins so."""
    lines = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def addresses(port: int, gateways: list[int]) -> list[str]:
    """Return addresses of clients, as many behind each gateway: the proxy hashes them, and where
    an address belongs depends on the gateways' ports."""
    behind: dict[int, list[str]] = {one: [] for one in gateways}
    for n in range(2, 250):
        address = f"127.0.0.{n}"
        before = {one: counted(one, "step_audio_requests_total") for one in gateways}
        with httpx.Client(transport=httpx.HTTPTransport(local_address=address)) as client:
            assert client.get(f"http://127.0.0.1:{port}/v1/models").status_code == 200
        for one in gateways:
            if counted(one, "step_audio_requests_total") > before[one]:
                behind[one].append(address)
        if min(map(len, behind.values())) >= CLIENTS // len(gateways):
            break
    return [name for names in behind.values() for name in names[: CLIENTS // len(gateways)]]


def test_nothing_that_was_confirmed_is_lost_when_a_gateway_leaves_under_load(
    tmp_path: Path,
) -> None:
    with contextlib.ExitStack() as held:
        engine = held.enter_context(chat_server(first_s=0.05, piece_s=0.01))
        engine.replies = [lambda _: saying("It is noon and the sun is high.")]
        profile: dict[str, Any] = {
            "model_name": "shared",
            "responder": "chat",
            "weights": ".",
            "origin": "nowhere",
            "voice": "tone",
            "chat": {"url": engine.url, "model": "scripted"},
            "transcriber": {"kind": "endpoint", "url": engine.url, "model": "whisper-1"},
            "engine": {"kind": "scripted", "groups": GROUPS, "tokens_per_s": 60.0},
            "turn_detector": {"kind": "energy"},
            # The machine's pace decides nothing here.
            "limits": {"max_sessions": CLIENTS, "admission": "fixed", "drain_s": 120.0},
            "server": {"open_metrics": True},
        }
        path = tmp_path / "shared.yaml"
        path.write_text(yaml.safe_dump(profile))
        first, leaver = held.enter_context(gateway(path, tmp_path / "first.log"))
        second, stayer = held.enter_context(gateway(path, tmp_path / "second.log"))
        port = held.enter_context(proxy(tmp_path, [first, second]))

        leaving = threading.Event()
        clients = [Client(port, one, leaving) for one in addresses(port, [first, second])]
        assert len(clients) == CLIENTS
        with ThreadPoolExecutor(CLIENTS) as pool:
            done = [pool.submit(client.run) for client in clients]
            deadline = time.monotonic() + 300
            while min(client.answered for client in clients) < 2:
                assert time.monotonic() < deadline
                [one.result() for one in done if one.done()]
                time.sleep(0.05)
            before = (turns(first), turns(second))
            leaving.set()
            time.sleep(0.2)  # answers are under way
            leaver.send_signal(signal.SIGTERM)
            for one in done:
                one.result(300)

        assert min(before) >= 2, f"one gateway had no clients: {before}"
        # uvicorn ends by the signal that it was told to end by.
        assert leaver.wait(60) in (0, -signal.SIGTERM)
        moved = [client for client in clients if client.moves]
        assert moved
        assert {code for client in moved for code in client.closes} == {1012}
        assert not [name for client in clients for name in client.cut]
        expected = 2 * GROUPS * 2880
        assert {heard for client in clients for heard in client.sound} == {expected}
        assert len(engine.bodies) >= CLIENTS * QUESTIONS
        assert stayer.poll() is None
        assert turns(second) >= before[1] + sum(QUESTIONS - 2 for _ in moved) - len(moved)
