"""One simulated caller on `/v1/realtime`: speaks in real time, listens, keeps the times.

Nothing is faster than life: sound is sent as a microphone would, answers are played by a simulated
playback clock, and the next question waits until the answer would have been heard.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from server.observability.turns import TurnReader, TurnTimes
from step_audio.core.audio import float_to_pcm16
from step_audio.core.types import Pcm

RATE_HZ: Final = 24_000
FRAME_S: Final = 0.04
_FRAME: Final = int(RATE_HZ * FRAME_S)
MAX_MESSAGE: Final = 16 << 20


def appends(pcm: Pcm) -> tuple[str, ...]:
    """Return sound (T,) as the messages that carry it, a frame each."""
    sounds = (
        base64.b64encode(float_to_pcm16(pcm[at : at + _FRAME])).decode()
        for at in range(0, len(pcm), _FRAME)
    )
    return tuple(f'{{"type":"input_audio_buffer.append","audio":"{sound}"}}' for sound in sounds)


_SILENCE: Final = appends(np.zeros(_FRAME, np.float32))[0]


@dataclass(frozen=True, slots=True)
class CallPlan:
    """What every caller does.

    Attributes:
        url: ws:// or wss:// address of the endpoint.
        turns: questions a caller asks.
        questions: sound at 24 kHz without silence around it, asked in turn.
        key: bearer key, None for none.
        manual: the caller says where its turn ends; else the server hears it.
        patience_s: so long an answer may take from the end of the question to its end.
        pause_s: longest pause of the caller before a question.
        together: where callers wait for each other before each question; all ask the same one then,
            in the same instant. None: each in its own time.
        spoken: the questions as messages, made once: who measures has no time to encode.
    """

    url: str
    turns: int
    questions: Sequence[Pcm]
    key: str | None = None
    manual: bool = False
    patience_s: float = 30.0
    pause_s: float = 1.0
    together: asyncio.Barrier | None = None
    spoken: Sequence[Sequence[str]] = field(init=False)

    def __post_init__(self) -> None:
        """Encode the questions."""
        object.__setattr__(self, "spoken", [appends(pcm) for pcm in self.questions])


@dataclass(slots=True)
class CallerAnswer:
    """What came of one question. Times in seconds; None: did not happen.

    `first_audio_s` counts from the end of the speech plus the silence window.
    """

    first_audio_s: float | None = None
    endpoint_delay_s: float | None = None
    after_decision_s: float | None = None
    dry_s: list[float] = field(default_factory=list)
    rtf: float | None = None
    sound_s: float = 0.0
    status: str = "none"


@dataclass(slots=True)
class CallReport:
    """What one caller met.

    Attributes:
        heard: an answer a question.
        asked_s: when each question was begun, by the steady clock.
        refused: it was told to try later.
    """

    heard: list[CallerAnswer] = field(default_factory=list)
    asked_s: list[float] = field(default_factory=list)
    refused: bool = False
    errors: list[str] = field(default_factory=list)


class Caller:
    """One call from connecting to hanging up."""

    def __init__(self, plan: CallPlan, seed: int) -> None:
        self._plan = plan
        self._rng = random.Random(seed)
        self._number = seed
        self.report = CallReport()
        self._reader = TurnReader()
        self._done: asyncio.Queue[TurnTimes] = asyncio.Queue()
        self._stopped_s: float | None = None
        self._window_s = 0.0
        self._ready = asyncio.Event()
        self._sound: list[str] = []
        self._spoken_s = 0.0
        self._quiet = asyncio.Event()

    async def call(self) -> CallReport:
        """Make the call. Never raises for what the server does: that is in the report."""
        headers = {"Authorization": f"Bearer {self._plan.key}"} if self._plan.key else {}
        try:
            async with connect(
                self._plan.url,
                additional_headers=headers,
                compression=None,
                max_size=MAX_MESSAGE,
                open_timeout=30,
            ) as socket:
                await self._converse(socket)
        except InvalidStatus as refused:
            self.report.refused = refused.response.status_code == 503
            if not self.report.refused:
                self.report.errors.append(f"http_{refused.response.status_code}")
        except (OSError, TimeoutError, ConnectionClosed) as error:
            self.report.errors.append(error.__class__.__name__)
        return self.report

    async def _converse(self, socket: ClientConnection) -> None:
        detection = None if self._plan.manual else {"type": "server_vad"}
        await socket.send(
            json.dumps(
                {
                    "type": "session.update",
                    "session": {
                        "type": "realtime",
                        "audio": {"input": {"turn_detection": detection}},
                    },
                }
            )
        )
        reading = asyncio.create_task(self._read(socket), name="caller.read")
        speaking = asyncio.create_task(self._speak(socket), name="caller.speak")
        try:
            async with asyncio.timeout(30):
                await self._ready.wait()
            for turn in range(self._plan.turns):
                question = await self._next_question(turn)
                self.report.asked_s.append(time.monotonic())
                self.report.heard.append(await self._ask(socket, question))
                if reading.done():
                    break
        finally:
            for task in (speaking, reading):
                task.cancel()
            for ended in await asyncio.gather(speaking, reading, return_exceptions=True):
                if isinstance(ended, ConnectionClosed):
                    self.report.errors.append(f"closed_{ended.rcvd.code if ended.rcvd else 1006}")

    async def _next_question(self, turn: int) -> Sequence[str]:
        """Return the question of a turn when it is time to ask it."""
        spoken, together = self._plan.spoken, self._plan.together
        if together is None:
            await asyncio.sleep(self._rng.uniform(0.2, self._plan.pause_s))
            return spoken[(turn + self._number) % len(spoken)]
        try:
            async with asyncio.timeout(self._plan.patience_s):
                await together.wait()
        except (TimeoutError, asyncio.BrokenBarrierError):
            await together.abort()  # somebody has left: the others go on alone
        return spoken[turn % len(spoken)]

    async def _ask(self, socket: ClientConnection, question: Sequence[str]) -> CallerAnswer:
        self._stopped_s = None
        self._quiet.clear()
        self._sound = list(reversed(question))
        await self._quiet.wait()
        end_s, window_s = self._spoken_s, self._window_s
        if self._plan.manual:
            await socket.send('{"type": "input_audio_buffer.commit"}')
            await socket.send('{"type": "response.create"}')
            end_s, window_s = time.monotonic(), 0.0
        try:
            async with asyncio.timeout(self._plan.patience_s):
                turn = await self._done.get()
                while turn.first_sound_s is None and turn.status == "cancelled":
                    turn = await self._done.get()  # a pause in the question was taken for its end
        except TimeoutError:
            return CallerAnswer()
        heard = self._times(turn, end_s, window_s)
        if turn.first_sound_s is not None:
            over_s = turn.first_sound_s + turn.sound_s + sum(turn.dry_s)
            await asyncio.sleep(max(0.0, over_s - time.monotonic()))
        return heard

    def _times(self, turn: TurnTimes, end_s: float, window_s: float) -> CallerAnswer:
        heard = CallerAnswer(status=turn.status, dry_s=turn.dry_s, sound_s=turn.sound_s)
        if self._stopped_s is not None:
            heard.endpoint_delay_s = self._stopped_s - end_s
        if turn.first_sound_s is not None:
            heard.first_audio_s = turn.first_sound_s - end_s - window_s
            heard.after_decision_s = turn.first_sound_s - (self._stopped_s or end_s)
            heard.rtf = turn.rtf
        return heard

    async def _read(self, socket: ClientConnection) -> None:
        async for message in socket:
            now_s = time.monotonic()
            event: Mapping[str, Any] = json.loads(message)
            kind = event["type"]
            if kind == "session.updated":
                detection = event["session"]["audio"]["input"]["turn_detection"] or {}
                self._window_s = detection.get("silence_duration_ms", 0) / 1000
                self._ready.set()
            elif kind == "input_audio_buffer.speech_stopped":
                self._stopped_s = now_s
            elif kind == "error":
                self.report.errors.append(str(event["error"].get("code")))
            if turn := self._reader.read(event, now_s):
                self._done.put_nowait(turn)

    async def _speak(self, socket: ClientConnection) -> None:
        """Send a frame each 40 ms: of the question, else silence (unless push to talk)."""
        await self._ready.wait()
        start_s, frames = time.monotonic() + self._rng.uniform(0, FRAME_S), 0
        while True:
            await asyncio.sleep(max(0.0, start_s + frames * FRAME_S - time.monotonic()))
            frames += 1
            if self._sound:
                await socket.send(self._sound.pop())
                if not self._sound:
                    self._spoken_s = time.monotonic()
                    self._quiet.set()
            elif not self._plan.manual:
                await socket.send(_SILENCE)


def trimmed(pcm: Pcm) -> Pcm:
    """Return sound (T,) without the quiet (40 dB below its peak) before and after."""
    loud = np.flatnonzero(np.abs(pcm) > 0.01 * float(np.max(np.abs(pcm), initial=0.0)))
    return pcm[loud[0] : loud[-1] + 1] if len(loud) else pcm[:0]
