"""The one async runner: response -> vocoder -> sound, with queues, tasks and cancellation.

The command line and the websocket both stand on `Assistant`; nothing here knows of either.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from step_audio.core.errors import StepAudioError
from step_audio.core.ports import Services, Vocoder
from step_audio.core.types import (
    Pcm,
    SamplingParams,
    TextDelta,
    TokenGroup,
    ToolCall,
    ToolResult,
    Transcript,
    Voice,
)
from step_audio.dialog.ahead import ReadAhead
from step_audio.dialog.context import Context, Usage
from step_audio.dialog.conversation import Conversation
from step_audio.dialog.generation import Patience
from step_audio.dialog.offload import Worker
from step_audio.dialog.prompt import PromptBuilder
from step_audio.dialog.prompts import load_prompt
from step_audio.dialog.question import Question
from step_audio.dialog.responders import AnswerOptions, DirectResponder, Responder, Response
from step_audio.dialog.synthesis import SpeechSynthesizer


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """Sound that is ready to be played."""

    pcm: Pcm
    rate_hz: int


AnswerEvent = Transcript | TextDelta | ToolCall | ToolResult | AudioChunk


@dataclass(frozen=True, slots=True)
class DialogSettings:
    """What a deployment chooses; see the profile.

    Attributes:
        answer_prompt, read_prompt: names of system prompts.
        takes_instructions: whether the checkpoint was trained to follow a client's
            instructions; else they are accepted and do not reach the prompt.
        sampling: of answers. reading: of text read aloud.
        max_question_s: longest spoken question.
        max_prompt_ids: the oldest exchanges are left out of a longer prompt.
        recent_audio: so many past spoken exchanges are shown to the model as sound.
    """

    answer_prompt: str = "answer"
    read_prompt: str = "read"
    takes_instructions: bool = False
    sampling: SamplingParams = field(default_factory=SamplingParams)
    reading: SamplingParams = field(default_factory=SamplingParams)
    max_question_s: float = 60.0
    max_prompt_ids: int = 4096
    recent_audio: int = 0
    patience: Patience = field(default_factory=Patience)


def new_id() -> str:
    """Return an id that is unique in this process and unguessable."""
    return uuid.uuid4().hex


class Assistant:
    """All that a caller can ask of the loaded parts. Shared by every session."""

    def __init__(
        self,
        services: Services,
        settings: DialogSettings = DialogSettings(),
        responder: Responder | None = None,
    ) -> None:
        self.services = services
        self.settings = settings
        self._system = load_prompt(settings.answer_prompt)
        self._context = Context(
            PromptBuilder(services.text_tokenizer, services.vocab),
            services.vocab,
            max_ids=settings.max_prompt_ids,
            recent_audio=settings.recent_audio,
        )
        self._responder = responder or DirectResponder(
            services, new_id, self._context, patience=settings.patience
        )
        self._synthesizer = SpeechSynthesizer(
            services, new_id, system=settings.read_prompt, patience=settings.patience
        )
        self._ear = Worker("tokenizer")
        self._mouth = Worker("vocoder")

    async def ready(self) -> bool:
        """Return whether the engine can answer now."""
        return await self.services.engine.ready()

    async def aclose(self) -> None:
        """Stop the engine and the worker threads."""
        self._ear.close()
        self._mouth.close()
        await self.services.engine.aclose()

    def question(self, rate_hz: int) -> Question:
        """Return the buffer of a spoken question whose samples come at `rate_hz`."""
        return Question(self.services.audio_tokenizer, rate_hz, max_s=self.settings.max_question_s)

    async def listen(self, question: Question, pcm: Pcm) -> None:
        """Tokenise more of a question. Raises AudioError: too long."""
        await self._ear.run(lambda: question.push(pcm))

    def read_ahead(self, session: str) -> ReadAhead:
        """Return what tells the engine of a session's questions while they are spoken."""
        return ReadAhead(self.services.engine, self._context, session)

    async def finish(self, question: Question) -> tuple[TokenGroup, ...]:
        """Return the groups of a whole question."""
        return await self._ear.run(question.finish)

    async def answer(
        self,
        conversation: Conversation,
        *,
        until: str | None = None,
        answer_id: str | None = None,
        voice: str | None = None,
        instructions: str | None = None,
        sampling: SamplingParams | None = None,
        client_tools: frozenset[str] = frozenset(),
        aloud: bool = True,
        session: str = "",
        usage: Usage | None = None,
    ) -> AsyncGenerator[AnswerEvent, None]:
        """Yield the answer to an item; closing the generator aborts the engine.

        Args:
            conversation: is extended by what is said, called and returned.
            until: id of the item to answer, with what came before it; the newest by default.
            answer_id: item id of the answer; a fresh one by default.
            voice: name of a voice; the default voice of the services by default.
            instructions: of the client, in place of the system prompt where the checkpoint
                takes them.
            sampling: instead of the settings'.
            client_tools: names of the tools that the client runs.
            aloud: False leaves the sound out.
            session: whose answer it is; the same as given to `read_ahead`.
            usage: is told how many ids were read and written, while they are.

        Raises:
            VoiceNotFound, EngineError, ToolError.
        """
        options = AnswerOptions(
            until=until or conversation.last_id,
            answer_id=answer_id or f"item_{new_id()}",
            voice=self.services.voices.get(voice or self.services.default_voice),
            system=self.system_text(instructions),
            sampling=sampling or self.settings.sampling,
            client_tools=client_tools,
            session=session,
            usage=usage or Usage(),
        )
        response = self._responder.respond(conversation, options)
        run = _Run(response, self.services.vocoder, options.voice if aloud else None, self._mouth)
        async with aclosing(self._timed(run)) as events:
            async for event in events:
                yield event

    async def say(self, text: str, voice: str | None = None) -> AsyncGenerator[AudioChunk, None]:
        """Yield a text read aloud; closing the generator aborts the engine.

        Raises:
            VoiceNotFound, EngineError.
        """
        speaker = self.services.voices.get(voice or self.services.default_voice)
        groups = self._synthesizer.groups(text, speaker, self.settings.reading)
        run = _Run(groups, self.services.vocoder, speaker, self._mouth)
        async with aclosing(self._timed(run)) as events:
            async for event in events:
                if isinstance(event, AudioChunk):
                    yield event

    def system_text(self, instructions: str | None) -> str:
        """Return the text of the system turn for what a client wants said there."""
        return (self.settings.takes_instructions and instructions) or self._system

    async def _timed(self, run: _Run) -> AsyncGenerator[AnswerEvent, None]:
        """Pass events on and observe how long the first sound took."""
        clock, recorder = self.services.clock, self.services.recorder
        start_s, silent = clock.now_s(), True
        async with aclosing(run.events()) as events:
            async for event in events:
                if silent and isinstance(event, AudioChunk):
                    recorder.observe("first_audio_s", clock.now_s() - start_s)
                    silent = False
                yield event


