"""What the assistant answers: ids from the engine, parsed, with tools in between.

`DirectResponder` serves models that write text and sound themselves (AQAA, nano) and, with a
`Cascade`, those that write text alone (chat).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from step_audio.core.errors import InputError
from step_audio.core.ports import Services
from step_audio.core.profile import LanguageCode
from step_audio.core.types import (
    GenerationRequest,
    TextDelta,
    TokenGroup,
    ToolCall,
    ToolResult,
    Transcript,
    VoiceChange,
)
from step_audio.dialog.prompting.context_window import ContextWindow
from step_audio.dialog.prompting.conversation import (
    ROOT,
    Answer,
    Conversation,
    Item,
    UserAudio,
    language_of,
)
from step_audio.dialog.prompting.tool_syntax import MarkerSyntax, ToolSyntax
from step_audio.dialog.response.call_filter import CallFilter
from step_audio.dialog.response.cascade import Cascade
from step_audio.dialog.response.degeneration import DegenerationGuard
from step_audio.dialog.response.options import AnswerOptions
from step_audio.dialog.response.parser import Parsed, TokenParser
from step_audio.dialog.response.token_stream import TokenTimeouts, generate
from step_audio.dialog.tool_calls.background import BackgroundCalls
from step_audio.dialog.tool_calls.round import ToolRound, apart, behind
from step_audio.dialog.tool_calls.tool_choice import FREE, NO_TOOLS, ToolChoice

Response = Transcript | TextDelta | TokenGroup | ToolCall | ToolResult | VoiceChange


Read = Callable[[str, AnswerOptions], AsyncGenerator[TokenGroup, None]]
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


class DirectResponder:
    """One model hears, thinks and speaks; tool calls are carried out between its turns."""

    def __init__(
        self,
        services: Services,
        new_id: Callable[[], str],
        context: ContextWindow,
        *,
        max_rounds: int = 3,
        patience: TokenTimeouts = TokenTimeouts(),  # noqa: B008 - frozen
        cascade: Cascade | None = None,
        dialect: ToolSyntax | None = None,
        read: Read | None = None,
    ) -> None:
        """Prepare. With a voiceover the model writes text only, and that speaks it.

        Args: `read` speaks the words that bridge a long call; None: they are only written.
        """
        self._cascade = cascade
        self._services = services
        self._new_id = new_id
        self._context = context
        self._max_rounds = max_rounds
        self._patience = patience
        self._dialect = dialect or MarkerSyntax()
        self._read = read

    async def respond(
        self, conversation: Conversation, options: AnswerOptions
    ) -> AsyncGenerator[Response, None]:
        """Yield the answer as it is generated; everything yielded is in the conversation.

        A transcript comes first if the model writes one. The words in front of calls belong to the
        same answer as those behind them; in the books they stand behind the results. Calls of
        server-side tools run side by side and are followed by their results and another turn of
        the model. One that takes long is bridged by a few words; one that takes longer still is
        left to the errands, as if it had not been made yet. A call of a client's tool ends the
        answer. A failed tool is told to the model, which may apologise. After too many rounds of
        tools the model is asked for its answer without any.

        Raises:
            EngineError: the engine broke or was late.
            InputError: the model's context is too small for any prompt.
        """
        answer = Answer(options.answer_id)
        tail, choice = options.until, options.choice
        question = conversation.last_question(until=tail)
        for round_ in range(self._max_rounds + 1):
            if round_ == self._max_rounds:
                # Still no answer: it is asked for without any tools.
                choice, options = NO_TOOLS, replace(options, tools=())
                self._services.recorder.observe("tool_rounds.ended", 1)
            resumed = answer.started
            calls: list[ToolCall] = []
            turn = self._held_to(choice, self._turn(conversation, options, tail, choice))
            async with aclosing(self._delivered(turn, options)) as events:
                async for event in events:
                    if isinstance(event, ToolCall):
                        calls.append(event)
                        continue
                    if not isinstance(event, Transcript | VoiceChange):
                        if not answer.started:
                            conversation.add(answer, after=tail or ROOT)
                            tail = answer.item_id
                        tail = behind(answer, tail, conversation)
                        if resumed and isinstance(event, TextDelta):
                            event, resumed = apart(event, answer), False  # noqa: PLW2901
                        answer.add(event)
                    elif isinstance(event, Transcript):
                        _note(conversation, question, event.text)
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
        self, turn: AsyncGenerator[Parsed, None], options: AnswerOptions
    ) -> AsyncGenerator[Parsed, None]:
        """Return a turn as it is heard, or read, where a second model reads aloud."""
        if self._cascade is None:
            return turn
        if options.aloud:
            return self._cascade.speak(turn, options.voice, options.style)
        return self._cascade.written(turn)

    async def _held_to(
        self, choice: ToolChoice, turn: AsyncGenerator[Parsed, None]
    ) -> AsyncGenerator[Parsed, None]:
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

    async def _turn(
        self,
        conversation: Conversation,
        options: AnswerOptions,
        tail: str | None,
        choice: ToolChoice,
    ) -> AsyncGenerator[Parsed, None]:
        """One assistant turn: prompt, generate, parse; ended early when it has lost its way."""
        vocab, recorder = self._services.vocab, self._services.recorder
        prompt = self._context.prompt(conversation, options.system, tail, options.tools)
        in_text = self._dialect.calls_in_text
        opening = choice.opening(self._dialect) if in_text else ""
        request = GenerationRequest(
            prompt=(*prompt.ids, *self._context.text(opening)) if opening else prompt.ids,
            sampling=options.sampling,
            stop_ids=vocab.stop_ids,
            request_id=self._new_id(),
            form="answer" if self._cascade is None else "text",
            calls=None if in_text else choice.rule(self._context.text),
            transcripts=tuple(self._context.text(phrase) for phrase in options.heard_among),
            session=options.session,
        )
        parser = TokenParser(self._services.text_tokenizer, vocab, self._new_call_id)
        sieve = CallFilter(self._dialect, self._new_call_id) if in_text else None
        if sieve is not None and opening:
            sieve.push(TextDelta(opening))
        guard, usage = DegenerationGuard(vocab), options.usage
        usage.input_text += len(prompt.ids) - prompt.audio_ids
        usage.input_audio += prompt.audio_ids
        usage.left_out = prompt.left_out
        recorder.observe("prompt_ids", len(prompt.ids))
        recorder.observe("prompt_left_out_ids", prompt.left_out)
        clock, count = self._services.clock, 0
        asked_s = first_s = clock.now_s()
        async with aclosing(generate(self._services.engine, request, self._patience)) as ids:
            async for token_id in ids:
                if not count:
                    first_s = clock.now_s()
                    recorder.observe("first_token_s", first_s - asked_s)
                count += 1
                sounds = vocab.is_audio(token_id)
                usage.output_audio += sounds
                usage.output_text += not sounds
                events = _sifted(sieve, parser.push(token_id))
                for event in events:
                    yield event
                if sieve is not None and sieve.over:
                    break
                reason = guard.push(token_id, events)
                if reason is not None:
                    recorder.observe(f"answers_ended.{reason}", 1)
                    break
        for event in [*_sifted(sieve, parser.flush()), *(sieve.flush() if sieve else ())]:
            yield event
        usage.cut_off = count >= options.sampling.max_tokens
        if count > 1 and (took_s := clock.now_s() - first_s) > 0:
            recorder.observe("tokens_per_s", (count - 1) / took_s)
        recorder.observe("answer_anomalies", parser.counts.anomalies)
        if parser.counts.markers:
            recorder.observe("answer_markers", parser.counts.markers)

    async def _carry_out(
        self, work: ToolRound, options: AnswerOptions, answer: Answer
    ) -> AsyncGenerator[Response, None]:
        """Run the calls of one turn side by side; yield them, what is said meanwhile, results."""
        for call in work.calls:  # in the books by now: whoever hears of it may answer at once
            yield call
        background_calls = options.background_calls or self._own_errands()
        if options.go_ahead is not None and work.internal:
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
        except BaseException:  # the answer was cut off; what was asked of tools was not
            for call, task in tasks:
                work.put_off(call)
                background_calls.defer(call, task)
            raise
        for call, task in tasks:
            if task.done():
                yield work.returned(task.result())
            else:
                work.put_off(call)
                background_calls.defer(call, task)

    async def _meanwhile(
        self,
        background_calls: BackgroundCalls,
        tasks: Sequence[asyncio.Task[ToolResult]],
        options: AnswerOptions,
        language: LanguageCode | None,
    ) -> AsyncGenerator[TextDelta | TokenGroup, None]:
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

    def _new_call_id(self) -> str:
        return f"call_{self._new_id()}"

    def _own_errands(self) -> BackgroundCalls:
        services = self._services
        return BackgroundCalls(
            services.tools, services.recorder, services.clock, self._dialect.failure
        )


def _note(conversation: Conversation, question: Item | None, heard: str) -> None:
    """Write down what the model heard, unless that is known already."""
    if isinstance(question, UserAudio) and question.transcript is None:
        conversation.transcribe(question.item_id, heard)


def _sifted(sieve: CallFilter | None, events: Iterable[Parsed]) -> list[Parsed]:
    """Return events with the calls taken out of their text, where calls stand there."""
    if sieve is None:
        return list(events)
    return [out for event in events for out in sieve.push(event)]
