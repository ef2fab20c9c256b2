import asyncio
import base64
import io
import json
import time
from collections.abc import Callable
from typing import Any, ClassVar, cast

import pytest
from fastapi.routing import APIWebSocketRoute
from starlette.testclient import WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from server.admission.limits import ServerSettings, Slots
from server.routes.tts.endpoint import tts_router
from server.voice_names import VoiceNames
from step_audio.core.decoding import decode_audio
from step_audio.core.errors import EngineError
from step_audio.core.keys import Keyring
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.settings import DialogSettings
from step_audio.dialog.speakable.reading_domain import read_domain
from tests.fakes import VOCAB, MemoryRecorder, ScriptedEngine, group, services
from tests.server.conftest import Connect
from tests.server.realtime.hosting import FakeSocket

PATH = "ws://localhost/v1/realtime/audio?model=step-tts-mini"
SPEECH = VOCAB.ids([group(1), group(2)])
SENTENCE_BYTES = 2 * 2 * 960 * 3


def send(socket: WebSocketTestSession, kind: str, **data: Any) -> None:
    socket.send_text(json.dumps({"type": kind, "data": data}))


def until(socket: WebSocketTestSession, kind: str) -> list[dict[str, Any]]:
    events = [json.loads(socket.receive_text())]
    while events[-1]["type"] != kind:
        events.append(json.loads(socket.receive_text()))
    return events


def wait_for(happened: Callable[[], bool]) -> None:
    """Wait for something in the server's thread."""
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def sound(events: list[dict[str, Any]]) -> bytes:
    deltas = [e["data"]["audio"] for e in events if e["type"] == "tts.response.audio.delta"]
    return b"".join(base64.b64decode(delta) for delta in deltas)


def test_text_in_pieces_is_read_sentence_by_sentence(connect: Connect) -> None:
    with connect([SPEECH]).websocket_connect(PATH) as socket:
        greeting = json.loads(socket.receive_text())
        assert greeting["type"] == "tts.connection.done"
        session_id = greeting["data"]["session_id"]
        send(socket, "tts.create", session_id=session_id, voice_id="slt", response_format="pcm")
        assert json.loads(socket.receive_text())["type"] == "tts.response.created"
        send(socket, "tts.text.delta", session_id=session_id, text="Good mor")
        send(socket, "tts.text.delta", text="ning. How are")
        first = until(socket, "tts.response.sentence.end")
        assert first[0]["data"]["text"] == "Good morning."
        assert len(sound(first)) == SENTENCE_BYTES
        send(socket, "tts.text.delta", text=" you?")
        send(socket, "tts.text.done")
        rest = until(socket, "tts.response.audio.done")
    starts = [e["data"]["text"] for e in rest if e["type"] == "tts.response.sentence.start"]
    assert starts == ["How are you?"]
    deltas = [e["data"] for e in rest if e["type"] == "tts.response.audio.delta"]
    assert [d["status"] for d in deltas][-1] == "finished"
    assert {d["status"] for d in deltas[:-1]} == {"unfinished"}
    assert {e["data"]["session_id"] for e in first + rest} == {session_id}
    assert len({e["event_id"] for e in first + rest}) == len(first + rest)
    whole = base64.b64decode(rest[-1]["data"]["audio"])
    assert whole == sound(first) + sound(rest)
    assert len(whole) == 2 * SENTENCE_BYTES


@pytest.mark.parametrize("response_format", ["wav", "mp3", "flac", "opus"])
@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000])
def test_each_format_is_one_file(connect: Connect, response_format: str, rate_hz: int) -> None:
    with connect([SPEECH]).websocket_connect(PATH) as socket:
        send(socket, "tts.create", response_format=response_format, sample_rate=rate_hz)
        send(socket, "tts.text.delta", text="One. Two. Three.")
        send(socket, "tts.text.done")
        events = until(socket, "tts.response.audio.done")
    pcm, rate = decode_audio(io.BytesIO(sound(events)), 10)
    assert abs(len(pcm) / rate - 0.72) < 0.15


