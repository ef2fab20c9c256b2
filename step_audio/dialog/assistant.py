"""The assistant: all parts of a deployment behind what its callers ask of them.

The command line and the websocket both stand on `Assistant`; nothing here knows of either.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

from step_audio.core.ports import Engine, Services, ToolSpec
from step_audio.core.types import (
    Pcm,
    SamplingParams,
    TextDelta,
    TextOptions,
    TokenGroup,
    Voice,
)
from step_audio.dialog.ids import new_id
from step_audio.dialog.prompting.context_window import ContextWindow, Usage
from step_audio.dialog.prompting.conversation import Answer, Conversation
from step_audio.dialog.prompting.prompt import PromptBuilder
from step_audio.dialog.prompting.system_prompts import load_prompt
from step_audio.dialog.prompting.tool_syntax import tool_syntax_of
from step_audio.dialog.response.cascade import Cascade
from step_audio.dialog.response.options import AnswerOptions
from step_audio.dialog.response.pipeline import AnswerEvent, AudioChunk
from step_audio.dialog.response.prefill import Prefiller
from step_audio.dialog.response.read_aloud import ReadAloud
from step_audio.dialog.response.responder import DirectResponder, ReadingResponder, Responder
from step_audio.dialog.response.speech_output import SpeechOutput
from step_audio.dialog.response.synthesizer import SpeechSynthesizer
from step_audio.dialog.settings import DialogSettings
from step_audio.dialog.speakable.reader import SentenceReader, SpokenSentence, check_text
from step_audio.dialog.speakable.style_tags import PLAIN, ReadingStyle, Style, StyleReach
from step_audio.dialog.tool_calls.background import BackgroundCalls
from step_audio.dialog.tool_calls.tool_choice import FREE, ToolChoice
from step_audio.dialog.turns.input_audio import Stopped, TurnAudio, TurnEvent
from step_audio.dialog.turns.utterance import Utterance
from step_audio.dialog.workers import WorkerThreads

T = TypeVar("T")

_VOICE_THREADS = 4
"""A voice that is being made, which takes seconds, does not keep others from being looked up."""


class Assistant:
    """All that a caller can ask of the loaded parts. Shared by every session."""

    def __init__(
        self,
        services: Services,
        settings: DialogSettings = DialogSettings(),  # noqa: B008 - frozen
        responder: Responder | None = None,
    ) -> None:
        self.services = services
        self.settings = settings
        self._system = load_prompt(settings.answer_prompt)
        self._dialect = tool_syntax_of(settings.dialect, settings.result_role)
        self._context = ContextWindow(
            PromptBuilder(
                services.text_tokenizer,
                services.vocab,
                dialect=self._dialect,
                chat_headers=services.chat_headers,
            ),
            services.vocab,
            max_ids=settings.max_prompt_ids,
            recent_audio=settings.recent_audio,
        )
        self._speller = WorkerThreads("reader", observe=services.recorder.observe)
        self._synthesizer = SpeechSynthesizer(
            services,
            new_id,
            system=settings.read_prompt,
            takes_examples=settings.takes_examples,
            languages=settings.languages,
            text_options=settings.text_options,
            patience=settings.patience,
            reader=self._speller,
        )
        self._cascade = Cascade(
            self._synthesizer,
            settings.reading,
            takes_style_tags=settings.takes_style_tags,
            sings=self.sings,
        )
        self._responder = responder or self._own_responder()
        self._turn_audio = WorkerThreads("tokenizer", observe=services.recorder.observe)
        self._voices = WorkerThreads("voices", _VOICE_THREADS, services.recorder.observe)
        self._speech_output = SpeechOutput(services, settings.mouths, random.Random())
        self._reader = ReadAloud(
            self._synthesizer,
            self._speech_output,
            settings.reading,
            takes_style_tags=settings.takes_style_tags,
            sings=self.sings,
            model_name=services.model_name,
        )

    @property
    def sings(self) -> bool:
        """Whether rap and humming can be asked for."""
        return self.settings.takes_style_tags and self.services.singing_vocoder is not None

    @property
    def style_reach(self) -> StyleReach:
        """What of a wished style comes to the model that makes the sound of a conversation."""
        settings = self.settings
        cascade = settings.responder == "cascade"
        return StyleReach(
            instructions=settings.takes_instructions,
            speaks_itself=not cascade,
            tags=cascade and settings.takes_style_tags,
            songs=cascade and self.sings,
        )

    def _spoken(self, text: str, voice: Voice, style: Style) -> AsyncGenerator[TokenGroup, None]:
        """Yield the groups of a text of our own in a conversation; it is never sung."""
        tags = () if style.song else self._cascade.tags(style)
        return self._cascade.read(text, voice, tags)

    def _engines(self) -> list[Engine]:
        services = self.services
        return [engine for engine in (services.engine, services.speech_engine) if engine]

    def _own_responder(self) -> Responder:
        settings = self.settings
        if settings.responder == "speech":
            return ReadingResponder()
        return DirectResponder(
            self.services,
            new_id,
            self._context,
            patience=settings.patience,
            cascade=self._cascade if settings.responder == "cascade" else None,
            dialect=self._dialect,
            read=lambda text, options: self._spoken(text, options.voice, options.style),
        )

    async def missing(self) -> tuple[str, ...]:
        """Return the parts that cannot answer now, by name; none: everything is ready."""
        parts = {
            "language model": self.services.engine,
            "speech model": self.services.speech_engine,
        }
        there = {name: engine for name, engine in parts.items() if engine}
        ready = await asyncio.gather(*(engine.ready() for engine in there.values()))
        return tuple(name for name, well in zip(there, ready, strict=True) if not well)

    async def aclose(self) -> None:
        """Stop the engines, the decoders and the worker threads."""
        self.services.sound_decoder.close()
        self._speller.close()
        self._turn_audio.close()
        self._voices.close()
        self._speech_output.close()
        for engine in self._engines():
            await engine.aclose()

    def turn_audio(self, rate_hz: int, *, heard_ms: int = 0) -> TurnAudio:
        """Return a fresh input for samples at `rate_hz`; see `hear`."""
        return TurnAudio(
            self.services.audio_tokenizer,
            rate_hz,
            self.services.turn_detector,
            max_s=self.settings.max_question_s,
            heard_ms=heard_ms,
        )

    async def hear(self, turn_audio: TurnAudio, pcm: Pcm) -> list[TurnEvent]:
        """Tokenise more sound and return what was decided. Raises AudioError: too long."""
        return await self._turn_audio.run(lambda: turn_audio.push(pcm))

    async def take(self, turn_audio: TurnAudio) -> tuple[tuple[TokenGroup, ...], float] | None:
        """End the question of an ear and return its groups and seconds; None without one."""
        return await self._turn_audio.run(turn_audio.take)

    async def end_turn(self, turn_audio: TurnAudio) -> Stopped:
        """End the detected turn of an ear that is in a pause."""
        return await self._turn_audio.run(turn_audio.end)

    async def take_silence(self, turn_audio: TurnAudio) -> tuple[tuple[TokenGroup, ...], float]:
        """Return the groups and seconds of the silence that an ear has just heard."""
        return await self._turn_audio.run(turn_audio.take_silence)

    def question(self, rate_hz: int) -> Utterance:
        """Return the buffer of a spoken question whose samples come at `rate_hz`."""
        return Utterance(self.services.audio_tokenizer, rate_hz, max_s=self.settings.max_question_s)

    async def listen(self, question: Utterance, pcm: Pcm) -> None:
        """Tokenise more of a question. Raises AudioError: too long."""
        await self._turn_audio.run(lambda: question.push(pcm))

    def read_ahead(self, session: str) -> Prefiller:
        """Return what tells the engine of a session's questions while they are spoken."""
        return Prefiller(self.services.engine, self._context, session)

    async def finish(self, question: Utterance) -> tuple[TokenGroup, ...]:
        """Return the groups of a whole question."""
        return await self._turn_audio.run(question.finish)

    async def answer(
        self,
        conversation: Conversation,
        *,
        until: str | None = None,
        answer_id: str | None = None,
        voice: str | None = None,
        instructions: str | None = None,
        sampling: SamplingParams | None = None,
        client_tools: Sequence[ToolSpec] = (),
        choice: ToolChoice = FREE,
        style: Style = PLAIN,
        style_lines: str = "",
        aloud: bool = True,
        session: str = "",
        usage: Usage | None = None,
        go_ahead: Callable[[], Awaitable[None]] | None = None,
        background_calls: BackgroundCalls | None = None,
        heard_among: Sequence[str] = (),
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
            client_tools: that the client runs; they come before the server's of the same name.
            choice: whether a tool is called; a required one is called first, the result answered.
            style: how a second model reads the answer aloud.
            style_lines: the same in words, behind the system prompt of models that take words.
            aloud: False leaves the sound out.
            session: whose answer it is; the same as given to `read_ahead`.
            usage: is told how many ids were read and written, while they are.
            go_ahead: awaited before a tool is run.
            errands: of the session, for calls that take long; None: they are waited for.
            heard_among: the transcript is one of these phrases; none: it is free.

        Raises:
            VoiceNotFound, EngineError, ToolError.
        """
        options = AnswerOptions(
            until=until or conversation.last_id,
            answer_id=answer_id or f"item_{new_id()}",
            voice=await self._voice(voice),
            system=self.system_text(instructions, style_lines),
            sampling=sampling or self.settings.sampling,
            client_tools=frozenset(tool.name for tool in client_tools),
            tools=self.told_tools(client_tools, choice),
            choice=choice.among(
                [tool.name for tool in client_tools],
                [tool.name for tool in self.services.tools.specs()],
            ),
            aloud=aloud,
            style=style,
            session=session,
            usage=usage or Usage(),
            go_ahead=go_ahead,
            background_calls=background_calls,
            heard_among=tuple(heard_among),
        )
        response = self._responder.respond(conversation, options)
        speaker = options.voice if aloud else None
        spoken = self._speech_output.speak(response, speaker, seed=self.settings.sampling.seed)
        async with aclosing(spoken) as events:
            async for event in events:
                yield event

    async def announce(
        self,
        conversation: Conversation,
        text: str,
        *,
        answer_id: str | None = None,
        voice: str | None = None,
        style: Style = PLAIN,
        aloud: bool = True,
    ) -> AsyncGenerator[AnswerEvent, None]:
        """Yield a text that the assistant says of its own accord, as an answer of its own.

        Raises:
            VoiceNotFound, EngineError.
        """
        answer = Answer(answer_id or f"item_{new_id()}")
        conversation.add(answer)
        answer.add(TextDelta(text))
        yield TextDelta(text)
        if aloud:
            speaker = await self._voice(voice)
            groups = noted(answer, self._spoken(text, speaker, style))
            spoken = self._speech_output.speak(groups, speaker, seed=self.settings.reading.seed)
            async with aclosing(spoken) as events:
                async for event in events:
                    yield event

    async def say(
        self,
        text: str,
        voice: str | None = None,
        reading_style: ReadingStyle = ReadingStyle(),  # noqa: B008 - frozen
        options: TextOptions | None = None,
    ) -> AsyncGenerator[AudioChunk, None]:
        """Yield a text read aloud; closing the generator aborts the engine.

        Args:
            text: of any length; it may carry style tags (dialog/speakable/style_tags.py).
            voice: name of a voice; the default voice of the services by default.
            reading_style: how to read it. A model that knows style tags is told, for the others
                speed and loudness are done to the sound.
            options: what of it is read; the settings' by default.

        Raises:
            VoiceNotFound, EngineError; InputError: no letter to read, speed or volume out of range;
            UnreadableText: a sentence in letters that the model was not taught.
        """
        speaker = await self._voice(voice)
        async with aclosing(self._reader.read(text, speaker, reading_style, options)) as chunks:
            async for chunk in chunks:
                yield chunk

    def text_reader(
        self, reading_style: ReadingStyle, options: TextOptions | None = None
    ) -> SentenceReader:
        """Return the reader of a text that comes sentence by sentence; see `read_sentence`."""
        return self._reader.text_reader(reading_style, options)

    async def read_sentence(self, reader: SentenceReader, written: str) -> list[SpokenSentence]:
        """Return what is read of the next sentence of a text. Raises UnreadableText."""
        return await self._synthesizer.read(reader, written)

    async def say_sentences(
        self, spoken: Sequence[SpokenSentence], voice: str | None, reading_style: ReadingStyle
    ) -> AsyncGenerator[AudioChunk, None]:
        """Yield sentences of `read_sentence` as sound. Raises VoiceNotFound, EngineError."""
        speaker = await self._voice(voice)

        async def readings() -> AsyncGenerator[SpokenSentence, None]:
            for sentence in spoken:
                yield sentence

        said = self._reader.say(readings(), speaker, reading_style)
        async with aclosing(said) as chunks:
            async for chunk in chunks:
                yield chunk

    async def check_text(
        self, text: str, instructions: str = "", options: TextOptions | None = None
    ) -> list[str]:
        """Return what is to be said of the parts of a text that are left out.

        Raises:
            UnreadableText: a sentence in letters that the model was not taught.
            CannotSing: a style that this deployment does not do.
        """
        return await self._reader.check(text, instructions, options)

    async def with_voices(self, call: Callable[[], T]) -> T:
        """Return what `call` returns, which asks the services for voices.

        They lie on the disk and may have to be made first: never on the event loop.
        """
        return await self._voices.run(call)

    async def _voice(self, name: str | None) -> Voice:
        """Return a voice, the default without a name. Raises VoiceNotFound."""
        services = self.services
        return await self.with_voices(lambda: services.voices.get(name or services.default_voice))

    def background_calls(self, wake: Callable[[], None]) -> BackgroundCalls:
        """Return what carries out a session's tool calls; `wake` is called when there is news."""
        services = self.services
        return BackgroundCalls(
            services.tools,
            services.recorder,
            services.clock,
            self._dialect.failure,
            settings=self.settings.background_calls,
            wake=wake,
        )

    def told_tools(
        self, client_tools: Sequence[ToolSpec], choice: ToolChoice = FREE
    ) -> tuple[ToolSpec, ...]:
        """Return the tools that the model is told of when a client has these: those, then ours."""
        if self._dialect.schema_role is None or choice.forbids:
            return ()
        taken = {tool.name for tool in client_tools}
        own = (tool for tool in self.services.tools.specs() if tool.name not in taken)
        return (*client_tools, *own)

    def system_text(self, instructions: str | None, style_lines: str = "") -> str:
        """Return the text of the system turn for what a client wants said there.

        Args:
            instructions: of the client, instead of the profile's prompt.
            style_lines: behind either.
        """
        if not self.settings.takes_instructions:
            return self._system
        return "\n".join(filter(None, (instructions or self._system, style_lines)))

    def refuse_unspeakable(
        self, text: str, instructions: str = "", options: TextOptions | None = None
    ) -> None:
        """Refuse a text that `say` would refuse. Raises UnreadableText, CannotSing."""
        self._reader.refuse_songs(text, instructions, options)
        check_text(text, options or self.settings.text_options, self.settings.languages)


async def noted(
    answer: Answer, groups: AsyncGenerator[TokenGroup, None]
) -> AsyncGenerator[TokenGroup, None]:
    """Pass groups on and add them to an answer."""
    async with aclosing(groups):
        async for group in groups:
            answer.add(group)
            yield group
