"""The input audio buffer: sound in, turns out, to the client and to the turn controller."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from server.http.errors import RequestError
from server.realtime.session.state import SessionState
from server.realtime.session.transcription import InputTranscription
from server.realtime.session.turn_controller import TurnController
from server.realtime.wire import client_events as wire
from server.realtime.wire.audio import AudioDecoder
from server.realtime.wire.items import item_events, shown_before
from server.realtime.wire.response_events import error_event, transcript_delta
from step_audio.core.errors import AudioError, StepAudioError
from step_audio.core.types import Pcm
from step_audio.dialog.ids import new_id
from step_audio.dialog.prompting.conversation import Item, UserAudio
from step_audio.dialog.recognition.live import LiveRecognition
from step_audio.dialog.response.pipeline import named
from step_audio.dialog.turns.input_audio import Paused, Started, Stopped, TurnEvent
from step_audio.dialog.turns.unfinished import goes_on
from step_audio.dialog.turns.utterance import SpokenQuestion

MIN_QUESTION_MS: Final = 100
_WORDS_S: Final = 0.2
"""So long, after all the silence that ends a turn, the words of an early answer are waited for."""
_BLOCKS_PER_S: Final = 10
"""A long append is heard in pieces, so that a turn in it is acted on before the next one."""
_LONG_APPEND_CHARS: Final = 1 << 20
"""A longer one is decoded beside the event loop, so that other sessions are served meanwhile."""
_MAX_UNHEARD_S: Final = 60
"""So much sound may wait to be heard before an append waits, and with it what is behind it."""


class IdleTimer:
    """How long nobody has said anything, in time of the input, for `idle_timeout_ms`. Pure."""

    def __init__(self) -> None:
        self._from_ms: int | None = None

    def hear(self, now_ms: int, limit_ms: int | None, *, quiet: bool) -> tuple[int, int] | None:
        """Return where a silence of the limit began and ended, None while there is none.

        Args:
            now_ms: length of everything that was heard.
            limit_ms: None: nobody minds.
            quiet: whether an answer was given and played, and nobody speaks.
        """
        if limit_ms is None or not quiet:
            self._from_ms = None
            return None
        if self._from_ms is None:
            self._from_ms = now_ms
        if now_ms - self._from_ms < limit_ms:
            return None
        began_ms, self._from_ms = self._from_ms, None
        return began_ms, now_ms


class InputAudio:
    """Carries out the input_audio_buffer events of one session."""

    def __init__(self, session_state: SessionState, turns: TurnController) -> None:
        self._state, self._assistant, self._send_queue = (
            session_state,
            session_state.assistant,
            session_state.send_queue,
        )
        self._turns, self._observe = turns, session_state.assistant.services.recorder.observe
        self._format = session_state.config.input_format
        self._decoder = AudioDecoder(self._format)
        self._turn_audio = self._assistant.turn_audio(self._format.rate_hz)
        self._ahead = session_state.assistant.read_ahead(session_state.config.session_id)
        self._input_transcription = InputTranscription(session_state, turns)
        recognition = self._assistant.recognition
        self._live = LiveRecognition(recognition, self._show_words) if recognition else None
        self._item_id = f"item_{new_id()}"
        self._idle_timer = IdleTimer()
        self._unheard: deque[tuple[Pcm, str | None]] = deque()
        self._unheard_samples = 0
        self._heard_all, self._room = asyncio.Event(), asyncio.Event()
        self._heard_all.set()
        self._room.set()
        self._hearing: asyncio.Task[None] | None = None
        self.reconfigure()

    def reconfigure(self) -> None:
        """Follow the session's settings; sound in the buffer that they leave behind is told."""
        detection, encoding = self._state.config.turn_detection, self._state.config.input_format
        speaking, question = self._turn_audio.speaking, self._turn_audio.question
        lost = self._decoder.within_sample and encoding != self._format
        if encoding != self._format:
            self._decoder = AudioDecoder(encoding)
        if encoding.rate_hz != self._format.rate_hz:
            self._turn_audio = self._assistant.turn_audio(
                encoding.rate_hz, heard_ms=self._turn_audio.now_ms
            )
        self._format = encoding
        turns = self._assistant.settings.turns
        self._turn_audio.detect(detection.of_ear(turns) if detection else None)
        if lost or self._turn_audio.question is not question:
            self._send_queue.send({"type": "input_audio_buffer.cleared"})
        if speaking and not self._turn_audio.speaking:
            self._turns.over(answer=False)

    async def append(self, event: wire.BufferAppend, event_id: str | None = None) -> None:
        """Take sound; it is heard in its turn, while the next events are read.

        Raises:
            RequestError: it is no base64. What else is wrong is told when it is heard, under the
                same `event_id`.
        """
        decode = self._decoder.push
        if len(event.audio) > _LONG_APPEND_CHARS:
            pcm = await asyncio.to_thread(decode, event.audio, "audio")
        else:
            pcm = decode(event.audio, "audio")
        await self._room.wait()
        self._unheard.append((pcm, event_id))
        self._unheard_samples += len(pcm)
        if self._unheard_samples > _MAX_UNHEARD_S * self._format.rate_hz:
            self._room.clear()
        self._heard_all.clear()
        if self._hearing is None or self._hearing.done():
            work = named("input audio", self._hear_all)
            self._hearing = self._state.tasks.create_task(work, name="session.hear")

    async def heard_all(self) -> None:
        """Wait until everything appended has been heard."""
        await self._heard_all.wait()

    @property
    def behind(self) -> bool:
        """Whether appended sound waits to be heard."""
        return not self._heard_all.is_set()

    async def _hear_all(self) -> None:
        while self._unheard:
            pcm, event_id = self._unheard[0]
            told: set[str] = set()
            block = self._format.rate_hz // _BLOCKS_PER_S
            for at in range(0, len(pcm), block):
                try:
                    await self._hear(pcm[at : at + block])
                except StepAudioError as error:
                    # What follows in the same append is still heard; one error of a kind is told.
                    if error.code not in told:
                        out = error_event(error, event_id=event_id)
                        if isinstance(error, AudioError):
                            out["error"]["param"] = "audio"
                        self._send_queue.send(out)
                    told.add(error.code)
            self._unheard.popleft()
            self._unheard_samples -= len(pcm)
            if self._unheard_samples <= _MAX_UNHEARD_S * self._format.rate_hz:
                self._room.set()
        self._heard_all.set()

    async def _hear(self, pcm: Pcm) -> None:
        failure: StepAudioError | None = None
        for heard in await self._assistant.hear(self._turn_audio, pcm):
            try:
                if isinstance(heard, Paused) and await self._goes_on(heard):
                    break  # what else this piece brought is of the same sound
                self._on(heard)
            except StepAudioError as error:  # the turns behind it in this piece are not lost
                failure = failure or error
        if self._turn_audio.speaking:
            self._turns.confirm(self._turn_audio.spoken_ms)
            await self._watch_words()
        self._read_ahead()
        await self._watch_silence()
        if failure is not None:
            raise failure

    async def _watch_words(self) -> None:
        """With semantic_vad: end the turn after its silence, unless its words sound unfinished.

        What the person said is known from the early answer, where the model writes it down first.
        """
        detection = self._state.config.turn_detection
        if detection is None or detection.kind != "semantic_vad":
            return  # the detector itself ends the turn
        if self._turn_audio.silent_ms < detection.silence_ms:
            return
        words = await self._turns.words(_WORDS_S)
        if words is None and self._live is not None:
            words = await self._live.words(_WORDS_S)
        if words is None or not goes_on(words):
            self._on(await self._assistant.end_turn(self._turn_audio))

    async def _watch_silence(self) -> None:
        """After an answer and long silence, commit the silence and let the model speak."""
        detection = self._state.config.turn_detection
        if detection is None:
            return
        quiet = self._turns.quiet and not self._turn_audio.speaking
        silence = self._idle_timer.hear(self._turn_audio.now_ms, detection.idle_ms, quiet=quiet)
        if silence is None:
            return
        taken = await self._assistant.take_silence(self._turn_audio)
        self._tell("timeout_triggered", audio_start_ms=silence[0], audio_end_ms=silence[1])
        self._commit(*taken)
        self._turns.over(answer=detection.create_response)

    def _read_ahead(self) -> None:
        question, config = self._turn_audio.question, self._state.config
        if question is None:
            return
        if self._live is not None and self._words_wanted_now:
            self._live.follow(question, config.recognition_hints)
        if self._assistant.reads_ahead and self._ahead.due(question):
            system = self._assistant.system_text(config.instructions, config.style_lines)
            tools = self._assistant.told_tools(config.tool_specs, config.choice)
            self._ahead.follow(
                self._state.conversation, question, system, tools, config.style.exchange
            )

    @property
    def open(self) -> bool:
        """Whether a turn that the server finds is being spoken."""
        return self._turn_audio.speaking

    @property
    def _words_wanted_now(self) -> bool:
        """Whether words are of use while they are spoken; the history can wait for them."""
        config, detection = self._state.config, self._state.config.turn_detection
        answered = self._assistant.services.chat_model is not None
        judged = detection is not None and detection.kind == "semantic_vad"
        return answered or judged or config.transcription is not None

    def note(self, item: Item) -> None:
        """A client made an item: its sound becomes words, where the history takes words."""
        self._input_transcription.note(item)

    async def close(self) -> None:
        """Stop hearing, and what runs ahead of the question and behind it."""
        if self._hearing is not None:
            self._hearing.cancel()
            await asyncio.wait([self._hearing])
        await self._input_transcription.close()
        await self._ahead.close()
        if self._live is not None:
            await self._live.close()

    async def commit(self, _: wire.BufferCommit) -> None:
        """End the question here. Raises RequestError: it is too short."""
        length_ms = self._turn_audio.duration_ms
        if length_ms < MIN_QUESTION_MS:
            raise RequestError(
                f"the buffer holds {length_ms} ms; append at least {MIN_QUESTION_MS} ms",
                code="input_audio_buffer_commit_empty",
            )
        detected = self._turn_audio.speaking
        taken = await self._assistant.take(self._turn_audio)
        assert taken is not None
        self._turns.touch()
        self._commit(*taken)
        if detected:
            self._turns.over(answer=False)

    async def clear(self, _: wire.BufferClear) -> None:
        """Forget what was appended, and say so."""
        self.forget()
        self._send_queue.send({"type": "input_audio_buffer.cleared"})

    def forget(self) -> None:
        """Forget what was appended."""
        speaking = self._turn_audio.speaking
        self._turn_audio.clear()
        self._decoder = AudioDecoder(self._format)
        if speaking:
            self._turns.over(answer=False)

    async def _goes_on(self, heard: Paused) -> bool:
        """Return whether the sound that is over interrupted a response that now goes on."""
        if not self._turns.interrupted:
            return False
        ends = await self._turns.ends_answer(heard.question, heard.spoken_ms)
        goes_on = self._turns.interrupted and not ends  # it may have been cancelled meanwhile
        if goes_on:
            self._turn_audio.clear()
            self._tell("speech_stopped", audio_end_ms=self._turn_audio.now_ms)
            self._send_queue.send({"type": "input_audio_buffer.cleared"})
            self._item_id = f"item_{new_id()}"
        self._turns.judged(ends=ends)
        return goes_on

    def _on(self, heard: TurnEvent) -> None:
        detection = self._state.config.turn_detection
        assert detection is not None
        match heard:
            case Started():
                if not heard.again:
                    self._tell("speech_started", audio_start_ms=heard.at_ms)
                self._turns.speech(interrupt=detection.interrupt_response, again=heard.again)
                if self._live is not None:
                    self._live.resume()
            case Paused():
                if self._live is not None and self._words_wanted_now:
                    self._live.pause(heard.question, self._state.config.recognition_hints)
                early = heard.guess and detection.create_response
                self._turns.pause(self._item_id, heard.question if early else None)
            case Stopped():
                self._observe("endpoint_delay_s", (self._turn_audio.now_ms - heard.at_ms) / 1000)
                self._tell("speech_stopped", audio_end_ms=self._turn_audio.now_ms)
                try:
                    self._commit(heard.question, heard.duration_s)
                except StepAudioError:
                    self._turns.over(answer=False)
                    raise
                self._turns.over(answer=detection.create_response)

    def _tell(self, what: str, **facts: int) -> None:
        self._send_queue.send(
            {"type": f"input_audio_buffer.{what}", "item_id": self._item_id, **facts}
        )

    def _show_words(self, words: str) -> None:
        """Tell a client that wants transcripts what was said so far."""
        if self._state.config.transcription is not None:
            self._state.shown_words[self._item_id] = (
                self._state.shown_words.get(self._item_id, "") + words
            )
            self._send_queue.send(transcript_delta(self._item_id, words))

    def _commit(self, question: SpokenQuestion, duration_s: float) -> None:
        item = UserAudio.spoken(self._item_id, question)
        self._item_id = f"item_{new_id()}"
        self._turns.commit(item, duration_s)
        previous = shown_before(self._state.conversation, item.item_id)
        facts = {"item_id": item.item_id, "previous_item_id": previous}
        self._send_queue.send({"type": "input_audio_buffer.committed", **facts})
        for out in item_events(self._state.conversation, item):
            self._send_queue.send(out)
        self._input_transcription.want(item)
