"""Text -> speech tokens in a voice: what `say` and the speech endpoint stand on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import aclosing
from dataclasses import replace

from step_audio.core.ports import Services
from step_audio.core.profile import LanguageCode
from step_audio.core.types import (
    BATCH,
    GenerationRequest,
    SamplingParams,
    TextOptions,
    TokenGroup,
    Voice,
)
from step_audio.dialog.prompting.prompt import PromptBuilder, Text, Turn
from step_audio.dialog.prompting.system_prompts import load_prompt
from step_audio.dialog.response.degeneration import DegenerationGuard
from step_audio.dialog.response.parser import TokenParser
from step_audio.dialog.response.token_stream import TokenTimeouts, generate
from step_audio.dialog.speakable.reader import SentenceReader, SpokenSentence, check_text
from step_audio.dialog.speakable.sentences import sentences
from step_audio.dialog.workers import WorkerThreads


def example_of(voice: Voice, tags: Iterable[str]) -> Voice:
    """Return what is imitated under these tags: the voice, or its own example of such a song."""
    songs = (voice.song_examples[tag] for tag in tags if tag in voice.song_examples)
    return next(songs, voice)


# Slow speech has four characters a second (Chinese), at 42 ids a second; a model that goes on
# for twice that has lost its way and must not run to the end of its context.
_IDS_PER_CHAR = 20
_IDS_AT_LEAST = 150


class SpeechSynthesizer:
    """Reads text aloud with the LM, sentence by sentence.

    A voice with an example (`prompt_groups`) is imitated through the published TTS layout, by
    models that take examples; else it is left to the model's own `system` prompt and the vocoder.
    """

    def __init__(
        self,
        services: Services,
        new_id: Callable[[], str],
        *,
        system: str = "read",
        takes_examples: bool = True,
        languages: tuple[LanguageCode, ...] = (),
        text_options: TextOptions = TextOptions(),  # noqa: B008 - frozen
        patience: TokenTimeouts = TokenTimeouts(),  # noqa: B008 - frozen
        reader: WorkerThreads | None = None,
    ) -> None:
        """Args: `reader` is the thread that texts are read in; None for the caller's."""
        self._services = services
        self._engine = services.speech_engine or services.engine
        self._builder = PromptBuilder(
            services.text_tokenizer,
            services.vocab,
            chat_headers=services.chat_headers,
            speech_headers=services.speech_headers,
        )
        self._new_id = new_id
        self._system = load_prompt(system)
        self._takes_examples = takes_examples
        self._languages = languages
        self._text_options = text_options
        self._patience = patience
        self._reader = reader

    def text_reader(
        self, options: TextOptions | None = None, instructions: str = ""
    ) -> SentenceReader:
        """Return the reader of one text; by default with the options of the deployment."""
        return SentenceReader(options or self._text_options, self._languages, instructions)

    def answer_reader(self) -> SentenceReader:
        """Return the reader of an answer: it has no style tags, and nobody to refuse it to."""
        return self.text_reader(replace(self._text_options, style_tags=False, unreadable="skip"))

    async def read(self, reader: SentenceReader, written: str) -> list[SpokenSentence]:
        """Return what is read of one written sentence. Raises UnreadableText."""
        if self._reader is None:
            return reader.read(written)
        return await self._reader.run(lambda: reader.read(written))

    async def check(self, text: str, options: TextOptions | None = None) -> list[str]:
        """Return what is to be said of the parts of a text that are left out.

        Raises:
            UnreadableText: a sentence in letters that the model was not taught.
        """

        def checked() -> list[str]:
            return check_text(text, options or self._text_options, self._languages)

        return checked() if self._reader is None else await self._reader.run(checked)

    async def readings(
        self, text: str, reader: SentenceReader
    ) -> AsyncGenerator[SpokenSentence, None]:
        """Yield what is read of a whole text. Raises UnreadableText."""
        for written in sentences(text):
            for spoken in await self.read(reader, written):
                yield spoken
        for spoken in reader.end():
            yield spoken

    async def groups(
        self,
        text: str,
        voice: Voice,
        sampling: SamplingParams,
        *,
        tags: tuple[str, ...] = (),
        reader: SentenceReader | None = None,
        priority: int = BATCH,
    ) -> AsyncGenerator[TokenGroup, None]:
        """Yield the groups of a text without style tags as they are generated.

        Words in letters that the model was not taught are left out, and sentences without others.

        Args:
            text: what to read.
            voice: who reads it.
            sampling: how ids are drawn.
            tags: style tags that a model which knows such tags gets in front of each sentence.
            reader: of an answer that this is a piece of; None: this is all of it.
            priority: `LIVE` for what is said in a conversation; other texts can wait for those.

        Raises:
            EngineError: the engine broke or was late.
        """
        if reader is None:
            readings = self.readings(text, self.answer_reader())
        else:
            readings = self._piece(text, reader)
        async with aclosing(readings):
            spoken = self.spoken(readings, voice, sampling, tags=tags, priority=priority)
            async with aclosing(spoken) as groups:
                async for group in groups:
                    yield group

    async def _piece(
        self, text: str, reader: SentenceReader
    ) -> AsyncGenerator[SpokenSentence, None]:
        for written in sentences(text):
            for spoken in await self.read(reader, written):
                yield spoken

    async def spoken(
        self,
        readings: AsyncIterable[SpokenSentence],
        voice: Voice,
        sampling: SamplingParams,
        *,
        tags: tuple[str, ...] = (),
        priority: int = BATCH,
    ) -> AsyncGenerator[TokenGroup, None]:
        """Yield the groups of sentences as they are to be read.

        Args:
            tags: in front of each.

        Raises:
            EngineError: the engine broke or was late.
        """
        speaker, stacked = example_of(voice, tags), "".join(f"({tag})" for tag in tags)
        async for sentence in readings:
            said = stacked + sentence.text
            async with aclosing(self._sentence(said, speaker, sampling, priority)) as groups:
                async for group in groups:
                    yield group

    async def _sentence(
        self, sentence: str, voice: Voice, sampling: SamplingParams, priority: int
    ) -> AsyncGenerator[TokenGroup, None]:
        vocab = self._services.vocab
        limit = _IDS_AT_LEAST + _IDS_PER_CHAR * len(sentence)
        request = GenerationRequest(
            prompt=tuple(self._prompt(sentence, voice)),
            sampling=replace(sampling, max_tokens=min(sampling.max_tokens, limit)),
            stop_ids=vocab.stop_ids,
            request_id=self._new_id(),
            form="speech",
            priority=priority,
            # What requests share is the voice's example: they go where that is known.
            session=f"voice {voice.name}",
        )
        parser = TokenParser(self._services.text_tokenizer, vocab, self._new_id)
        guard = DegenerationGuard(vocab, text=sentence)
        async with aclosing(generate(self._engine, request, self._patience)) as ids:
            async for token_id in ids:
                events = list(parser.push(token_id))
                for event in events:
                    if isinstance(event, TokenGroup):
                        yield event
                reason = guard.push(token_id, events)
                if reason is not None:
                    self._services.recorder.observe(f"answers_ended.{reason}", 1)
                    return

    def _prompt(self, sentence: str, voice: Voice) -> list[int]:
        if voice.prompt_groups and self._takes_examples:
            return self._builder.tts(sentence, voice, speaker=voice.speaker)
        system = Turn("system", (Text(self._system),))
        return self._builder.chat((system, Turn("human", (Text(sentence),))))
