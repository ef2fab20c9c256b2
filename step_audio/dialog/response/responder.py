"""What the assistant answers: turns of a model, with tools in between.

`ModelResponder` serves models that write text and sound themselves (AQAA, nano) and, with a
`Cascade`, those that write text alone (Step-Audio-Chat, chat models behind an endpoint).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from step_audio.core.errors import InputError
from step_audio.core.ports import Services
from step_audio.core.types import (
    AudioChunk,
    Reasoning,
    TextDelta,
    TokenGroup,
    ToolCall,
    ToolResult,
    Transcript,
    VoiceChange,
)
from step_audio.dialog.prompting.conversation import (
    ROOT,
    Answer,
    Conversation,
    Question,
    UserAudio,
    language_of,
)
from step_audio.dialog.response.cascade import Cascade, Heard
from step_audio.dialog.response.manner_turn import in_manner
from step_audio.dialog.response.options import AnswerOptions
from step_audio.dialog.response.turn import ModelTurn, TurnEvent
from step_audio.dialog.tool_calls.background import BackgroundCalls
from step_audio.dialog.tool_calls.round import ToolRound, apart, behind
from step_audio.dialog.tool_calls.tool_choice import FREE, NO_TOOLS, ToolChoice

Response = (
    Transcript
    | Reasoning
    | TextDelta
    | TokenGroup
    | AudioChunk
    | ToolCall
    | ToolResult
    | VoiceChange
)


Read = Callable[[str, AnswerOptions], AsyncGenerator[TokenGroup | AudioChunk, None]]
"""Reads a text aloud, in the voice and style of an answer."""


class Responder(Protocol):
    """Answers an item of a conversation and records what it says there."""

    def respond(
        self, conversation: Conversation, options: AnswerOptions
    ) -> AsyncGenerator[Response, None]: ...


class ReadingResponder:
    """Stands where a deployment only reads texts aloud."""

    def respond(
        self, conversation: Conversation, options: AnswerOptions
    ) -> AsyncGenerator[Response, None]:
        """Raise InputError: there is nobody to talk to."""
        raise InputError("this deployment only reads aloud; send texts to /v1/audio/speech")


class ModelResponder:
    """A model's turns; tool calls are carried out between them."""

    def __init__(
        self,
        services: Services,
        turns: ModelTurn,
        *,
        max_rounds: int = 3,
        cascade: Cascade | None = None,
        read: Read | None = None,
        manners: Collection[str] = (),
    ) -> None:
        """Prepare.

        Args:
            turns: by ids, or by messages.
            cascade: speaks what the model writes; None: the model speaks itself.
            read: speaks the words that bridge a long call; None: they are only written.
            manners: that the vocoder does itself; none: tags in an answer are words.
        """
        self._cascade = cascade
        self._services = services
        self._turns = turns
        self._max_rounds = max_rounds
        self._read = read
        self._manners = frozenset(manners)

    async def respond(
        self, conversation: Conversation, options: AnswerOptions
    ) -> AsyncGenerator[Response, None]:
        """Yield the answer as it is generated; everything yielded is in the conversation.

        A transcript comes first where there is one. The words in front of calls belong to the
        same answer as those behind them; in the books they stand behind the results. Calls of
        server-side tools run side by side and are followed by their results and another turn of
        the model. One that takes long is bridged by a few words; one that takes longer still is
        left to `background_calls`, as if not made yet. A call of a client's tool ends the
        answer. A failed tool is told to the model, which may apologise. After too many rounds of
        tools the model is asked for its answer without any.

        Raises:
            EngineError: the engine broke or was late.
            InputError: the model's context is too small for any prompt.
        """
        answer = Answer(options.answer_id, read_aloud=self._cascade is not None)
        tail, choice = options.until, options.choice
        question = conversation.last_question(until=tail)
        for round_ in range(self._max_rounds + 1):
            if round_ == self._max_rounds:
                # Still no answer: it is asked for without any tools.
                choice, options = NO_TOOLS, replace(options, tools=())
                self._services.recorder.observe("tool_rounds.ended", 1)
            resumed = answer.started
            calls: list[ToolCall] = []
            written = self._turns.generate(conversation, options, tail, choice)
            turn = self._delivered(self._held_to(choice, written), options)
            async with aclosing(turn) as events:
                async for event in events:
                    if isinstance(event, ToolCall):
                        calls.append(event)
                        continue
                    if isinstance(event, TextDelta | TokenGroup | AudioChunk):
                        if not answer.started:
                            conversation.add(answer, after=tail or ROOT)
                            tail = answer.item_id
                        tail = behind(answer, tail, conversation)
                        if resumed and isinstance(event, TextDelta):
                            event, resumed = apart(event, answer), False  # noqa: PLW2901
                        answer.add(event)
                    elif isinstance(event, Transcript):
                        _note(event, question, conversation)
                    yield event
            if not calls:
                return
            if choice.requires:
                choice = FREE  # the result may be answered
            work = ToolRound(conversation, calls, options.client_tools, tail)
            async with aclosing(self._carry_out(work, options, answer)) as done:
                async for done_or_said in done:
                    yield done_or_said
            tail = work.tail
            if not work.results or len(work.internal) < len(calls):
                return

    def _delivered(
        self, turn: AsyncGenerator[TurnEvent, None], options: AnswerOptions
    ) -> AsyncGenerator[Heard, None]:
        """Return a turn as it is heard, or read: without the style tags in its text."""
        if self._cascade is None:
            if not self._manners:
                return turn
            return in_manner(turn, options.voice, options.style, self._manners)
        if options.aloud:
            return self._cascade.speak(turn, options.voice, options.style)
        return self._cascade.written(turn)

    async def _held_to(
        self, choice: ToolChoice, turn: AsyncGenerator[TurnEvent, None]
    ) -> AsyncGenerator[TurnEvent, None]:
        """Pass a turn on without forbidden calls; count what became of required ones."""
        recorder, called = self._services.recorder, False
        async with aclosing(turn) as events:
            async for event in events:
                if isinstance(event, ToolCall) and choice.forbids:
                    recorder.observe("tool_choices.dropped", 1)
                    continue
                called |= isinstance(event, ToolCall)
                yield event
        if choice.requires:
            recorder.observe(f"tool_choices.{'met' if called else 'unmet'}", 1)

    async def _carry_out(
        self, work: ToolRound, options: AnswerOptions, answer: Answer
    ) -> AsyncGenerator[Response, None]:
        """Run the calls of one turn side by side; yield them, what is said meanwhile, results."""
        for call in work.calls:  # in the books by now: whoever hears of it may answer at once
            yield call
        background_calls = options.background_calls or self._own_background_calls()
        if options.go_ahead is not None and not self._callable_early(work.internal):
            await options.go_ahead()
        tasks = [(call, background_calls.send(call)) for call in work.internal]
        try:
            async for event in self._meanwhile(
                background_calls,
                [task for _, task in tasks],
                options,
                language_of(work.conversation.up_to(work.tail)),
            ):
                work.said(answer)
                answer.add(event)
                yield event
            if options.go_ahead is not None and not all(task.done() for _, task in tasks):
                await options.go_ahead()  # only of an answer that is given is a late result told
        except BaseException:  # the answer was cut off; what was asked of tools was not
            for call, task in tasks:
                work.put_off(call)
                if options.early():  # nobody asked: the question went on
                    task.cancel()
                else:
                    background_calls.defer(call, task)
            raise
        for call, task in tasks:
            if task.done():
                yield work.returned(task.result())
            else:
                work.put_off(call)
                background_calls.defer(call, task)

    def _callable_early(self, calls: Sequence[ToolCall]) -> bool:
        """Whether none of these calls has to wait until the answer is sure to be given."""
        early = {tool.name for tool in self._services.tools.specs() if tool.callable_early}
        return all(call.name in early for call in calls)

    async def _meanwhile(
        self,
        background_calls: BackgroundCalls,
        tasks: Sequence[asyncio.Task[ToolResult]],
        options: AnswerOptions,
        language: str | None,
    ) -> AsyncGenerator[TextDelta | TokenGroup | AudioChunk, None]:
        """Wait for calls, as long as an answer may, and say a few words when that takes long."""
        settings = background_calls.settings
        wait_s = settings.wait_s
        bridge = settings.bridge_in(language)
        if bridge and not await background_calls.settled(tasks, settings.bridge_after_s):
            yield TextDelta(f"{bridge} ")
            if self._read is not None and options.aloud:
                async with aclosing(self._read(bridge, options)) as groups:
                    async for group in groups:
                        yield group
            wait_s = None if wait_s is None else max(0.0, wait_s - settings.bridge_after_s)
        await background_calls.settled(tasks, wait_s)

    def _own_background_calls(self) -> BackgroundCalls:
        services = self._services
        return BackgroundCalls(
            services.tools, services.recorder, services.clock, self._turns.failure
        )


def _note(heard: Transcript, question: Question | None, conversation: Conversation) -> None:
    """Write down what was heard in a question, if that is still there."""
    known = isinstance(question, UserAudio) and question.transcript is None
    if isinstance(question, UserAudio) and known and conversation.has(question.item_id):
        conversation.transcribe(question.item_id, heard)
