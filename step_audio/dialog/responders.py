"""What the assistant answers: ids from the engine, parsed, with tools in between.

`DirectResponder` serves models that write text and sound themselves (AQAA, nano).
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, Protocol

from step_audio.core.errors import ToolError
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
from step_audio.dialog.interleave import InterleaveParser
from step_audio.dialog.prompt import PromptBuilder

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
    """

    until: str | None
    answer_id: str
    voice: Voice
    system: str
    sampling: SamplingParams
    client_tools: frozenset[str] = frozenset()


class Responder(Protocol):
    """Answers an item of a conversation and records what it says there."""

    def respond(
        self, conversation: Conversation, options: AnswerOptions
    ) -> AsyncGenerator[Response, None]: ...


class DirectResponder:
    """One model hears, thinks and speaks; tool calls are carried out between its turns."""

    def __init__(
        self,
        services: Services,
        new_id: Callable[[], str],
        *,
        past: Literal["text", "audio"] = "text",
        max_rounds: int = 3,
        max_prompt_ids: int = 4096,
        patience: Patience = Patience(),  # noqa: B008 - frozen
    ) -> None:
        self._services = services
        self._builder = PromptBuilder(services.text_tokenizer, services.vocab)
        self._new_id = new_id
        self._past: Literal["text", "audio"] = past
        self._max_rounds = max_rounds
        self._max_prompt_ids = max_prompt_ids
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
            InputError: the question is too long for the model.
            ToolError: the model asked for more rounds of tools than allowed.
        """
        answer = Answer(options.answer_id)
        tail = options.until
        question = conversation.last_question(until=tail)
        for _ in range(self._max_rounds):
            calls: list[ToolCall] = []
            async with aclosing(self._turn(conversation, options, tail)) as events:
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
                result = await self._run_tool(call)
                returned = Returned(f"{called.item_id}_output", result, internal)
                conversation.add(returned, after=tail)
                tail = returned.item_id
                yield result
        raise ToolError(f"the model asked for tools {self._max_rounds} times without an answer")

    async def _turn(
        self, conversation: Conversation, options: AnswerOptions, tail: str | None
    ) -> AsyncGenerator[Transcript | TextDelta | TokenGroup | ToolCall, None]:
        """One assistant turn: prompt, generate, parse."""
        vocab = self._services.vocab
        turns = conversation.turns(options.system, past=self._past, until=tail)
        request = GenerationRequest(
            prompt=tuple(self._builder.chat_within(turns, self._max_prompt_ids)),
            sampling=options.sampling,
            stop_ids=frozenset({vocab.eot}),
            request_id=self._new_id(),
            form="answer",
        )
        parser = InterleaveParser(
            self._services.text_tokenizer, vocab, lambda: f"call_{self._new_id()}"
        )
        async with aclosing(generate(self._services.engine, request, self._patience)) as ids:
            async for token_id in ids:
                for event in parser.push(token_id):
                    yield event
        for event in parser.flush():
            yield event
        self._services.recorder.observe("answer_anomalies", parser.counts.anomalies)

    async def _run_tool(self, call: ToolCall) -> ToolResult:
        try:
            return await self._services.tools.call(call)
        except ToolError as error:
            return ToolResult(call.call_id, call.name, json.dumps({"error": str(error)}))
