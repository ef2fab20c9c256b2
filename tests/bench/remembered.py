"""Engine, voice and judge that do equal work once: what six formats of a text have in common.

A format differs from another behind the voice, in the server's encoder and on the way to the
client. All of that runs for each; the model speaks for the first one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace

from step_audio.core.audio import float_to_pcm16
from step_audio.core.ports import Engine, Stage, Vocoder
from step_audio.core.types import GenerationRequest, Pcm, TokenGroup, Voice
from step_audio.eval.wer import word_error_rate
from step_audio.nano.exam.judge import Judge


class RememberedEngine:
    """Passes requests on, and repeats what came of one that was answered to its end before."""

    def __init__(self, inner: Engine) -> None:
        self._inner = inner
        self._known: dict[GenerationRequest, list[int]] = {}
        self.asked = 0

    async def generate(self, request: GenerationRequest) -> AsyncIterator[int]:
        """Yield the ids of the engine, or of the memory."""
        key = replace(request, request_id="")
        if key in self._known:
            for token_id in self._known[key]:
                yield token_id
            return
        self.asked += 1
        said = list[int]()
        ids = self._inner.generate(request)
        try:
            async for token_id in ids:
                said.append(token_id)
                yield token_id
            self._known[key] = said
        finally:
            if isinstance(ids, AsyncGenerator):
                await ids.aclose()

    async def prefill(self, prompt: tuple[int, ...], session: str) -> None:
        """Pass on."""
        await self._inner.prefill(prompt, session)

    async def ready(self) -> bool:
        """Pass on."""
        return await self._inner.ready()

    async def aclose(self) -> None:
        """Pass on."""
        await self._inner.aclose()


_Heard = tuple[str, int, tuple[TokenGroup | None, ...]]
"""Voice, seed, and what went into a stream so far; None: its end."""


class RememberedVoice:
    """Opens streams that repeat what others made of the same groups, in the same voice."""

    def __init__(self, inner: Vocoder) -> None:
        self._inner = inner
        self.sample_rate_hz, self.chunks = inner.sample_rate_hz, inner.chunks
        self._known: dict[_Heard, list[Pcm]] = {}

    def open(self, voice: Voice, seed: int = 0) -> Stage[TokenGroup, Pcm]:
        """Return a stream."""
        return _Stream(self._inner, voice, seed, self._known)


class _Stream:
    def __init__(
        self, vocoder: Vocoder, voice: Voice, seed: int, known: dict[_Heard, list[Pcm]]
    ) -> None:
        self._vocoder, self._voice, self._seed, self._known = vocoder, voice, seed, known
        self._heard = list[TokenGroup | None]()
        self._inner: Stage[TokenGroup, Pcm] | None = None

    def push(self, item: TokenGroup, /) -> list[Pcm]:
        return self._made(item)

    def flush(self) -> list[Pcm]:
        return self._made(None)

    def _made(self, item: TokenGroup | None) -> list[Pcm]:
        before = tuple(self._heard)
        self._heard.append(item)
        key = (self._voice.name, self._seed, (*before, item))
        if key not in self._known:
            if self._inner is None:
                self._inner = self._vocoder.open(self._voice, self._seed)
                for group in before:
                    if group is not None:
                        list(self._inner.push(group))
            out = self._inner.flush() if item is None else self._inner.push(item)
            self._known[key] = list(out)
        return self._known[key]


class TurnAudio:
    """A judge that hears equal sound once: of formats without loss it is."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._heard: dict[bytes, str] = {}

    def wrong_words(self, sentences: Sequence[str], sounds: Sequence[tuple[Pcm, int]]) -> float:
        """Return the share of words that the judge did not hear."""
        return round(word_error_rate(sentences, [self._hear(*sound) for sound in sounds]), 4)

    def _hear(self, pcm: Pcm, rate_hz: int) -> str:
        key = float_to_pcm16(pcm) + rate_hz.to_bytes(4)
        if key not in self._heard:
            self._heard[key] = self._judge.hear(pcm, rate_hz)
        return self._heard[key]
