"""Sound to token groups: level, both tokenizers, grouping. The `AudioTokenizer` of the system.

`encode` is the stream and nothing else, so that a model trained on it meets the same in service;
`encode_whole` gives the same more cheaply where the semantic graph's context is as short as a
window's. `encode_reference` is the published one-shot path.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from step_audio.core.ports import Stage
from step_audio.core.types import Pcm, TokenGroup
from tokenizer.grouping import Grouper, interleave
from tokenizer.linguistic import LinguisticTokenizer
from tokenizer.preprocess import (
    RATE_HZ,
    STREAM_FLOOR,
    CausalLevel,
    check_pcm,
    normalise_level,
    trim_silence,
)
from tokenizer.semantic import SemanticTokenizer

GROUP_SAMPLES: Final = 1920


class DualCodebookTokenizer:
    """Both codebooks. Shared and immutable; `open` starts a stream.

    Args:
        linguistic: 16.7 Hz, 1024 codes.
        semantic: 25 Hz, 4096 codes.
        level_floor: see `CausalLevel`.
    """

    def __init__(
        self,
        linguistic: LinguisticTokenizer,
        semantic: SemanticTokenizer,
        level_floor: float = STREAM_FLOOR,
    ) -> None:
        self.linguistic, self.semantic = linguistic, semantic
        self._level_floor = level_floor

    @property
    def sample_rate_hz(self) -> int:
        """16000."""
        return RATE_HZ

    def open(self) -> Stage[Pcm, TokenGroup]:
        """Return a stream of its own state.

        Groups come two at a time, 480 ms after their first sample with the default windows;
        `flush` costs one encoder chunk and one window.
        """
        return _DualStream(self.linguistic.open(), self.semantic.open(), self._level_floor)

    def encode(self, pcm: Pcm) -> list[TokenGroup]:
        """Return the groups of a whole clip at 16 kHz, as a stream of it gives them.

        Raises:
            AudioError: not mono, or not finite.
        """
        stage = self.open()
        return [*stage.push(pcm), *stage.flush()]

    def encode_whole(self, pcm: Pcm) -> list[TokenGroup]:
        """Return the groups of a whole clip at 16 kHz, at about a fifth of `encode`'s cost.

        Level, padding and linguistic codes are those of the stream; semantic codes are decided
        with the whole clip as context, and differ where a window's context falls short.

        Raises:
            AudioError: not mono, or not finite.
        """
        level = CausalLevel(self._level_floor)
        blocks = [*level.push(check_pcm(pcm)), *level.flush()]
        sound = np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)
        sound = np.pad(sound, (0, -len(sound) % GROUP_SAMPLES))
        return interleave(
            self.linguistic.encode(sound).tolist(), self.semantic.encode(sound).tolist()
        )

    def encode_reference(self, pcm: Pcm, *, trim: bool) -> list[TokenGroup]:
        """Return the groups of a whole clip at 16 kHz as the reference computes them.

        Args:
            pcm: mono.
            trim: cut silence at both ends; the reference does so for TTS prompts, not in chat.

        Raises:
            AudioError: not mono, or not finite.
        """
        levelled = normalise_level(check_pcm(pcm))
        sound = trim_silence(levelled) if trim else levelled
        return interleave(
            self.linguistic.encode(sound).tolist(), self.semantic.encode(sound).tolist()
        )


class _DualStream:
    """Stage[Pcm, TokenGroup]: ceil(samples / 1920) groups in all."""

    def __init__(
        self, linguistic: Stage[Pcm, int], semantic: Stage[Pcm, int], level_floor: float
    ) -> None:
        self._level = CausalLevel(level_floor)
        self._linguistic, self._semantic = linguistic, semantic
        self._grouper = Grouper()

    def push(self, pcm: Pcm, /) -> Iterable[TokenGroup]:
        """Take 16 kHz samples. Raises AudioError: not mono, or not finite."""
        return self._groups(self._level.push(check_pcm(pcm)))

    def flush(self) -> Iterable[TokenGroup]:
        """Continue with silence to a whole group and return the rest."""
        rest = [np.pad(block, (0, -len(block) % GROUP_SAMPLES)) for block in self._level.flush()]
        groups = self._groups(rest)
        return groups + self._grouper.add(self._linguistic.flush(), self._semantic.flush())

    def _groups(self, blocks: Iterable[Pcm]) -> list[TokenGroup]:
        groups: list[TokenGroup] = []
        for block in blocks:
            groups += self._grouper.add(self._linguistic.push(block), self._semantic.push(block))
        return groups