def test_flush_reads_what_is_there(connect: Connect) -> None:
    with connect([SPEECH]).websocket_connect(PATH) as socket:
        send(socket, "tts.create", response_format="pcm")
        send(socket, "tts.text.delta", text="no end of sentence")
        send(socket, "tts.text.flush")
        events = until(socket, "tts.text.flushed")
    assert len(sound(events)) == SENTENCE_BYTES


def test_speed_changes_the_length(connect: Connect) -> None:
    script = VOCAB.ids([group(n) for n in range(10)])
    with connect([script]).websocket_connect(PATH) as socket:
        send(socket, "tts.create", response_format="pcm", speed_ratio=2.0)
        send(socket, "tts.text.delta", text="One.")
        send(socket, "tts.text.done")
        events = until(socket, "tts.response.audio.done")
    assert len(sound(events)) / 48_000 == pytest.approx(0.6, abs=0.01)


def test_a_style_holds_until_the_next_and_may_stand_alone(connect: Connect) -> None:
    script = VOCAB.ids([group(n) for n in range(10)])
    with connect([script]).websocket_connect(PATH) as socket:
        send(socket, "tts.create", response_format="pcm")
        send(socket, "tts.text.delta", text="(slow)\nOne. Two. (fast) Three. Four.")
        send(socket, "tts.text.done")
        events = until(socket, "tts.response.audio.done")
    starts = [n for n, e in enumerate(events) if e["type"] == "tts.response.sentence.start"]
    spoken = [
        len(sound(events[n:end])) / 48_000
        for n, end in zip(starts, [*starts[1:], len(events)], strict=True)
    ]
    slow, fast = 1.2 / 0.87, 1.2 / 1.15
    assert spoken == pytest.approx([slow, slow, fast, fast], abs=0.01)


def test_a_client_that_only_listens_is_not_idle_until_all_is_read(connect: Connect) -> None:
    engine = ScriptedEngine([SPEECH], hold=5)
    client = connect(engine=engine, settings=ServerSettings(idle_timeout_s=0.2))
    with client.websocket_connect(PATH) as socket:
        send(socket, "tts.create", response_format="pcm")
        send(socket, "tts.text.delta", text="One. Two.")
        send(socket, "tts.text.done")
        until(socket, "tts.response.sentence.start")
        time.sleep(0.6)
        assert client.portal is not None
        client.portal.call(engine.resume.set)
        assert len(sound(until(socket, "tts.response.audio.done"))) == 2 * SENTENCE_BYTES
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
        assert closed.value.code == 1000
        assert "0.2 s" in closed.value.reason


def test_a_browser_is_told_which_subprotocol_was_chosen(connect: Connect) -> None:
    settings = ServerSettings(keys=Keyring({}, "s3cret"))
    offered = ["realtime", "openai-insecure-api-key.s3cret"]
    with connect(settings=settings).websocket_connect(PATH, subprotocols=offered) as socket:
        assert socket.accepted_subprotocol == "realtime"


def test_one_socket_reads_one_text_after_another(connect: Connect) -> None:
    with connect([SPEECH]).websocket_connect(PATH) as socket:
        for _ in range(3):
            send(socket, "tts.create", response_format="pcm")
            send(socket, "tts.text.delta", text="One.")
            send(socket, "tts.text.done")
            events = until(socket, "tts.response.audio.done")
            assert len(sound(events)) == SENTENCE_BYTES


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "invalid_event"),
        ("[]", "invalid_event"),
        ('{"type":"tts.unknown"}', "invalid_event"),
        ('{"type":"tts.create","data":{"sample_rate":44100}}', "invalid_event"),
        ('{"type":"tts.create","data":{"speed_ratio":9}}', "invalid_event"),
        ('{"type":"tts.create","data":{"voice_id":"../x"}}', "voice_not_found"),
        ('{"type":"tts.text.delta","data":{"text":"x"}}', "no_session"),
        ('{"type":"tts.text.done"}', "no_session"),
    ],
)
def test_what_is_wrong_is_told_and_the_socket_stays(
    connect: Connect, message: str, code: str
) -> None:
    with connect([SPEECH]).websocket_connect(PATH) as socket:
        socket.receive_text()
        socket.send_text(message)
        told = json.loads(socket.receive_text())
        assert (told["type"], told["data"]["code"]) == ("tts.response.error", code)
        send(socket, "tts.create", response_format="pcm")
        assert json.loads(socket.receive_text())["type"] == "tts.response.created"


