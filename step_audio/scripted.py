"""Parts without models: a profile that serves the whole protocol and costs next to nothing.

Everything that is not a model is real: tokenised input, turns, prompts, parsing, resampling, the
wire. The engine says the same words whatever it hears and the voice is a tone, at the pace that
the profile sets. For measuring what the server beside the models costs, and for trying a client.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import numpy as np

from step_audio.core.errors import VoiceNotFound
from step_audio.core.ports import ChunkSizes, Stage
from step_audio.core.profile import ScriptedEngineSection as ScriptedSettings
from step_audio.core.types import GROUP_MS, GenerationRequest, Pcm, TokenGroup, Voice
from step_audio.core.vocab import GROUP_SIZE, Vocab
from step_audio.dialog.prompting.layout import interleave

VOCAB = Vocab(audio_base=1000, bos=1, bot=4, eot=3, heard_open=6, heard_close=7, call=8)
CONTEXT = 4096
_FIRST_BYTE = 300
VOICE = "tone"


class Bytes:
    """A `TextTokenizer` whose ids are the bytes of UTF-8."""

    def encode(self, text: str) -> list[int]:
        """Return an id a byte."""
        return [_FIRST_BYTE + byte for byte in text.encode(errors="replace")]

    def open_decoder(self) -> Stage[int, str]:
        """Return a stream of ids to text."""
        return _ByteStream()


class _ByteStream:
    def __init__(self) -> None:
        self._held = b""

    def push(self, item: int, /) -> Iterable[str]:
        self._held += bytes([item - _FIRST_BYTE])
        try:
            text = self._held.decode()
        except UnicodeDecodeError:
            return ()
        self._held = b""
        return (text,)

    def flush(self) -> Iterable[str]:
        held, self._held = self._held, b""
        return (held.decode(errors="replace"),) if held else ()


class Counter:
    """An `AudioTokenizer`: one group for each 120 ms at 16 kHz, and one for a rest."""

    sample_rate_hz = 16_000

    def open(self) -> Stage[Pcm, TokenGroup]:
        """Return a stream of sound to groups."""
        return _CounterStream(self.sample_rate_hz * GROUP_MS // 1000)


class _CounterStream:
    def __init__(self, samples: int) -> None:
        self._samples, self._rest = samples, 0

    def push(self, item: Pcm, /) -> Iterable[TokenGroup]:
        count, self._rest = divmod(self._rest + len(item), self._samples)
        return [_GROUP] * count

    def flush(self) -> Iterable[TokenGroup]:
        rest, self._rest = self._rest, 0
        return [_GROUP] if rest else []


_GROUP = TokenGroup((1, 2), (3, 4, 5))


class Script:
    """An `Engine` that hears nothing and always says the same, at a pace."""

    def __init__(self, settings: ScriptedSettings) -> None:
        groups = [_GROUP] * settings.groups
        heard = Bytes().encode("something")
        self._reading = VOCAB.ids(groups)
        said = interleave(Bytes().encode(settings.text), groups, VOCAB)
        self._answer = [VOCAB.heard_open or 0, *heard, VOCAB.heard_close or 0, *said]
        self._first_s = settings.first_token_ms / 1000
        self._each_s = 1 / settings.tokens_per_s if settings.tokens_per_s else 0.0

    @property
    def first_sound_s(self) -> float:
        """Time of the pace alone from asking for an answer to the last id of its first group."""
        first = next(at for at, token_id in enumerate(self._answer) if VOCAB.is_audio(token_id))
        return self._first_s + (first + GROUP_SIZE - 1) * self._each_s

    async def generate(self, request: GenerationRequest) -> AsyncIterator[int]:
        """Yield the script, cut at the request's limit."""
        ids = self._answer if request.form == "answer" else self._reading
        loop = asyncio.get_running_loop()
        # Counted from the beginning: a timer is late by a millisecond, and two would add up.
        start_s = loop.time() + self._first_s
        await asyncio.sleep(self._first_s)
        for at, token_id in enumerate(ids[: request.sampling.max_tokens]):
            # Even without a pace, others have their turn between two ids, as with any engine.
            due_s = start_s + at * self._each_s
            await asyncio.sleep(max(0.0, due_s - loop.time()) if self._each_s else 0)
            yield token_id

    async def prefill(self, prompt: tuple[int, ...], session: str) -> None:
        """Nothing is to be read."""

    async def ready(self) -> bool:
        """Always."""
        return True

    async def aclose(self) -> None:
        """Nothing is held."""


class Tone:
    """A `Vocoder`: a soft tone for each group."""

    sample_rate_hz = 22_050
    chunks = ChunkSizes()

    def __init__(self) -> None:
        at_s = np.arange(self.sample_rate_hz * GROUP_MS // 1000) / self.sample_rate_hz
        self._pcm: Pcm = (0.1 * np.sin(2 * np.pi * 350 * at_s)).astype(np.float32)

    def open(self, voice: Voice, seed: int = 0) -> Stage[TokenGroup, Pcm]:
        """Return a stream of groups to sound."""
        return _ToneStream(self._pcm)


class _ToneStream:
    def __init__(self, pcm: Pcm) -> None:
        self._pcm = pcm

    def push(self, item: TokenGroup, /) -> Iterable[Pcm]:
        return (self._pcm,)

    def flush(self) -> Iterable[Pcm]:
        return ()


class OneVoice:
    """A `VoiceStore` with the one voice there is."""

    def get(self, name: str) -> Voice:
        """Return it. Raises VoiceNotFound."""
        if name != VOICE:
            raise VoiceNotFound(name, self.names())
        return Voice(name, np.zeros(192, dtype=np.float32))

    def names(self) -> tuple[str, ...]:
        """Return its name."""
        return (VOICE,)
