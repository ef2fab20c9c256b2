"""nano's own engine breaks in the middle of two answers: what the sessions are told, what then."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from step_audio.core.config import load_profile
from step_audio.engine.batch import Batch
from step_audio.engine.decoder import Step1Decoder
from step_audio.runtime import Runtime
from tests.server.loopback import serving

SPOKEN_IDS = 60
"""Of each answer, when the engine breaks: a few groups of sound."""


@pytest.fixture
def port() -> Iterator[int]:
    runtime = Runtime(load_profile("nano"))
    with serving(runtime.services(), runtime.settings()) as bound:
        yield bound


class Break:
    """Stops two answers in their middle until told, then raises in the engine's thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: BaseException, where: str) -> None:
        self.reached, self.now, self._error = threading.Event(), threading.Event(), error
        step, extend = Batch.step, Step1Decoder.extend

        def breaking_step(batch: Batch) -> None:
            answers = [g for g in batch._active if not g.is_warm_up]
            if len(answers) == 2 and min(g.drawn for g in answers) >= SPOKEN_IDS:
                self.reached.set()
                assert self.now.wait(30)
                if where == "worker":
                    raise self._error
            step(batch)

        def breaking_extend(decoder: Step1Decoder, *given: Any) -> Any:
            if self.now.is_set():
                self.now.clear()
                monkeypatch.setattr(Batch, "step", step)
                raise self._error
            return extend(decoder, *given)

        monkeypatch.setattr(Batch, "step", breaking_step)
        if where == "step":
            monkeypatch.setattr(Step1Decoder, "extend", breaking_extend)


def begin(client: ClientConnection) -> None:
    content = [{"type": "input_text", "text": "What is the capital of France?"}]
    item = {"type": "message", "role": "user", "content": content}
    client.send(json.dumps({"type": "conversation.item.create", "item": item}))
    client.send('{"type": "response.create"}')


def end(client: ClientConnection) -> dict[str, Any]:
    """Return the response when it is over; nothing may come as an error beside it."""
    while True:
        event = json.loads(client.recv(30))
        assert event["type"] != "error"
        if event["type"] == "response.done":
            response: dict[str, Any] = event["response"]
            return response


def told_of_failure(response: dict[str, Any]) -> bool:
    error = response["status_details"]["error"]
    facts = (response["status"], response["status_details"]["type"], error["type"], error["code"])
    return bool(error["message"]) and facts == ("failed", "failed", "server_error", "engine_failed")


def break_both(port: int, broken: Break) -> tuple[ClientConnection, ClientConnection]:
    """Return two clients whose answers broke in the middle, both told so."""
    url = f"ws://127.0.0.1:{port}/v1/realtime"
    one, other = connect(url, legacy=True), connect(url, legacy=True)
    for client in (one, other):
        begin(client)
    assert broken.reached.wait(60)
    broken.now.set()
    for client in (one, other):
        assert told_of_failure(end(client))
    return one, other


def ready(port: int) -> int:
    return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code


def test_a_step_that_fails_costs_both_answers_and_neither_session(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Break(monkeypatch, RuntimeError("not enough memory"), "step")
    for client in break_both(port, broken):
        begin(client)
        assert end(client)["status"] == "completed"
        client.close()
    assert ready(port) == 200


@pytest.mark.parametrize("error", [RuntimeError("a bug"), SystemExit()])
def test_a_worker_that_dies_is_said_to_all_and_to_the_orchestrator(
    port: int, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    broken = Break(monkeypatch, error, "worker")
    for client in break_both(port, broken):
        begin(client)
        assert told_of_failure(end(client))  # at once: nobody waits for an engine that is gone
        client.close()
    assert ready(port) == 503
    assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