def test_a_second_create_while_one_is_read_is_refused(connect: Connect) -> None:
    with connect([SPEECH]).websocket_connect(PATH) as socket:
        send(socket, "tts.create", response_format="pcm")
        send(socket, "tts.create", response_format="pcm")
        assert until(socket, "tts.response.error")[-1]["data"]["code"] == "busy"


def test_a_broken_engine_ends_the_text_not_the_socket(connect: Connect) -> None:
    client = connect(engine=ScriptedEngine([[]], error=EngineError("no memory")))
    with client.websocket_connect(PATH) as socket:
        for _ in range(2):
            send(socket, "tts.create", response_format="pcm")
            send(socket, "tts.text.delta", text="One. ")
            events = until(socket, "tts.response.error")
            assert events[-1]["data"]["code"] == "engine_failed"


def test_leaving_in_the_middle_frees_the_engine_and_the_slot(connect: Connect) -> None:
    engine = ScriptedEngine([SPEECH], hold=5)
    client = connect(engine=engine, settings=ServerSettings(max_sessions=1))
    with client.websocket_connect(PATH) as socket:
        send(socket, "tts.create", response_format="pcm")
        send(socket, "tts.text.delta", text="One. ")
        until(socket, "tts.response.sentence.start")
        wait_for(lambda: bool(engine.requests))
    wait_for(lambda: bool(engine.aborted))
    engine.resume.set()
    body = {"input": "Hi.", "response_format": "pcm"}
    assert client.post("/v1/audio/speech", json=body).status_code == 200


def test_on_request_what_cannot_be_read_is_left_out_and_said_in_an_event(connect: Connect) -> None:
    client = connect([SPEECH], dialog=DialogSettings(languages=("en",)))
    with client.websocket_connect(PATH) as socket:
        send(socket, "tts.create", response_format="pcm", unreadable="skip")
        send(socket, "tts.text.delta", text="One. Привет, ")
        send(socket, "tts.text.delta", text="мир. Two.")
        send(socket, "tts.text.done")
        events = until(socket, "tts.response.audio.done")
    starts = [e["data"]["text"] for e in events if e["type"] == "tts.response.sentence.start"]
    assert starts == ["One.", "Two."]
    (warning,) = [e["data"] for e in events if e["type"] == "tts.response.warning"]
    assert warning["code"] == "unreadable_text"
    assert warning["text"] == "Привет, мир."
    assert "Cyrillic" in warning["message"]


def test_what_of_a_text_is_read_is_asked_for_in_create(connect: Connect) -> None:
    engine = ScriptedEngine([SPEECH])
    with connect(engine=engine).websocket_connect(PATH) as socket:
        send(
            socket,
            "tts.create",
            response_format="pcm",
            style_tags=False,
            numbers=False,
            markdown=False,
            addresses="host",
        )
        send(socket, "tts.text.delta", text="(sad) Pay $5 at https://x.")
        send(socket, "tts.text.delta", text="org/a?b now.")
        send(socket, "tts.text.done")
        until(socket, "tts.response.audio.done")
    (request,) = engine.requests
    prompt = bytes(i - 300 for i in request.prompt if 300 <= i < 556).decode()
    assert "(sad) Pay $5 at x dot org now." in prompt


def test_a_text_of_marks_with_letters_is_spoken_at_its_end(connect: Connect) -> None:
    with connect([SPEECH]).websocket_connect(PATH) as socket:
        send(socket, "tts.create", response_format="pcm")
        send(socket, "tts.text.delta", text="```python\n```\n")
        send(socket, "tts.text.done")
        events = until(socket, "tts.response.audio.done")
    assert len(sound(events)) == SENTENCE_BYTES


