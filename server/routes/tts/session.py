"""One speech socket: text comes in pieces, is read sentence by sentence, and leaves as sound."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final
from uuid import uuid4

from server.http.errors import RequestError
from server.http.resampled import ResampledChunks
from server.routes.speech import MAX_INPUT_CHARS
from server.routes.tts.events import Create, CreateData, Done, Flush, TextAppend, parse
from server.voice_names import VoiceNames
from step_audio.core.cancellation import asked_to_stop
from step_audio.core.encoding import AudioFormat, open_encoder
from step_audio.core.errors import PartFailed, StepAudioError
from step_audio.core.ports import Stage
from step_audio.core.types import Pcm
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.speakable.reader import SpokenSentence
from step_audio.dialog.speakable.sentences import SentenceSplitter
from step_audio.dialog.speakable.style_tags import ReadingStyle

_LOG = logging.getLogger(__name__)

MAX_WHOLE_BYTES: Final = 8 << 20
"""The last event repeats all the sound; of more than this it does not."""

Send = Callable[[dict[str, Any]], Awaitable[None]]


class ClientLost(Exception):
    """The client takes nothing any more: whoever sends stops."""


class SpeechSession:
    """Follows the events of one client. `handle` waits while enough sentences stand in line."""

    def __init__(self, assistant: Assistant, names: VoiceNames, send: Send) -> None:
        self._assistant, self._names, self._put = assistant, names, send
        self._session_id = uuid4().hex
        self._reading: _SocketReading | None = None
        self._newest: _SocketReading | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether text of the client is being read, who may well be silent meanwhile."""
        return self._newest is not None and self._newest.is_busy

    async def open(self) -> None:
        """Greet."""
        await self._send("tts.connection.done")

    async def handle(self, message: str) -> None:
        """Carry out one message; what is wrong with it is told to the client. Raises ClientLost."""
        try:
            await self._carry_out(message)
        except StepAudioError as error:
            await self.fail(error)

    def tasks(self) -> list[asyncio.Task[None]]:
        """Return what runs for this session; its owner ends it, which frees the engine."""
        return [] if self._task is None else [self._task]

    async def _carry_out(self, message: str) -> None:
        event = parse(message)
        if isinstance(event, Create):
            if self._reading is not None:
                raise RequestError("a text is being read; end it with tts.text.done", code="busy")
            if self._task is not None:
                await asyncio.wait([self._task])
            voice = await self._names.resolve_field(event.data.voice_id, "data.voice_id")
            self._reading = _SocketReading(self._assistant, event.data, voice, self._send)
            self._newest = self._reading
            self._task = asyncio.create_task(self._read(self._reading), name="tts.read")
            await self._send("tts.response.created")
            return
        reading = self._reading
        if reading is None:
            raise RequestError("send tts.create first", code="no_session")
        match event:
            case TextAppend(data=data):
                await reading.add(data.text)
            case Flush():
                await reading.flush()
            case Done():
                self._reading = None
                await reading.end()

    async def _read(self, reading: _SocketReading) -> None:
        with contextlib.suppress(ClientLost):  # the socket's owner knows
            failure = await _outcome(reading)
            if failure is not None:
                self._reading = None
                await self.fail(failure)

    async def fail(self, error: StepAudioError) -> None:
        """Tell the client what is wrong."""
        param = error.param if isinstance(error, RequestError) else None
        facts = {"code": error.code, "message": str(error), "details": {"param": param}}
        await self._send("tts.response.error", **facts)

    async def _send(self, kind: str, **data: Any) -> None:
        facts = {"session_id": self._session_id, **data}
        await self._put({"event_id": f"event_{uuid4().hex}", "type": kind, "data": facts})