@dataclass(frozen=True, slots=True)
class _End:
    """Last entry of the outgoing queue."""

    error: BaseException | None = None


class _Run:
    """One answer under way: reader and vocoder side by side, joined by bounded queues."""

    def __init__(
        self,
        response: AsyncGenerator[Response, None] | AsyncGenerator[TokenGroup, None],
        vocoder: Vocoder,
        voice: Voice | None,
        mouth: Worker,
    ) -> None:
        """Args: `voice` is None for an answer without sound."""
        self._response = response
        self._vocoder = vocoder
        self._voice = voice
        self._mouth = mouth
        self._groups: asyncio.Queue[TokenGroup | None] = asyncio.Queue(64)
        self._out: asyncio.Queue[AnswerEvent | _End] = asyncio.Queue(64)

    async def events(self) -> AsyncGenerator[AnswerEvent, None]:
        """Yield what is ready. Closing cancels both tasks, and with them the engine."""
        task = asyncio.create_task(self._work(), name="answer")
        try:
            while not isinstance(event := await self._out.get(), _End):
                yield event
            if event.error is not None:
                raise event.error
        finally:
            task.cancel()
            await asyncio.wait([task])
            await self._response.aclose()

    async def _work(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(), name="answer.read")
                tasks.create_task(self._speak(), name="answer.speak")
        except* StepAudioError as group:
            await self._out.put(_End(group.exceptions[0]))
        except* Exception as group:
            await self._out.put(_End(group))
        else:
            await self._out.put(_End())

    async def _read(self) -> None:
        """Response -> words at once, groups to the vocoder."""
        async for event in self._response:
            if not isinstance(event, TokenGroup):
                await self._out.put(event)
            elif self._voice is not None:
                await self._groups.put(event)
        await self._groups.put(None)

    async def _speak(self) -> None:
        """Groups -> sound. The vocoder opens while the engine reads the prompt."""
        voice = self._voice
        if voice is None:
            return
        stage = await self._mouth.run(lambda: self._vocoder.open(voice))
        while (group := await self._groups.get()) is not None:
            await self._chunks(await self._mouth.push(stage, group))
        await self._chunks(await self._mouth.flush(stage))

    async def _chunks(self, chunks: list[Pcm]) -> None:
        for pcm in chunks:
            if len(pcm):
                await self._out.put(AudioChunk(pcm, self._vocoder.sample_rate_hz))