@pytest.mark.parametrize("fault", [RuntimeError("a bug"), asyncio.CancelledError()])
def test_a_part_that_breaks_ends_the_text_not_the_socket(
    connect: Connect, fault: Exception
) -> None:
    engine = ScriptedEngine([SPEECH], error=fault)
    with connect(engine=engine).websocket_connect(PATH) as socket:
        for _ in range(2):
            send(socket, "tts.create", response_format="pcm")
            send(socket, "tts.text.delta", text="One. ")
            told = until(socket, "tts.response.error")[-1]["data"]
            assert told["code"] == "internal_error"


class SpeechSocket(FakeSocket):
    """The server's side of a speech socket; `stuck_at`: an event that the network never takes."""

    scope: ClassVar[dict[str, Any]] = {}

    def __init__(self, stuck_at: str = "") -> None:
        super().__init__()
        self._stuck_at = stuck_at
        self.code: int | None = None

    async def accept(self, subprotocol: str | None) -> None:
        return None

    async def send_text(self, text: str) -> None:
        if json.loads(text)["type"] == self._stuck_at:
            await asyncio.Event().wait()
        await super().send_text(text)

    async def close(self, code: int, reason: str) -> None:
        self.code = code


async def speech_socket(socket: SpeechSocket, engine: ScriptedEngine) -> None:
    """Serve one socket to its end; its slot is free then, and nothing runs any more."""
    tasks = asyncio.all_tasks()
    assistant = Assistant(services(engine))
    settings, slots = ServerSettings(send_timeout_s=0.05), Slots(1)
    router = tts_router(assistant, settings, slots, VoiceNames(assistant, {}))
    async with asyncio.timeout(20):
        await cast("APIWebSocketRoute", router.routes[0]).endpoint(socket)
    assert slots.taken == 0
    assert asyncio.all_tasks() == tasks
    await assistant.aclose()


async def test_leaving_while_sentences_stand_in_line_frees_the_engine_and_the_slot() -> None:
    engine, socket = ScriptedEngine([SPEECH], hold=5), SpeechSocket()
    socket.put("tts.create", data={"response_format": "pcm"})
    socket.put("tts.text.delta", data={"text": "One more. " * 200})  # more than stand in line
    serving = asyncio.create_task(speech_socket(socket, engine))
    await engine.started.wait()
    socket.leave(1006)
    await serving
    assert engine.aborted  # never resumed


async def test_a_client_that_takes_nothing_is_given_up_while_it_only_listens() -> None:
    socket = SpeechSocket(stuck_at="tts.response.sentence.start")
    socket.put("tts.create", data={"response_format": "pcm"})
    socket.put("tts.text.delta", data={"text": "One. "})
    await speech_socket(socket, ScriptedEngine([SPEECH]))
    assert socket.code == 1013


def test_a_speech_socket_counts_among_the_sessions(connect: Connect) -> None:
    recorder = MemoryRecorder()
    with connect([SPEECH], recorder=recorder).websocket_connect(PATH) as socket:
        socket.receive_text()
        assert [value for name, value in recorder.seen if name == "sessions"] == [1]
        socket.send_text("x" * (2 << 20))
        with pytest.raises(WebSocketDisconnect):
            until(socket, "nothing")
    assert [value for name, value in recorder.seen if name == "sessions"] == [1, 0]


def test_a_sentence_that_the_model_was_not_taught_says_so(connect: Connect) -> None:
    dialog = DialogSettings(domain=read_domain("< good\ngood morning\nmorning >"))
    with connect([SPEECH] * 2, dialog=dialog).websocket_connect(PATH) as socket:
        socket.receive_text()
        send(socket, "tts.create", voice_id="slt", response_format="pcm")
        send(socket, "tts.text.delta", text="Good morning. My house is red.")
        send(socket, "tts.text.done")
        events = until(socket, "tts.response.audio.done")
    starts = [e["data"] for e in events if e["type"] == "tts.response.sentence.start"]
    assert [start.get("out_of_domain") for start in starts] == [None, True]