class _SocketReading:
    """One text from `tts.create` to `tts.text.done`: a line of sentences and whoever reads it."""

    def __init__(
        self,
        assistant: Assistant,
        wanted: CreateData,
        voice: str,
        send: Callable[..., Awaitable[None]],
    ) -> None:
        self._assistant, self._voice, self._send = assistant, voice, send
        self._reading_style = ReadingStyle(
            wanted.speed_ratio, wanted.volume_ratio, wanted.instruction or ""
        )
        audio_format: AudioFormat = wanted.response_format
        self._rate_hz = wanted.sample_rate
        self._encoder: Stage[Pcm, bytes] = open_encoder(audio_format, self._rate_hz)
        self._splitter = SentenceSplitter()
        self._line: asyncio.Queue[str | _Flushed | None] = asyncio.Queue(64)
        self._chars = 0
        self._whole: list[bytes] = []
        self._whole_bytes = 0
        self._speaking = self._over = False
        options = wanted.text_options(assistant.settings.text_options)
        self._reader = assistant.text_reader(self._reading_style, options)

    @property
    def is_busy(self) -> bool:
        """Whether there is text left to read."""
        return not self._over and (self._speaking or not self._line.empty())

    async def add(self, text: str) -> None:
        """Take more text. Raises RequestError: more than is read at a time."""
        self._chars += len(text)
        if self._chars > MAX_INPUT_CHARS:
            raise RequestError(
                f"a text may hold {MAX_INPUT_CHARS} characters; begin another",
                code="string_above_max_length",
                param="data.text",
            )
        for sentence in self._splitter.push(text):
            await self._stand(sentence)

    async def flush(self) -> None:
        """Take what there is for a sentence."""
        for sentence in self._splitter.flush():
            await self._stand(sentence)
        await self._stand(_Flushed())

    async def end(self) -> None:
        """Take no more."""
        for sentence in self._splitter.flush():
            await self._stand(sentence)
        await self._stand(None)

    async def _stand(self, entry: str | _Flushed | None) -> None:
        if not self._over:
            await self._line.put(entry)

    async def run(self) -> None:
        """Read until the end. Raises StepAudioError: the engine broke; nothing more is read."""
        try:
            while (entry := await self._line.get()) is not None:
                if isinstance(entry, _Flushed):
                    await self._send("tts.text.flushed")
                else:
                    self._speaking = True
                    await self._sentence(entry)
                    self._speaking = False
            if rest := self._reader.end():
                await self._speak(rest[0].text, rest)
            await self._sound(b"".join(self._encoder.flush()), 0.0, status="finished")
            whole = b"".join(self._whole) if self._whole_bytes <= MAX_WHOLE_BYTES else b""
            await self._send("tts.response.audio.done", audio=base64.b64encode(whole).decode())
        finally:
            # Whoever still waits to add text must not wait for ever.
            self._over = True
            while not self._line.empty():
                self._line.get_nowait()

    async def _sentence(self, sentence: str) -> None:
        known = len(self._reader.warnings)
        spoken = await self._assistant.read_sentence(self._reader, sentence)
        for warning in self._reader.warnings[known:]:
            await self._send(
                "tts.response.warning", code="unreadable_text", message=warning, text=sentence
            )
        await self._speak(sentence, spoken)

    async def _speak(self, sentence: str, spoken: Sequence[SpokenSentence]) -> None:
        if spoken:
            said = " ".join(part.text for part in spoken)
            outside = self._assistant.settings.domain.is_outside(said)
            told = {"out_of_domain": True} if outside else {}
            await self._send("tts.response.sentence.start", text=sentence, **told)
            await self._say(spoken)
            await self._send("tts.response.sentence.end", text=sentence)

    async def _say(self, spoken: Sequence[SpokenSentence]) -> None:
        resampled = ResampledChunks(self._rate_hz)
        async with aclosing(
            self._assistant.say_sentences(spoken, self._voice, self._reading_style)
        ) as chunks:
            async for chunk in chunks:
                for pcm in resampled.push(chunk):
                    await self._encode(pcm)
        for pcm in resampled.flush():
            await self._encode(pcm)

    async def _encode(self, pcm: Pcm) -> None:
        data = b"".join(self._encoder.push(pcm))
        await self._sound(data, len(pcm) / self._rate_hz)

    async def _sound(self, data: bytes, seconds: float, *, status: str = "unfinished") -> None:
        self._whole_bytes += len(data)
        if self._whole_bytes <= MAX_WHOLE_BYTES:
            self._whole.append(data)
        audio = base64.b64encode(data).decode()
        await self._send(
            "tts.response.audio.delta", audio=audio, status=status, duration=round(seconds, 3)
        )


async def _outcome(reading: _SocketReading) -> StepAudioError | None:
    """Read to the end; return what broke, whatever it was. Raises ClientLost."""
    try:
        await reading.run()
    except ClientLost:
        raise
    except StepAudioError as error:
        return error
    except asyncio.CancelledError:
        if asked_to_stop():
            raise
        _LOG.exception("reading cancelled from within")
        return PartFailed("reading")
    except Exception:
        _LOG.exception("reading failed")
        return PartFailed("reading")
    return None


class _Flushed:
    """Stands in line where the client asked to flush."""
