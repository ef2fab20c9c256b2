"""Servers as examinees: a scripted Realtime socket, and REST in one step or in three."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from websockets.asyncio.server import ServerConnection, serve

from step_audio.core.audio import float_to_pcm16, wav_bytes
from step_audio.core.errors import InputError
from step_audio.core.ports import ToolSpec
from step_audio.core.types import Pcm
from step_audio.eval.examinee import (
    AnswerRecord,
    AskedTurn,
    ExamineeBusy,
    ExamineeFailed,
    ExamineeGone,
)
from step_audio.eval.examinees.realtime import RealtimeExaminee
from step_audio.eval.examinees.rest import RestExaminee

RATE = 24_000
SOUND: Pcm = (0.2 * np.sin(np.arange(RATE // 2) / 20)).astype(np.float32)
TOOL = ToolSpec("get_weather", "Weather.", {"type": "object", "properties": {}})
TURN = AskedTurn("hm", SOUND, RATE)


class Server:
    """A Realtime server of the GA or the beta protocol that answers each response by a script."""

    def __init__(self, *script: str, beta: bool = False) -> None:
        self._script, self._beta = list(script), beta
        self.events: list[dict[str, Any]] = []

    async def talk(self, socket: ServerConnection) -> None:
        async for message in socket:
            event = json.loads(message)
            self.events.append(event)
            match event["type"]:
                case "session.update":
                    await self.send(socket, {"type": "session.updated", "session": {}})
                case "input_audio_buffer.commit":
                    await self.send(
                        socket,
                        {
                            "type": "conversation.item.input_audio_transcription.completed",
                            "transcript": "what was said",
                        },
                    )
                case "response.create":
                    await self.answer(socket, self._script.pop(0))

    async def answer(self, socket: ServerConnection, kind: str) -> None:
        response: dict[str, Any] = {"id": "r", "status": "completed", "output": []}
        if kind == "call":
            call = {"type": "function_call", "call_id": "c1", "name": "get_weather"}
            response["output"] = [{**call, "arguments": '{"a": 1}'}]
        elif kind == "error":
            await self.send(socket, {"type": "error", "error": {"message": "no  such voice"}})
            return
        elif kind == "junk":
            await socket.send("[]")
            return
        elif kind == "close":
            await socket.close()
            return
        elif kind == "failed":
            response |= {"status": "failed", "status_details": {"error": "x"}}
        else:
            sound = base64.b64encode(float_to_pcm16(SOUND)).decode()
            names = (
                ("audio", "audio_transcript")
                if self._beta
                else (
                    "output_audio",
                    "output_audio_transcript",
                )
            )
            for name, delta in zip(names, (sound, kind), strict=True):
                await self.send(
                    socket, {"type": f"response.{name}.delta", "response_id": "r", "delta": delta}
                )
        await self.send(socket, {"type": "response.done", "response": response})

    @staticmethod
    async def send(socket: ServerConnection, event: dict[str, Any]) -> None:
        await socket.send(json.dumps(event))


@asynccontextmanager
async def listening(server: Server) -> AsyncIterator[RealtimeExaminee]:
    async with serve(server.talk, "127.0.0.1", 0) as running:
        port = next(iter(running.sockets)).getsockname()[1]
        yield RealtimeExaminee(f"ws://127.0.0.1:{port}/v1/realtime", "key", patience_s=5)


@pytest.mark.parametrize("beta", [False, True])
async def test_turns_of_one_conversation_have_words_sound_and_times(beta: bool) -> None:
    server = Server("first", "second", beta=beta)
    async with listening(server) as examinee:
        one, two = await examinee.answer([TURN, AskedTurn("typed", None)])
    assert (one.text, two.text, one.transcript) == ("first", "second", "what was said")
    assert len(one.pcm) == len(SOUND)
    assert one.first_audio_ms is not None
    assert one.first_audio_ms >= 0
    kinds = [event["type"] for event in server.events]
    assert kinds.count("input_audio_buffer.append") == 3
    assert kinds.count("session.update") == 1
    item = next(e["item"] for e in server.events if e["type"] == "conversation.item.create")
    assert item["content"] == [{"type": "input_text", "text": "typed"}]


async def test_a_call_of_an_offered_tool_gets_a_result_and_the_answer_goes_on() -> None:
    server = Server("call", "done")
    async with listening(server) as examinee:
        (record,) = await examinee.answer([TURN], [TOOL])
    assert record.text == "done"
    assert [(call.name, call.arguments) for call in record.calls] == [("get_weather", '{"a": 1}')]
    (output,) = [e["item"] for e in server.events if e["type"] == "conversation.item.create"]
    assert output == {"type": "function_call_output", "call_id": "c1", "output": "{}"}
    assert server.events[0]["session"]["tools"][0]["name"] == "get_weather"


async def test_what_goes_wrong_is_the_answer_or_an_error() -> None:
    async with listening(Server("error")) as examinee:
        (record,) = await examinee.answer([TURN])
        assert record.error == "no such voice"
    async with listening(Server("failed")) as examinee:
        (record,) = await examinee.answer([TURN])
        assert record.error.startswith("response failed")
    for kind in ("junk", "close"):
        async with listening(Server(kind)) as examinee:
            with pytest.raises(ExamineeFailed):
                await examinee.answer([TURN])


async def test_a_transcript_is_that_of_the_input() -> None:
    async with listening(Server()) as examinee:
        assert await examinee.transcribe(SOUND, RATE, "en") == "what was said"
        with pytest.raises(InputError, match="--rest"):
            await examinee.speak("hi", None, "")


async def test_nobody_there_and_no_place_are_told_apart() -> None:
    with pytest.raises(ExamineeGone):
        await RealtimeExaminee("ws://127.0.0.1:9/v1/realtime").answer([TURN])

    def full(connection: ServerConnection, request: Any) -> Any:
        return connection.respond(503, "full")

    async with serve(Server().talk, "127.0.0.1", 0, process_request=full) as running:
        port = next(iter(running.sockets)).getsockname()[1]
        with pytest.raises(ExamineeBusy):
            await RealtimeExaminee(f"ws://127.0.0.1:{port}/").answer([TURN])


def rest_app(*, hears: bool, status: int = 200) -> FastAPI:
    app = FastAPI()

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"data": [{"id": "m1"}]}

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> JSONResponse:
        body = await request.json()
        content = body["messages"][-1]["content"]
        if status != 200:
            return JSONResponse({}, status)
        if not isinstance(content, str) and not hears:
            return JSONResponse({"error": {"message": "text alone"}}, 400)
        message: dict[str, Any] = {"role": "assistant", "content": f"{body['model']} {content}"}
        if hears:
            data = base64.b64encode(wav_bytes(SOUND, RATE)).decode()
            spoken = {"id": "a", "data": data, "transcript": "spoken"}
            message = {"role": "assistant", "content": None, "audio": spoken}
        if body.get("tools"):
            function = {"name": body["tools"][0]["function"]["name"], "arguments": "{}"}
            message["tool_calls"] = [{"id": "c", "type": "function", "function": function}]
        return JSONResponse({"choices": [{"message": message}]})

    @app.post("/v1/audio/transcriptions")
    def transcriptions() -> dict[str, str]:
        return {"text": "heard words"}

    @app.post("/v1/audio/speech")
    def speech() -> Response:
        return Response(wav_bytes(SOUND, RATE), media_type="audio/wav")

    return app


@contextmanager
def running(app: FastAPI) -> Iterator[RestExaminee]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            threading.Event().wait(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield RestExaminee(f"http://127.0.0.1:{port}/v1/")
    finally:
        server.should_exit = True
        thread.join(20)


async def answered(examinee: RestExaminee, tools: Sequence[ToolSpec] = ()) -> list[AnswerRecord]:
    try:
        return await examinee.answer([TURN], tools)
    finally:
        await examinee.aclose()


def test_rest_in_one_step_where_the_model_hears_and_speaks() -> None:
    with running(rest_app(hears=True)) as examinee:
        (record,) = asyncio.run(answered(examinee, [TOOL]))
    assert (examinee.form, record.text, len(record.pcm)) == ("one step", "spoken", len(SOUND))
    assert record.calls[0].name == "get_weather"


def test_rest_in_three_steps_where_it_does_not() -> None:
    with running(rest_app(hears=False)) as examinee:

        async def both() -> tuple[Any, Any, Any]:
            records = await examinee.answer([TURN, TURN])
            words = await examinee.transcribe(SOUND, RATE, "en")
            spoken = await examinee.speak("hi", None, "")
            await examinee.aclose()
            return records, words, spoken

        records, words, (pcm, rate_hz) = asyncio.run(both())
    assert examinee.form == "three steps"
    assert [record.text for record in records] == ["m1 heard words"] * 2
    assert (words, len(pcm), rate_hz) == ("heard words", len(SOUND), RATE)


@pytest.mark.parametrize(
    ("status", "error"), [(503, ExamineeBusy), (401, ExamineeGone), (500, ExamineeFailed)]
)
def test_rest_statuses(status: int, error: type[Exception]) -> None:
    with running(rest_app(hears=True, status=status)) as examinee, pytest.raises(error):
        asyncio.run(answered(examinee))
