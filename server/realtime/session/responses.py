"""Answers as one session gives them: prepared, announced, ended, cut to what was heard."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from server.realtime.session.response_task import ResponseTask
from server.realtime.session.state import SessionState
from server.realtime.wire.items import shown_before
from server.realtime.wire.response_events import Event, ResponseTranslator
from server.realtime.wire.session_config import SessionConfig
from step_audio.core.errors import StepAudioError
from step_audio.core.types import SamplingParams
from step_audio.dialog.ids import new_id
from step_audio.dialog.prompting.context_window import Usage
from step_audio.dialog.prompting.conversation import Answer, Conversation, UserAudio
from step_audio.dialog.response.pipeline import AnswerEvent

BETA_TEMPERATURE: Final = 0.8
"""The beta shape's own default, which its clients send unasked: it means the profile's."""

Ended = Callable[[ResponseTask, StepAudioError | None], None]


@dataclass(frozen=True, slots=True)
class ResponseRequest:
    """What an answer is asked for with.

    Attributes:
        config: what holds for it.
        metadata: of the client, given back.
        conversation: where it is written; None: the session's.
        text: what to say, None to ask the model.
        out_of_band: it is not part of the conversation.
        warnings: what the client asked for and does not get; told when the response begins.
    """

    config: SessionConfig
    metadata: dict[str, Any] | None = None
    conversation: Conversation | None = None
    text: str | None = None
    out_of_band: bool = False
    warnings: tuple[dict[str, Any], ...] = ()


@dataclass(slots=True)
class ActiveResponse:
    """One answer: who runs it, and what is known of it.

    Attributes:
        conversation: where it is written: a fork, while it is held back.
        started_s: when it was started. heard_from_s: when its first sound left.
        question: the spoken item that it answers.
        begun: items of `conversation` before it.
        last_response_id: of the newest response that the client saw of it.
    """

    response_task: ResponseTask
    wanted: ResponseRequest
    conversation: Conversation
    answer_id: str
    started_s: float
    question: UserAudio | None = None
    heard_from_s: float | None = None
    usage: Usage = field(default_factory=Usage)
    begun: int = 0
    last_response_id: str | None = None

    @property
    def response_id(self) -> str | None:
        """Of the response that the client sees running."""
        translator = self.response_task.translator
        return translator.response_id if translator else None

    @property
    def calls(self) -> bool:
        """Whether the response that the client sees has called one of its tools."""
        translator = self.response_task.translator
        return translator is not None and translator.calls


class Responses:
    """Starts responses and tells the client of them; when is for the turn controller to say."""

    def __init__(self, session_state: SessionState) -> None:
        self._state, self._send_queue = session_state, session_state.send_queue
        self._assistant, self._clock = (
            session_state.assistant,
            session_state.assistant.services.clock,
        )

    def prepare(
        self,
        wanted: ResponseRequest,
        *,
        on_audio: Callable[[ResponseTask], None],
        on_end: Ended,
        after: ResponseTask | None = None,
    ) -> ActiveResponse:
        """Start an answer; nothing of it leaves before it is announced."""
        into = wanted.conversation or self._state.conversation
        keep = self._assistant.settings.turns.resume_ms > 0 and not wanted.out_of_band
        response_task = ResponseTask(self._send_queue, on_audio=on_audio, on_end=on_end, keep=keep)
        question = into.last_question() if wanted.text is None else None
        speech = ActiveResponse(
            response_task,
            wanted,
            into,
            f"item_{new_id()}",
            self._clock.now_s(),
            question if isinstance(question, UserAudio) else None,
            begun=len(into),
        )
        response_task.start(self._answer(speech), self._state.tasks, after)
        return speech

    def announce(self, speech: ActiveResponse) -> None:
        """Let an answer out."""
        speech.response_task.release(self._translator(speech))

    def end(self, speech: ActiveResponse, reason: str, *, interrupted: bool) -> None:
        """Tell the client that the response is over, after dropping its sound."""
        translator = speech.response_task.translator
        if translator is None:
            return
        unsent = self._send_queue.silence(translator.response_id)
        unsent_ms = unsent // speech.wanted.config.output_format.bytes_per_ms
        self.cut(speech, interrupted=interrupted, sent_ms=translator.sound_ms - unsent_ms)
        self._emit(translator.finish("cancelled", reason=reason))

    def finish(self, speech: ActiveResponse, failure: StepAudioError | None) -> None:
        """Tell the client that the response is complete, what it reached or what broke it."""
        translator = speech.response_task.translator
        if translator is None:
            return
        if failure is not None:
            self._emit(translator.finish("failed", error=failure))
        elif speech.usage.cut_off:
            self._emit(translator.finish("incomplete", reason="max_output_tokens"))
        else:
            self._emit(translator.finish("completed"))

    def go_on(self, speech: ActiveResponse) -> None:
        """Say the rest of an answer that a sound broke into, as an item of its own."""
        conversation = self._state.conversation
        heard = conversation.get(speech.answer_id)
        assert isinstance(heard, Answer)
        rest = heard.go_on(f"item_{new_id()}")
        conversation.add(rest, after=heard.item_id)
        speech.answer_id, speech.heard_from_s, speech.question = rest.item_id, None, None
        speech.response_task.resume(self._translator(speech), rest.text, heard.duration_ms)

    def heard_ms(self, speech: ActiveResponse) -> int | None:
        """Return how much of an answer can have been heard by now; None: all that was sent.

        In the time of the model's own speech: an answer sent twice as fast is heard in half of it.
        """
        conversation = self._state.conversation
        if speech.wanted.config.modality == "text" or not conversation.has(speech.answer_id):
            return None
        said = conversation.get(speech.answer_id)
        if speech.heard_from_s is None:
            return 0 if isinstance(said, Answer) and said.duration_ms else None
        elapsed_ms = (self._clock.now_s() - speech.heard_from_s) * 1000
        heard_ms = int(elapsed_ms * speech.wanted.config.pace)
        return heard_ms if isinstance(said, Answer) and heard_ms < said.duration_ms else None

    def cut(self, speech: ActiveResponse, *, interrupted: bool, sent_ms: int | None = None) -> None:
        """Shorten the history to what can have been heard; the client may know better.

        Args:
            speech: what was cut short.
            interrupted: by speech, so that what was sent may not all have been heard.
            sent_ms: sound that was sent; None: all.
        """
        if speech.conversation is not self._state.conversation:
            return
        config = speech.wanted.config
        most_ms = None if sent_ms is None else int(sent_ms * config.pace)
        heard_ms = self.heard_ms(speech)
        if interrupted and heard_ms is not None:
            most_ms = heard_ms if most_ms is None else min(most_ms, heard_ms)
        there = self._state.conversation.has(speech.answer_id)
        if most_ms is not None and config.modality == "audio" and there:
            self._state.conversation.truncate(speech.answer_id, most_ms)

    def _answer(self, speech: ActiveResponse) -> AsyncGenerator[AnswerEvent, None]:
        wanted, config = speech.wanted, speech.wanted.config
        if wanted.text is not None:
            return self._assistant.announce(
                speech.conversation,
                wanted.text,
                answer_id=speech.answer_id,
                voice=config.spoken_voice,
                style=config.spoken_style,
                aloud=config.modality == "audio",
            )
        return self._assistant.answer(
            speech.conversation,
            until=speech.conversation.last_id,
            answer_id=speech.answer_id,
            voice=config.spoken_voice,
            instructions=config.instructions,
            style=config.spoken_style,
            style_lines=config.style_lines,
            exchange=config.style.exchange,
            sampling=_sampling(self._assistant.settings.sampling, config),
            client_tools=config.tool_specs,
            choice=config.choice,
            aloud=config.modality == "audio",
            session=config.session_id,
            usage=speech.usage,
            go_ahead=speech.response_task.released,
            early=lambda: speech.response_task.early,
            background_calls=None if speech.wanted.out_of_band else self._state.background_calls,
            hints=self._state.config.recognition_hints,
        )

    def _translator(self, speech: ActiveResponse) -> ResponseTranslator:
        question, wanted = speech.question, speech.wanted
        asked = question is not None and wanted.config.transcription is not None
        if question is not None and question.transcript is not None:
            asked = False  # told with an earlier response
        question_id = question.item_id if question and asked and not wanted.out_of_band else None
        self._state.speeds[speech.answer_id] = wanted.config.pace
        speech.last_response_id = f"resp_{new_id()}"
        return ResponseTranslator(
            response_id=speech.last_response_id,
            answer_id=speech.answer_id,
            conversation_id=self._state.conversation_id,
            config=wanted.config,
            before=lambda item_id: shown_before(self._state.conversation, item_id),
            metadata=wanted.metadata,
            question=question_id,
            question_s=self._state.spoken_s.get(question_id or "", 0.0),
            usage=speech.usage,
            out_of_band=wanted.out_of_band,
            warnings=wanted.warnings,
            told=self._state.told,
            shown_words=self._state.shown_words,
        )

    def _emit(self, events: list[Event]) -> None:
        for event in events:
            self._send_queue.send(event)


def _sampling(sampling: SamplingParams, config: SessionConfig) -> SamplingParams:
    if config.max_output_tokens is not None:
        most = min(sampling.max_tokens, config.max_output_tokens)
        sampling = replace(sampling, max_tokens=most)
    if config.temperature is not None and config.temperature != BETA_TEMPERATURE:
        sampling = replace(sampling, temperature=config.temperature)
    return sampling
