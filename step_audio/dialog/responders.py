"""What the assistant answers: ids from the engine, parsed, with tools in between.

`DirectResponder` serves models that write text and sound themselves (AQAA, nano) and, with a
`Voiceover`, those that write text alone (chat).
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from step_audio.core.errors import InputError, ToolError
from step_audio.core.ports import Services
from step_audio.core.types import (
    GenerationRequest,
    SamplingParams,
    TextDelta,
    TokenGroup,
    ToolCall,
    ToolResult,
    Transcript,
    Voice,
)
from step_audio.dialog.context import Context, Usage
from step_audio.dialog.conversation import (
    ROOT,
    Answer,
    Called,
    Conversation,
    Returned,
    UserAudio,
    call_item_id,
)
from step_audio.dialog.generation import Patience, generate
from step_audio.dialog.guard import Guard
from step_audio.dialog.interleave import InterleaveParser
from step_audio.dialog.voiceover import Voiceover

Response = Transcript | TextDelta | TokenGroup | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """How one answer is asked for.

    Attributes:
        until: id of the item to answer, None in an empty conversation. The user may add items
            meanwhile; the answer stays behind what it answers.
        answer_id: item id under which the answer joins the conversation.
        voice: who speaks it.
        system: text of the system turn.
        sampling: how ids are drawn.
        client_tools: tools that the client runs: such a call ends the answer.
        aloud: False where only the text is wanted: a voiceover is left out.
        session: whose answer it is, for the engine's prefix cache.
        usage: counts the ids while the answer runs.
        go_ahead: awaited before a tool is run. An early answer may still be thrown away, and
            what a tool did cannot be.
    """

    until: str | None
    answer_id: str
    voice: Voice
    system: str
    sampling: SamplingParams
    client_tools: frozenset[str] = frozenset()
    aloud: bool = True
    session: str = ""
    usage: Usage = field(default_factory=Usage)
    go_ahead: Callable[[], Awaitable[None]] | None = None


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
        context: Context,
        *,
        max_rounds: int = 3,
        patience: Patience = Patience(),  # noqa: B008 - frozen
        voiceover: Voiceover | None = None,
    ) -> None:
        """Prepare. With a voiceover the model writes text only, and that speaks it."""
        self._voiceover = voiceover
        self._services = services
        self._new_id = new_id
        self._context = context
        self._max_rounds = max_rounds
        self._patience = patience

    async def respond(
        self, conversation: Conversation, options: AnswerOptions
    ) -> AsyncGenerator[Response, None]:
        """Yield the answer as it is generated; everything yielded is in the conversation.

        A transcript comes first if the model writes one. A call of a server-side tool is
        followed by its result and another turn of the model; a call of a client's tool is the
        last event. A failed tool is told to the model, which may apologise.

        Raises:
            EngineError: the engine broke or was late.
            InputError: the model's context is too small for any prompt.
            ToolError: the model asked for more rounds of tools than allowed.
        """
        answer = Answer(options.answer_id)
        tail = options.until
        question = conversation.last_question(until=tail)
        for _ in range(self._max_rounds):
            calls: list[ToolCall] = []
            turn = self._turn(conversation, options, tail)
            if self._voiceover is not None and options.aloud:
                turn = self._voiceover.speak(turn, options.voice)
            async with aclosing(turn) as events:
                async for event in events:
                    if isinstance(event, ToolCall):
                        calls.append(event)
                    elif not isinstance(event, Transcript):
                        if not answer.started:
                            conversation.add(answer, after=tail or ROOT)
                            tail = answer.item_id
                        answer.add(event)
                    elif isinstance(question, UserAudio):
                        conversation.transcribe(question.item_id, event.text)
                    yield event
            if not calls:
                return
            for call in calls:
                internal = call.name not in options.client_tools
                called = Called(call_item_id(call.call_id), call, internal)
                conversation.add(called, after=tail or ROOT)
                tail = called.item_id
                if not internal:
                    return
                if options.go_ahead is not None:
                    await options.go_ahead()
                result = await self._run_tool(call)
                returned = Returned(f"{called.item_id}_output", result, internal)
                conversation.add(returned, after=tail)
                tail = returned.item_id
                yield result
        raise ToolError(f"the model asked for tools {self._max_rounds} times without an answer")

    async def _turn(
        self, conversation: Conversation, options: AnswerOptions, tail: str | None
    ) -> AsyncGenerator[Transcript | TextDelta | TokenGroup | ToolCall, None]:
        """One assistant turn: prompt, generate, parse; ended early when it has lost its way."""
        vocab, recorder = self._services.vocab, self._services.recorder
        prompt = self._context.prompt(conversation, options.system, tail)
        request = GenerationRequest(
            prompt=prompt.ids,
            sampling=options.sampling,
            stop_ids=frozenset({vocab.eot}),
            request_id=self._new_id(),
            form="answer" if self._voiceover is None else "text",
            session=options.session,
        )
        parser = InterleaveParser(
            self._services.text_tokenizer, vocab, lambda: f"call_{self._new_id()}"
        )
        guard, usage = Guard(vocab), options.usage
        usage.input_text += len(prompt.ids) - prompt.audio_ids
        usage.input_audio += prompt.audio_ids
        usage.left_out = prompt.left_out
        recorder.observe("prompt_ids", len(prompt.ids))
        recorder.observe("prompt_left_out_ids", prompt.left_out)
        async with aclosing(generate(self._services.engine, request, self._patience)) as ids:
            async for token_id in ids:
                sounds = vocab.is_audio(token_id)
                usage.output_audio += sounds
                usage.output_text += not sounds
                events = list(parser.push(token_id))
                for event in events:
                    yield event
                reason = guard.push(token_id, events)
                if reason is not None:
                    recorder.observe(f"answers_ended.{reason}", 1)
                    break
        for event in parser.flush():
            yield event
        recorder.observe("answer_anomalies", parser.counts.anomalies)

    async def _run_tool(self, call: ToolCall) -> ToolResult:
        try:
            return await self._services.tools.call(call)
        except ToolError as error:
            return ToolResult(call.call_id, call.name, json.dumps({"error": str(error)}))
