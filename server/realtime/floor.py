"""Who speaks: feeds the turn table and does what it says, one answer at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Any, Final

from server.errors import RequestError
from server.realtime.answering import Answering
from server.realtime.config import SessionConfig
from server.realtime.items import shown_before
from server.realtime.talk import Talk
from server.realtime.translate import ResponseTranslator
from step_audio.core.errors import Overloaded, StepAudioError, TurnError
from step_audio.core.types import SamplingParams, TokenGroup
from step_audio.dialog.conversation import Answer, Conversation, UserAudio
from step_audio.dialog.run import AnswerEvent
from step_audio.dialog.session import new_id
from step_audio.dialog.turn import A, Action, E, Event, S, State, step

MAX_WAITING: Final = 16


@dataclass(slots=True)
class _Current:
    """The answer that has the floor, or had it last.

    `conversation` is where it is written: a fork, while it is held. `heard_from_s` is when its
    first sound left, and `started_s` when it was started.
    """

    answering: Answering
    conversation: Conversation
    config: SessionConfig
    answer_id: str
    started_s: float
    metadata: dict[str, Any] | None = None
    question: UserAudio | None = None
    heard_from_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Wish:
    """An answer that the server wants to give: to what the conversation holds, or a text."""

    text: str | None = None


class Floor:
    """The turn machine of one session at work."""

    def __init__(self, talk: Talk) -> None:
        self.state: State = S.LISTENING
        self._talk, self._outlet, self._conversation = talk, talk.outlet, talk.conversation
        self._assistant, services = talk.assistant, talk.assistant.services
        self._clock, self._observe = services.clock, services.recorder.observe
        self._current: _Current | None = None
        self._wishes: deque[_Wish] = deque()
        self._user_speaks = False

    # --- what the user does -------------------------------------------------------------------

    def speech(self, *, interrupt: bool, again: bool) -> None:
        """The user began to speak, or goes on after a pause."""
        self._user_speaks = True
        audible = self.state in (S.THINKING, S.SPEAKING)
        if self.state is S.YIELDING or (audible and not interrupt):
            return
        if self._may_resume() and not again:
            self._feed(E.DISTURBED)
            return
        if not audible:
            self._cut(self._current)  # all was sent, and perhaps not all was heard
        self._feed(E.SPEECH_STARTED)

    def confirm(self, spoken_ms: int) -> None:
        """The user has spoken for so long: no false alarm, if long enough."""
        if self.state is S.YIELDING and spoken_ms >= self._assistant.settings.turns.resume_ms:
            self._feed(E.CONFIRMED)

    def pause(self, item_id: str, groups: tuple[TokenGroup, ...]) -> None:
        """The user fell silent; with groups, an early answer is worth it."""
        if self.state is not S.HEARING:
            return
        self._feed(E.PAUSED)
        if groups:
            fork = self._conversation.fork()
            try:
                fork.add(UserAudio(item_id, groups))
            except StepAudioError:  # the commit will say what is wrong
                return
            self._prepare(self._talk.config, conversation=fork)
            self._feed(E.GUESSED)

    @property
    def yielding(self) -> bool:
        """Whether an answer waits for the end of a sound that may be no speech."""
        return self.state is S.YIELDING

    def false_alarm(self) -> None:
        """The sound that broke into an answer ended at once: the answer goes on."""
        self._user_speaks = False
        self._feed(E.FALSE_ALARM)

    def commit(self, item: UserAudio, duration_s: float) -> None:
        """Add the user's question. Raises Overloaded, DuplicateItem."""
        if self.state is S.YIELDING:
            self._feed(E.CONFIRMED)
        self._talk.spoken_s[item.item_id] = duration_s
        if self.state is S.SPECULATING and self._current is not None:
            self._conversation.adopt(self._current.conversation)
        else:
            self._conversation.add(item)

    def over(self, *, answer: bool) -> None:
        """The user's turn is over."""
        self._user_speaks = False
        if self.state in (S.THINKING, S.SPEAKING):
            if answer:
                self.when_free()
        elif not answer:
            self._feed(E.DROPPED)
        else:
            if self.state is not S.SPECULATING:
                self._prepare(self._talk.config)
            self._feed(E.COMMITTED)

    # --- what the client does -----------------------------------------------------------------

    def ask(self, config: SessionConfig, metadata: dict[str, Any] | None) -> None:
        """Answer now. Raises RequestError: an answer is under way."""
        self.touch()
        if self.state is S.YIELDING:
            self._feed(E.CONFIRMED)
        if (self.state, E.COMMITTED) not in _ASKABLE:
            raise RequestError(
                "a response is already in progress; cancel it or wait for response.done",
                code="conversation_already_has_active_response",
            )
        self._prepare(config, metadata=metadata)
        self._feed(E.COMMITTED)

    def cancel(self, response_id: str | None) -> None:
        """Stop the response under way. Raises RequestError: there is none, or another one."""
        current = self._current
        running = current.answering.translator if current else None
        if running is None or response_id not in (None, running.response_id):
            raise _nothing_to_cancel()
        try:
            self._feed(E.CLIENT_CANCEL)
        except TurnError:
            raise _nothing_to_cancel() from None

    def touch(self) -> None:
        """The conversation or the settings change: an early answer no longer holds."""
        if self.state is S.SPECULATING:
            self._feed(E.STALE)

    # --- what the server wants ----------------------------------------------------------------

    def when_free(self, text: str | None = None) -> None:
        """Answer the conversation as it then is, or say a text, as soon as nobody speaks.

        Raises:
            Overloaded: too much waits already.
        """
        if len(self._wishes) >= MAX_WAITING:
            raise Overloaded("too many answers wait for the floor")
        self._wishes.append(_Wish(text))
        self._next()

    async def close(self) -> None:
        """Stop what runs."""
        self._wishes.clear()
        if self._current is not None:
            self._current.answering.stop()
            await self._current.answering.stopped()

    # --- the machine --------------------------------------------------------------------------

    def _feed(self, event: Event) -> None:
        self.state, actions = step(self.state, event)
        for action in actions:
            self._do(action)
        self._next()

    def _do(self, action: Action) -> None:
        current = self._current
        assert current is not None
        if action in (A.START_RESPONSE, A.RELEASE):
            self._announce(current, early=action is A.RELEASE)
        elif action is A.CANCEL_RESPONSE:
            self._end(current, "turn_detected" if self._user_speaks else "client_cancelled")
            current.answering.stop()
        elif action is A.DISCARD:
            if current.answering.translator is None and current.heard_from_s is None:
                self._observe("speculations.discarded", 1)
            current.answering.stop()
        elif action is A.SUSPEND:
            if current.answering.translator is None:
                self._cut(current)
            self._end(current, "turn_detected")
            current.answering.suspend()
        elif action is A.RESUME:
            self._go_on(current)

    def _prepare(
        self,
        config: SessionConfig,
        *,
        metadata: dict[str, Any] | None = None,
        conversation: Conversation | None = None,
        text: str | None = None,
    ) -> None:
        """Start an answer; nothing of it leaves before it is announced."""
        into = conversation or self._conversation
        answering = Answering(
            self._outlet,
            on_audio=self._audible,
            on_end=self._ended,
            keep=self._assistant.settings.turns.resume_ms > 0,
        )
        question = into.last_question() if text is None else None
        answer_id = f"item_{new_id()}"
        if text is None:
            answer = self._answer(into, config, answer_id, answering)
        else:
            answer = self._assistant.announce(
                into,
                text,
                answer_id=answer_id,
                voice=config.voice,
                aloud=config.modality == "audio",
            )
        before = self._current
        self._current = _Current(
            answering,
            into,
            config,
            answer_id,
            self._clock.now_s(),
            metadata,
            question if isinstance(question, UserAudio) else None,
        )
        answering.start(answer, self._talk.tasks, before.answering if before else None)

    def _answer(
        self, into: Conversation, config: SessionConfig, answer_id: str, answering: Answering
    ) -> AsyncGenerator[AnswerEvent, None]:
        return self._assistant.answer(
            into,
            until=into.last_id,
            answer_id=answer_id,
            voice=config.voice,
            instructions=config.instructions,
            sampling=_sampling(self._assistant.settings.sampling, config),
            client_tools=config.client_tools,
            aloud=config.modality == "audio",
            session=config.session_id,
            go_ahead=answering.released,
        )

    def _announce(self, current: _Current, *, early: bool) -> None:
        if early:
            current.conversation = self._conversation
            self._observe("speculations.committed", 1)
            self._observe("speculation_saved_s", self._clock.now_s() - current.started_s)
        current.answering.release(self._translator(current, current.answer_id))

    def _translator(self, current: _Current, answer_id: str) -> ResponseTranslator:
        question, config = current.question, current.config
        wanted = question is not None and config.transcription is not None
        question_id = question.item_id if question is not None and wanted else None
        return ResponseTranslator(
            response_id=f"resp_{new_id()}",
            answer_id=answer_id,
            conversation_id=self._talk.conversation_id,
            config=config,
            before=lambda item_id: shown_before(self._conversation, item_id),
            metadata=current.metadata,
            question=question_id,
            question_s=self._talk.spoken_s.get(question_id or "", 0.0),
        )

    def _end(self, current: _Current, reason: str) -> None:
        """Tell the client that the response is over, after dropping its sound."""
        translator = current.answering.translator
        if translator is None:
            return
        unsent_ms = self._outlet.silence(translator.response_id)
        self._cut(current, most_ms=translator.sound_ms - unsent_ms)
        self._emit(translator.finish("cancelled", reason=reason))

    def _go_on(self, current: _Current) -> None:
        """Say the rest of an answer that a sound broke into, as an item of its own."""
        heard = self._conversation.get(current.answer_id)
        assert isinstance(heard, Answer)
        heard_ms = heard.duration_ms
        rest = heard.go_on(f"item_{new_id()}")
        self._conversation.add(rest, after=heard.item_id)
        current.answer_id, current.heard_from_s, current.question = rest.item_id, None, None
        current.answering.resume(self._translator(current, rest.item_id), rest.text, heard_ms)

    def _audible(self, answering: Answering) -> None:
        current = self._current
        if current is None or current.answering is not answering:
            return
        current.heard_from_s = self._clock.now_s()
        if self.state is S.THINKING:
            self._feed(E.FIRST_AUDIO)

    def _ended(self, answering: Answering, failure: StepAudioError | None) -> None:
        current = self._current
        if current is None or current.answering is not answering:
            return
        if answering.translator is None:
            self.touch()
            return
        translator = answering.translator
        self._emit(translator.finish("failed" if failure else "completed", error=failure))
        self._feed(E.FAILED if failure else E.RESPONSE_DONE)

    def _next(self) -> None:
        """Give the floor to what waits for it, once nobody has it."""
        if self.state is not S.LISTENING:
            return
        if self._user_speaks:  # over an answer that was not to be interrupted
            self.state, _ = step(self.state, E.SPEECH_STARTED)
        elif self._wishes:
            self._prepare(self._talk.config, text=self._wishes.popleft().text)
            self._feed(E.COMMITTED)

    def _may_resume(self) -> bool:
        if not self._assistant.settings.turns.resume_ms or self._current is None:
            return False
        return self.state is S.SPEAKING or (
            self.state is S.LISTENING and self._heard_ms(self._current) is not None
        )

    def _heard_ms(self, current: _Current) -> int | None:
        """Return how much of an answer can have been heard by now; None: all that was sent."""
        if current.config.modality == "text" or not self._conversation.has(current.answer_id):
            return None
        if current.heard_from_s is None:
            return 0
        said = self._conversation.get(current.answer_id)
        elapsed_ms = int((self._clock.now_s() - current.heard_from_s) * 1000)
        unheard = isinstance(said, Answer) and elapsed_ms < said.duration_ms
        return elapsed_ms if unheard else None

    def _cut(self, current: _Current | None, most_ms: int | None = None) -> None:
        """Shorten the history to what can have been heard; the client may know better."""
        if current is None or current.conversation is not self._conversation:
            return
        heard_ms = self._heard_ms(current)
        if self._user_speaks and heard_ms is not None:
            most_ms = heard_ms if most_ms is None else min(most_ms, heard_ms)
        aloud = current.config.modality == "audio"
        if most_ms is not None and aloud and self._conversation.has(current.answer_id):
            self._conversation.truncate(current.answer_id, most_ms)

    def _emit(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            self._outlet.send(event)


_ASKABLE: Final = {(state, E.COMMITTED) for state in (S.LISTENING, S.HEARING, S.PAUSING)}


def _nothing_to_cancel() -> RequestError:
    return RequestError(
        "Cancellation failed: no active response found", code="response_cancel_not_active"
    )


def _sampling(sampling: SamplingParams, config: SessionConfig) -> SamplingParams:
    if config.max_output_tokens is None:
        return sampling
    return replace(sampling, max_tokens=min(sampling.max_tokens, config.max_output_tokens))
