"""The assistant: all parts of a deployment behind what its callers ask of them.

The command line and the websocket both stand on `Assistant`; nothing here knows of either.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol, TypeVar

from step_audio.core.errors import CannotTranscribe
from step_audio.core.ports import RecognitionHints, Services, ToolSpec
from step_audio.core.types import (
    AudioChunk,
    Form,
    Pcm,
    SamplingParams,
    TextDelta,
    TextOptions,
    TokenGroup,
    Transcript,
    Voice,
)
from step_audio.dialog.ids import new_id
from step_audio.dialog.prompting.context_window import ContextWindow, Usage
from step_audio.dialog.prompting.conversation import Answer, Conversation, UserAudio
from step_audio.dialog.prompting.prompt import PromptBuilder
from step_audio.dialog.prompting.system_prompts import load_prompt
from step_audio.dialog.prompting.tool_syntax import JsonSchemaSyntax, tool_syntax_of
from step_audio.dialog.prompting.typed_questions import in_words
from step_audio.dialog.recognition.recognition import NO_HINTS, Recognition
from step_audio.dialog.response.cascade import Cascade
from step_audio.dialog.response.chat_turn import ChatTurn
from step_audio.dialog.response.options import AnswerOptions
from step_audio.dialog.response.pipeline import AnswerEvent
from step_audio.dialog.response.prefill import Prefiller
from step_audio.dialog.response.read_aloud import ReadAloud
from step_audio.dialog.response.readings import Readings
from step_audio.dialog.response.responder import ModelResponder, ReadingResponder, Responder
from step_audio.dialog.response.speech_output import SpeechOutput
from step_audio.dialog.response.speech_service import SpeechServiceReader
from step_audio.dialog.response.synthesizer import SpeechSynthesizer
from step_audio.dialog.response.text_reader import TextReader
from step_audio.dialog.response.token_turn import TokenTurn
from step_audio.dialog.response.turn import ModelTurn
from step_audio.dialog.role_play.role import Exchange, Role, role_of
from step_audio.dialog.settings import DialogSettings
from step_audio.dialog.speakable.reader import SentenceReader, SpokenSentence, check_text
from step_audio.dialog.speakable.style_tags import PLAIN, ReadingStyle, Style, StyleReach
from step_audio.dialog.tool_calls.background import BackgroundCalls
from step_audio.dialog.tool_calls.tool_choice import FREE, ToolChoice
from step_audio.dialog.turns.input_audio import Stopped, TurnAudio, TurnEvent
from step_audio.dialog.turns.utterance import SpokenQuestion, Utterance
from step_audio.dialog.workers import WorkerThreads

T = TypeVar("T")

_VOICE_THREADS = 4
"""A voice that is being made, which takes seconds, does not keep others from being looked up."""


class _Model(Protocol):
    """What every model of a deployment can be asked."""

    async def ready(self) -> bool: ...
    async def aclose(self) -> None: ...


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
            PromptBuilder.of_profile(
                services.text_tokenizer,
                services.vocab,
                dialect=settings.dialect,
                result_role=settings.result_role,
                chat_headers=services.chat_headers,
                speech_headers=services.speech_headers,
            ),
            services.vocab,
            max_ids=settings.max_prompt_ids,
            recent_audio=settings.recent_audio,
            typed=self._in_words if settings.typed_in_words else str,
        )
        self._speller = WorkerThreads("reader", observe=services.recorder.observe)
        self._readings = Readings(
            settings.languages,
            # A speech service reads numbers as it was taught.
            replace(settings.text_options, numbers=False)
            if services.speech_model is not None
            else settings.text_options,
            self._speller,
        )
        self._synthesizer = self._text_reader()
        recognizer = services.recognizer
        self.recognition = (
            Recognition(recognizer, services.clock, services.recorder, live=settings.live_words)
            if recognizer
            else None
        )
        self._cascade = Cascade(
            self._synthesizer,
            self._readings,
            settings.reading,
            takes_style_tags=settings.takes_style_tags,
            sings=self.sings,
            manners=self._manners,
            first_clause=services.chat_model is not None,
        )
        self._responder = responder or self._own_responder()
        self._turn_audio = WorkerThreads("tokenizer", observe=services.recorder.observe)
        self._voices = WorkerThreads("voices", _VOICE_THREADS, services.recorder.observe)
        self._speech_output = SpeechOutput(services, settings.vocoder_streams, random.Random())
        self._reader = ReadAloud(
            self._synthesizer,
            self._readings,
            self._speech_output,
            settings.reading,
            takes_style_tags=settings.takes_style_tags,
            sings=self.sings,
            manners=self._manners,
            model_name=services.model_name,
        )

    @property
    def sings(self) -> bool:
        """Whether rap and humming can be asked for."""
        return self.settings.takes_style_tags and self.services.singing_vocoder is not None

    @property
    def _manners(self) -> frozenset[str]:
        """What the vocoder does to the sound itself, where no tags are told to a model."""
        itself = self.services.in_manner is not None and not self.settings.takes_style_tags
        return frozenset(self.settings.manners) if itself else frozenset()

    @property
    def style_reach(self) -> StyleReach:
        """What of a wished style comes to the model that makes the sound of a conversation."""
        settings = self.settings
        cascade = settings.responder in ("cascade", "chat")
        return StyleReach(
            instructions=settings.takes_instructions,
            speaks_itself=not cascade,
            tags=cascade and settings.takes_style_tags,
            songs=cascade and self.sings,
            roles=bool(settings.taught_roles),
            manners=self._manners,
        )

    def _spoken(
        self, text: str, voice: Voice, style: Style
    ) -> AsyncGenerator[TokenGroup | AudioChunk, None]:
        """Yield the speech of a text of our own in a conversation; it is never sung.

        What the vocoder does itself is not asked for here.
        """
        tags = () if style.song else self._cascade.tags(style)
        return self._cascade.read(text, voice, tags)

    def _models(self) -> dict[str, _Model]:
        services = self.services
        models: dict[str, _Model | None] = {
            "language model": services.engine,
            "speech model": services.speech_engine,
            "chat model": services.chat_model,
            "speech recognizer": services.recognizer,
            "speech service": services.speech_model,
        }
        return {name: model for name, model in models.items() if model}

    def _text_reader(self) -> TextReader:
        services, settings = self.services, self.settings
        if services.speech_model is not None:
            return SpeechServiceReader(services.speech_model, settings.patience)
        return SpeechSynthesizer(
            services,
            new_id,
            system=settings.read_prompt,
            takes_examples=settings.takes_examples,
            spell=settings.spell,
            patience=settings.patience,
        )

    def _own_responder(self) -> Responder:
        settings, services = self.settings, self.services
        if settings.responder == "speech":
            return ReadingResponder()
        turns: ModelTurn
        if services.chat_model is not None:
            turns = ChatTurn(
                services.chat_model,
                services.clock,
                services.recorder,
                settings=settings.chat,
                words=None if settings.chat.hears else self.words,
                patience=settings.patience,
            )
        else:
            turns = self._token_turn("text" if settings.responder == "cascade" else "answer")
        return ModelResponder(
            services,
            turns,
            cascade=self._cascade if settings.responder in ("cascade", "chat") else None,
            read=lambda text, options: self._spoken(text, options.voice, options.style),
            manners=self._manners,
        )

    def _token_turn(self, form: Form) -> TokenTurn:
        return TokenTurn(
            self.services,
            new_id,
            self._context,
            patience=self.settings.patience,
            dialect=self._dialect,
            form=form,
        )

    def _in_words(self, text: str) -> str:
        return self.settings.questions.asked(in_words(text, self.settings.languages))

    async def missing(self) -> tuple[str, ...]:
        """Return the parts that cannot answer now, by name; none: everything is ready."""
        there = self._models()
        ready = await asyncio.gather(*(model.ready() for model in there.values()))
        return tuple(name for name, well in zip(there, ready, strict=True) if not well)

    async def aclose(self) -> None:
        """Stop the models, the decoders and the worker threads."""
        self.services.sound_decoder.close()
        self._speller.close()
        self._turn_audio.close()
        self._voices.close()
        self._speech_output.close()
        for model in self._models().values():
            await model.aclose()

    def turn_audio(self, rate_hz: int, *, heard_ms: int = 0) -> TurnAudio:
        """Return a fresh input for samples at `rate_hz`; see `hear`."""
        return TurnAudio(
            self.services.audio_tokenizer,
            rate_hz,
            self.services.turn_detector,
            max_s=self.settings.max_question_s,
            heard_ms=heard_ms,
            keeps_sound=self.keeps_sound,
        )

    async def hear(self, turn_audio: TurnAudio, pcm: Pcm) -> list[TurnEvent]:
        """Tokenise more sound and return what was decided. Raises AudioError: too long."""
        return await self._turn_audio.run(lambda: turn_audio.push(pcm))

    async def take(self, turn_audio: TurnAudio) -> tuple[SpokenQuestion, float] | None:
        """End the question of an ear and return it and its seconds; None without one."""
        return await self._turn_audio.run(turn_audio.take)

    async def end_turn(self, turn_audio: TurnAudio) -> Stopped:
        """End the detected turn of an ear that is in a pause."""
        return await self._turn_audio.run(turn_audio.end)

    async def take_silence(self, turn_audio: TurnAudio) -> tuple[SpokenQuestion, float]:
        """Return the silence that an ear has just heard as a question, and its seconds."""
        return await self._turn_audio.run(turn_audio.take_silence)

    def question(self, rate_hz: int) -> Utterance:
        """Return the buffer of a spoken question whose samples come at `rate_hz`."""
        return Utterance(
            self.services.audio_tokenizer,
            rate_hz,
            max_s=self.settings.max_question_s,
            keeps_sound=self.keeps_sound,
        )

    async def listen(self, question: Utterance, pcm: Pcm) -> None:
        """Tokenise more of a question. Raises AudioError: too long."""
        await self._turn_audio.run(lambda: question.push(pcm))

    @property
    def keeps_sound(self) -> bool:
        """Whether the sound of questions is kept, for a recognizer or a chat model that hears."""
        return self.recognition is not None or self.settings.chat.hears

    @property
    def reads_ahead(self) -> bool:
        """Whether the model that answers can be told of questions while they are spoken."""
        return self.services.chat_model is None

    def read_ahead(self, session: str) -> Prefiller:
        """Return what tells the engine of a session's questions while they are spoken."""
        return Prefiller(self.services.engine, self._context, session)

    async def finish(self, question: Utterance) -> SpokenQuestion:
        """Return a whole question."""
        return await self._turn_audio.run(question.finish)

    @property
    def transcribes(self) -> bool:
        """Whether somebody here writes down what is said."""
        taught = bool(self.settings.transcribe_prompt) and self.services.audio_tokenizer is not None
        return self.recognition is not None or taught

    @property
    def rewrites_history(self) -> bool:
        """Whether old questions become words that no answer brings: a fourteenth of the ids."""
        itself = self.settings.responder in ("direct", "cascade")
        marked = self.services.vocab.heard_open is not None
        return itself and not marked and self.transcribes

    async def words(
        self,
        item: UserAudio,
        hints: RecognitionHints = NO_HINTS,
        *,
        among: Sequence[str] = (),
        sampling: SamplingParams | None = None,
    ) -> Transcript:
        """Return what is said in a question, by the recognizer or by the model that answers.

        Args:
            item: the question.
            hints: for a recognizer.
            among: the words are one of these phrases, where the model writes transcripts; none:
                any.
            sampling: of the model, instead of the settings'.

        Raises:
            CannotTranscribe: there is no recognizer, and the model was not taught to.
            EngineError: whoever hears it broke or was late.
        """
        if item.transcript is not None:
            return Transcript(item.transcript, item.language)
        if self.recognition is not None:
            if item.speech is None:
                return Transcript("")
            return await self.recognition.words(item.speech, hints)
        prompt = self.settings.transcribe_prompt
        if not self.transcribes:
            raise CannotTranscribe(self.services.model_name)
        return await self._own_words(item.groups, load_prompt(prompt), tuple(among), sampling)

    async def _own_words(
        self,
        groups: tuple[TokenGroup, ...],
        prompt: str,
        among: tuple[str, ...],
        sampling: SamplingParams | None,
    ) -> Transcript:
        """Return what the id engine hears: it writes that down before it answers, or is told to."""
        conversation = Conversation()
        conversation.add(UserAudio("recording", groups))
        options = AnswerOptions(
            until="recording",
            answer_id="transcript",
            voice=self.services.voices.get(self.services.default_voice),
            system=prompt if self.settings.takes_instructions else self._system,
            sampling=sampling or self.settings.sampling,
            aloud=False,
            heard_among=among,
        )
        form: Form = "text" if self.settings.responder == "cascade" else "answer"
        responder = ModelResponder(self.services, self._token_turn(form))
        text = ""
        async with aclosing(responder.respond(conversation, options)) as events:
            async for event in events:
                if isinstance(event, Transcript):
                    return Transcript(event.text.strip(), event.language)
                if isinstance(event, TextDelta):
                    text += event.text
        return Transcript(text.strip())

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
        exchange: Exchange | None = None,
        aloud: bool = True,
        session: str = "",
        usage: Usage | None = None,
        go_ahead: Callable[[], Awaitable[None]] | None = None,
        early: Callable[[], bool] = lambda: False,
        background_calls: BackgroundCalls | None = None,
        heard_among: Sequence[str] = (),
        hints: RecognitionHints = NO_HINTS,
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
            exchange: that sets a role which the model knows by heart (`Role.exchange`).
            aloud: False leaves the sound out.
            session: whose answer it is; the same as given to `read_ahead`.
            usage: is told how many ids were read and written, while they are.
            go_ahead: awaited before a tool is run that may not be called early.
            early: whether the answer may still be thrown away.
            background_calls: of the session, for calls that take long; None: they are waited for.
            heard_among: the transcript is one of these phrases; none: it is free.
            hints: what is known of the speech in questions, for a recognizer.

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
            exchange=exchange,
            session=session,
            usage=usage or Usage(),
            go_ahead=go_ahead,
            early=early,
            background_calls=background_calls,
            heard_among=tuple(heard_among),
            hints=hints,
        )
        if self.settings.typed_in_words:
            # The rules take a second to load: off the loop. Prompts then find their results.
            await self._speller.run(lambda: [*map(self._in_words, conversation.typed())])
        response = self._responder.respond(conversation, options)
        speaker = options.voice if aloud else None
        spoken = self._speech_output.speak(
            response,
            speaker,
            seed=self.settings.sampling.seed,
            manner=style.by_voice(self._manners).manners,
        )
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
        answer = Answer(answer_id or f"item_{new_id()}", read_aloud=True)
        conversation.add(answer)
        answer.add(TextDelta(text))
        yield TextDelta(text)
        if aloud:
            speaker = await self._voice(voice)
            groups = noted(answer, self._spoken(text, speaker, style))
            manner = PLAIN if style.song else style.by_voice(self._manners)
            spoken = self._speech_output.speak(
                groups, speaker, seed=self.settings.reading.seed, manner=manner.manners
            )
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
        return await self._readings.sentence(reader, written)

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
            JsonSchemaSyntax().failure if services.chat_model else self._dialect.failure,
            settings=self.settings.background_calls,
            wake=wake,
        )

    def told_tools(
        self, client_tools: Sequence[ToolSpec], choice: ToolChoice = FREE
    ) -> tuple[ToolSpec, ...]:
        """Return the tools that the model is told of when a client has these: those, then ours."""
        listed = self.services.chat_model is not None or self._dialect.schema_role is not None
        if not listed or choice.forbids:
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

    def role(self, text: str) -> Role:
        """Return a role by the name or title of its card, or by free words."""
        settings = self.settings
        by_heart = {} if settings.takes_instructions else settings.taught_roles
        return role_of(text, settings.roles, by_heart)

    def refuse_unspeakable(
        self, text: str, instructions: str = "", options: TextOptions | None = None
    ) -> None:
        """Refuse a text that `say` would refuse. Raises UnreadableText, CannotSing."""
        self._reader.refuse_songs(text, instructions, options)
        check_text(text, options or self.settings.text_options, self.settings.languages)


async def noted(
    answer: Answer, groups: AsyncGenerator[TokenGroup | AudioChunk, None]
) -> AsyncGenerator[TokenGroup | AudioChunk, None]:
    """Pass speech on and add it to an answer."""
    async with aclosing(groups):
        async for group in groups:
            answer.add(group)
            yield group
