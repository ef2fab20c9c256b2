"""One scripted person on a Realtime server: speaks in real time, listens, notes when what came."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import time
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from server.observability.turns import SOUND
from step_audio.eval.callers import FRAME_S, MAX_MESSAGE, RATE_HZ, appends
from step_audio.eval.examinee import ExamineeBusy, ExamineeGone
from step_audio.eval.turns.scripts import ScriptedDialogue
from step_audio.eval.turns.timeline import Sounded, Timeline

_SILENCE: Final = appends(np.zeros(int(RATE_HZ * FRAME_S), np.float32))[0]
_BYTES_PER_S: Final = 2 * RATE_HZ
_STEP_S: Final = 0.02
_TAIL_S: Final = 1.5
"""So long a dialogue goes on after the last sound that is due."""


class ScriptedCaller:
    """Plays one script.

    Args:
        url: ws:// or wss:// address of the endpoint.
        patience_s: so long each answer may take.
    """

    def __init__(
        self, url: str, script: ScriptedDialogue, key: str = "", patience_s: float = 30.0
    ) -> None:
        self._url, self._script, self._key, self._patience_s = url, script, key, patience_s
        self.line = Timeline(script.id, script.kind)
        self._frames: list[str] = []
        self._spoken: tuple[float, float] = (0.0, 0.0)
        self._ready = asyncio.Event()
        self._all_sent = asyncio.Event()
        self._items: dict[str, tuple[str, int]] = {}
        self._silenced: set[str] = set()

    async def play(self) -> Timeline:
        """Hold the dialogue and return what happened.

        Raises:
            ExamineeGone, ExamineeBusy: nobody answers, or there is no place.
        """
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        try:
            async with connect(
                self._url,
                additional_headers=headers,
                compression=None,
                max_size=MAX_MESSAGE,
                open_timeout=30,
            ) as socket:
                await self._converse(socket)
        except InvalidStatus as refused:
            status = refused.response.status_code
            if status in (429, 503):
                raise ExamineeBusy(f"{self._url} has no place") from None
            raise ExamineeGone(f"{self._url} answered {status}") from None
        except ConnectionClosed:
            self.line.errors.append("closed")
        except (OSError, TimeoutError, WebSocketException) as error:
            raise ExamineeGone(f"nobody answers at {self._url} ({type(error).__name__})") from None
        return self.line

    async def _converse(self, socket: ClientConnection) -> None:
        session = {
            "type": "realtime",
            "audio": {"input": {"turn_detection": {"type": "server_vad"}}},
        }
        await socket.send(json.dumps({"type": "session.update", "session": session}))
        reading = asyncio.create_task(self._read(socket), name="turns.read")
        speaking = asyncio.create_task(self._speak(socket), name="turns.speak")
        playing = asyncio.create_task(self._follow(), name="turns.script")
        try:
            await asyncio.wait([reading, speaking, playing], return_when=asyncio.FIRST_COMPLETED)
            if not playing.done():
                self.line.errors.append("closed")
        finally:
            for task in (reading, speaking, playing):
                task.cancel()
            for ended in await asyncio.gather(reading, speaking, playing, return_exceptions=True):
                if isinstance(ended, Exception) and not isinstance(ended, ConnectionClosed):
                    self.line.errors.append(f"{type(ended).__name__}: {ended}"[:200])

    async def _follow(self) -> None:
        """Do what the script says."""
        script, line = self._script, self.line
        async with asyncio.timeout(30):
            await self._ready.wait()
        await asyncio.sleep(0.6)
        line.first = await self._say(script.first)
        if script.kind == "end_of_turn":
            await self._until_answered(line.first[1])
            return
        if script.kind == "pause":
            await asyncio.sleep(script.wait_ms / 1000)
            line.then = await self._say(script.then)
            await self._until_answered(line.then[1])
            return
        if script.kind == "silence":
            await self._until_answered(line.first[1])
            await asyncio.sleep(script.wait_ms / 1000)
        elif not await self._until_heard(line.first[1], script.wait_ms / 1000):
            return
        line.then = await self._say(script.then)
        await self._until_answered(
            line.then[1], within_s=None if script.kind != "backchannel" else 4
        )

    async def _say(self, pcm: Any) -> tuple[float, float]:
        """Let a sound be sent; return when its first and its last frame went."""
        self._spoken = (0.0, 0.0)
        self._all_sent.clear()
        self._frames = list(reversed(appends(pcm)))
        await self._all_sent.wait()
        return self._spoken

    async def _until_heard(self, after_s: float, heard_s: float) -> bool:
        """Wait until so much of an answer is played; return whether it ever is."""
        until_s = time.monotonic() + self._patience_s
        while time.monotonic() < until_s:
            first_s = self.line.first_sound_s(after_s)
            if first_s is not None and time.monotonic() >= first_s + heard_s:
                return True
            await asyncio.sleep(_STEP_S)
        return False

    async def _until_answered(self, after_s: float, within_s: float | None = None) -> None:
        """Wait until an answer that came after a time is played to its end, and the server is not
        about to begin another."""
        until_s = time.monotonic() + (within_s or self._patience_s)
        while True:
            now_s = time.monotonic()
            began = self.line.first_sound_s(after_s) is not None
            quiet = not self._busy() and now_s > self._last_event_s() + _TAIL_S
            if quiet and (began or now_s > until_s):
                return
            if now_s > until_s + self._patience_s:
                return
            await asyncio.sleep(_STEP_S)

    def _busy(self) -> bool:
        """Whether the server hears somebody, makes an answer, or has still to answer a turn."""
        line = self.line
        hears = len(line.started) > len(line.stopped)
        turn_s = line.committed[-1] if line.committed else 0.0
        owes = bool(line.committed) and all(r.created_s < turn_s - 1 for r in line.responses)
        return hears or owes or any(not r.status for r in line.responses)

    def _last_event_s(self) -> float:
        """Return when something of the server's was last heard or told."""
        line = self.line
        played = (r.played_until_s() for r in line.responses if r.id not in self._silenced)
        done = (r.done_s or 0.0 for r in line.responses)
        return max([0.0, *line.stopped[-1:], *line.committed[-1:], *played, *done])

    async def _speak(self, socket: ClientConnection) -> None:
        """Send a frame each 40 ms: of what is to be said, else silence."""
        await self._ready.wait()
        start_s, frames = time.monotonic(), 0
        while True:
            due_s = start_s + frames * FRAME_S
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            self.line.lag_s = max(self.line.lag_s, time.monotonic() - due_s)
            frames += 1
            if not self._frames:
                await socket.send(_SILENCE)
                continue
            await socket.send(self._frames.pop())
            now_s = time.monotonic()
            begun_s = self._spoken[0] or now_s
            self._spoken = (begun_s, now_s)
            if not self._frames:
                self._all_sent.set()

    async def _read(self, socket: ClientConnection) -> None:
        async for message in socket:
            event = json.loads(message)
            if isinstance(event, dict):
                await self._note(socket, event, time.monotonic())

    async def _note(self, socket: ClientConnection, event: Mapping[str, Any], now_s: float) -> None:
        line, kind = self.line, event.get("type")
        if kind == "session.updated":
            self._ready.set()
        elif kind == "input_audio_buffer.speech_started":
            line.started.append(now_s)
            await self._truncate(socket, now_s)
        elif kind == "input_audio_buffer.speech_stopped":
            line.stopped.append(now_s)
        elif kind == "input_audio_buffer.committed":
            line.committed.append(now_s)
        elif kind == "response.created":
            line.responses.append(Sounded(str(event["response"]["id"]), now_s))
        elif kind in SOUND:
            self._hear(event, now_s)
        elif kind == "response.done":
            for response in line.responses:
                if response.id == event["response"]["id"]:
                    response.status, response.done_s = str(event["response"]["status"]), now_s
        elif kind == "error":
            told = event.get("error")
            line.errors.append(str(told.get("code") if isinstance(told, Mapping) else told)[:80])

    def _hear(self, event: Mapping[str, Any], now_s: float) -> None:
        name = str(event.get("response_id"))
        try:
            seconds = len(base64.b64decode(str(event.get("delta", "")))) / _BYTES_PER_S
        except binascii.Error:
            self.line.errors.append("sound that is not base64")
            return
        self._items[name] = (str(event.get("item_id")), int(event.get("content_index", 0)))
        for response in self.line.responses:
            if response.id == name and name not in self._silenced:
                response.pieces.append((now_s, seconds))

    async def _truncate(self, socket: ClientConnection, now_s: float) -> None:
        """Fall silent, and tell the server how much of the answer was heard."""
        response = self.line.under_way_at(now_s)
        if response is None or response.id in self._silenced:
            return
        self._silenced.add(response.id)
        item, index = self._items[response.id]
        heard_s = sum(seconds for at, seconds in response.pieces if at <= now_s)
        heard_s -= max(0.0, response.played_until_s() - now_s)
        event = {"type": "conversation.item.truncate", "item_id": item, "content_index": index}
        await socket.send(json.dumps({**event, "audio_end_ms": max(0, round(heard_s * 1000))}))
