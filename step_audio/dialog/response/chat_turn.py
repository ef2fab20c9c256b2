"""One turn of a chat model that takes messages and writes text."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from step_audio.core import toolformat
from step_audio.core.chat import ChatEvent, ChatModel, ChatModelRequest, ChatUsage
from step_audio.core.errors import ToolError
from step_audio.core.ports import Clock, RecognitionHints, Recorder
from step_audio.core.types import Reasoning, TextDelta, ToolCall, Transcript
from step_audio.dialog.ids import new_id
from step_audio.dialog.prompting.conversation import (
    Conversation,
    MultiPartMessage,
    SpokenPart,
    UserAudio,
)
from step_audio.dialog.prompting.messages import fitting, messages, read_tokens, text_tokens
from step_audio.dialog.prompting.tool_syntax import JsonSchemaSyntax
from step_audio.dialog.response.call_filter import CallFilter
from step_audio.dialog.response.options import AnswerOptions
from step_audio.dialog.response.token_stream import TokenTimeouts, in_time
from step_audio.dialog.response.turn import TurnEvent
from step_audio.dialog.tool_calls.tool_choice import ToolChoice

Words = Callable[[UserAudio, RecognitionHints], Awaitable[Transcript]]
"""Finds the words of a spoken question, with what is known of them. Raises EngineError."""


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """What a deployment chooses of its chat model.

    Attributes:
        hears: questions are sent as sound, not as words.
        context_tokens: messages and answer together; the oldest exchanges are left out.
        unheard: what the model reads in place of a question without words.
    """

    hears: bool = False
    context_tokens: int = 8192
    unheard: str = ""


class ChatTurn:
    """A `ModelTurn` by a chat model.

    Args:
        chat_model: writes.
        clock, recorder: for the measures of a turn.
        settings: see there.
        words: finds what was said in questions; None: the model hears them itself.
        patience: how long to wait for text.
    """

    def __init__(
        self,
        chat_model: ChatModel,
        clock: Clock,
        recorder: Recorder,
        *,
        settings: ChatSettings = ChatSettings(),
        words: Words | None = None,
        patience: TokenTimeouts = TokenTimeouts(),  # noqa: B008 - frozen
    ) -> None:
        self._chat_model, self._clock, self._recorder = chat_model, clock, recorder
        self._settings, self._words, self._patience = settings, words, patience

    async def generate(
        self,
        conversation: Conversation,
        options: AnswerOptions,
        until: str | None,
        choice: ToolChoice,
    ) -> AsyncGenerator[TurnEvent, None]:
        """Yield what was heard in the question, then what the model writes."""
        heard = await self._hear(conversation, until, options.hints)
        if heard is not None:
            yield heard
        request = self._request(conversation, options, until, choice)
        usage, recorder = options.usage, self._recorder
        asked_s = self._clock.now_s()
        told, first_s = None, None
        read, written = read_tokens(request.messages, request.tools), 0
        before = (usage.input_text, usage.output_text)
        sieve = CallFilter(JsonSchemaSyntax(), lambda: f"call_{new_id()}")
        usage.input_text += read
        reply = in_time(self._chat_model.reply(request), self._patience, "the chat model")
        async with aclosing(reply) as events:
            async for event in events:
                if isinstance(event, ChatUsage):
                    told = event
                    continue
                if first_s is None:
                    first_s = self._clock.now_s()
                    recorder.observe("first_token_s", first_s - asked_s)
                written += _tokens(event)
                usage.output_text = before[1] + written
                # A server without a parser of its own for the model leaves calls in the text.
                for made in sieve.push(event) if isinstance(event, TextDelta) else (event,):
                    yield made
                if sieve.over:
                    break
        for made in sieve.flush():
            yield made
        if told is None or not told.read:  # the server does not say: what was estimated stays
            told = ChatUsage(read, written, cut_off=told is not None and told.cut_off)
        usage.input_text, usage.output_text = before[0] + told.read, before[1] + told.written
        usage.cut_off = told.cut_off
        usage.refused = tuple(sorted(self._chat_model.refused))
        recorder.observe("prompt_ids", told.read)
        if first_s is not None and told.written > 1 and (took_s := self._clock.now_s() - first_s):
            recorder.observe("tokens_per_s", (told.written - 1) / took_s)

    def failure(self, error: ToolError) -> str:
        """Return what went wrong, in words."""
        return toolformat.compact(error=str(error))

    async def _hear(
        self, conversation: Conversation, until: str | None, hints: RecognitionHints
    ) -> Transcript | None:
        """Find the words of all speech that nobody has heard yet; return the newest question's."""
        words = self._words
        if words is None:
            return None
        newest = conversation.last_question(until=until)
        told: Transcript | None = None
        for item in [*conversation.up_to(until)]:
            if isinstance(item, UserAudio) and item.transcript is None:
                heard = await words(item, hints)
                if conversation.has(item.item_id):
                    conversation.transcribe(item.item_id, heard)
                told = heard if newest is not None and item.item_id == newest.item_id else None
            elif isinstance(item, MultiPartMessage):
                spoken = [p for p in item.parts if isinstance(p, SpokenPart)]
                unheard = [part for part in spoken if part.transcript is None]
                found = [
                    await words(UserAudio(item.item_id, part.groups, speech=part.speech), hints)
                    for part in unheard
                ]
                if found and conversation.has(item.item_id):
                    conversation.transcribe_parts(item.item_id, found)
        return told

    def _request(
        self,
        conversation: Conversation,
        options: AnswerOptions,
        until: str | None,
        choice: ToolChoice,
    ) -> ChatModelRequest:
        settings = self._settings
        shown = messages(
            conversation,
            options.system,
            until=until,
            unheard=settings.unheard,
            hears=settings.hears,
        )
        tools = options.tools
        if choice.requires:
            tools = tuple(tool for tool in tools if tool.name in choice.names)
        room = max(1, settings.context_tokens - options.sampling.max_tokens)
        prompt = fitting(shown, tools, room)
        options.usage.left_out = prompt.left_out
        self._recorder.observe("prompt_left_out_ids", prompt.left_out)
        return ChatModelRequest(
            prompt.messages,
            replace(options.sampling, max_tokens=min(options.sampling.max_tokens, room)),
            tools,
            choice.kind if tools else "auto",
            choice.names[0] if choice.requires and len(choice.names) == 1 else "",
        )


def _tokens(event: ChatEvent) -> int:
    """Return about how many tokens an event took to write."""
    match event:
        case TextDelta(text=text) | Reasoning(text=text) | ToolCall(arguments=text):
            return text_tokens(text)
        case _:
            return 0
