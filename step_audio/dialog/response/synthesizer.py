"""Text -> speech tokens in a voice: what `say` and the speech endpoint stand on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import aclosing
from dataclasses import replace

from step_audio.core.ports import Services
from step_audio.core.types import BATCH, GenerationRequest, SamplingParams, TokenGroup, Voice
from step_audio.dialog.prompting.prompt import PromptBuilder, Text, Turn
from step_audio.dialog.prompting.system_prompts import load_prompt
from step_audio.dialog.response.degeneration import DegenerationGuard
from step_audio.dialog.response.parser import TokenParser
from step_audio.dialog.response.token_stream import TokenTimeouts, generate
from step_audio.dialog.speakable.reader import SpokenSentence


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
    models that take examples; else it is left to the model's own `system` prompt and the vocoder,
    and `spell` writes the sentence as that model was taught to read it.
    """

    def __init__(
        self,
        services: Services,
        new_id: Callable[[], str],
        *,
        system: str = "read",
        takes_examples: bool = True,
        spell: Callable[[str], str] = str,
        patience: TokenTimeouts = TokenTimeouts(),  # noqa: B008 - frozen
    ) -> None:
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
        self._takes_examples, self._spell = takes_examples, spell
        self._patience = patience

    async def read(
        self,
        sentences: AsyncIterable[SpokenSentence],
        voice: Voice,
        sampling: SamplingParams,
        *,
        tags: tuple[str, ...] = (),
        priority: int = BATCH,
    ) -> AsyncGenerator[TokenGroup, None]:
        """Yield the groups of sentences as they are generated.

        Args:
            sentences: as they are to be read.
            voice: who reads them.
            sampling: how ids are drawn.
            tags: style tags that a model which knows such tags gets in front of each sentence.
            priority: `LIVE` for what is said in a conversation; other texts can wait for those.

        Raises:
            EngineError: the engine broke or was late.
        """
        speaker, stacked = example_of(voice, tags), "".join(f"({tag})" for tag in tags)
        async for sentence in sentences:
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
        return self._builder.chat((system, Turn("human", (Text(self._spell(sentence)),))))
