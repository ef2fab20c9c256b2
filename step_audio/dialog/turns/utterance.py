"""A spoken question while it is spoken: samples in, groups kept until the end of the turn."""

from __future__ import annotations

import copy

from step_audio.core.errors import AudioError
from step_audio.core.ports import AudioTokenizer
from step_audio.core.resampling import input_resampler
from step_audio.core.types import Pcm, TokenGroup


class Utterance:
    """Tokenises as the sound arrives, so that at the end of the turn only a flush is left.

    Synchronous and for one turn; the runner calls it in a worker thread.
    """

    def __init__(
        self, audio_tokenizer: AudioTokenizer, rate_hz: int, *, max_s: float = 60.0
    ) -> None:
        self._resampler = input_resampler(rate_hz, audio_tokenizer.sample_rate_hz)
        self._stage = audio_tokenizer.open()
        self._groups: list[TokenGroup] = []
        self._rate_hz = rate_hz
        self._max_s = max_s
        self._samples = 0

    @property
    def duration_ms(self) -> int:
        """Length of what was pushed."""
        return self._samples * 1000 // self._rate_hz

    @property
    def length(self) -> int:
        """Groups known so far."""
        return len(self._groups)

    @property
    def groups(self) -> tuple[TokenGroup, ...]:
        """What is known of the question so far; it will begin with these groups."""
        return tuple(self._groups)

    def push(self, pcm: Pcm) -> None:
        """Add samples. Raises AudioError: the question becomes too long; nothing is added."""
        if self._samples + len(pcm) > self._max_s * self._rate_hz:
            raise AudioError(f"a question may last {self._max_s:g} s; commit or clear it")
        self._samples += len(pcm)
        for chunk in self._resampler.push(pcm):
            self._groups += self._stage.push(chunk)

    def so_far(self) -> tuple[TokenGroup, ...]:
        """Return the groups that the question would have if it ended here; it may go on."""
        # A stage's deep copy is a stage of its own; shared models are not copied (ports.py).
        ending = copy.copy(self)
        ending._resampler, ending._stage = copy.deepcopy((self._resampler, self._stage))
        ending._groups = list(self._groups)
        return ending.finish()

    def finish(self) -> tuple[TokenGroup, ...]:
        """Return all groups of the question; it takes no more samples."""
        for chunk in self._resampler.flush():
            self._groups += self._stage.push(chunk)
        self._groups += self._stage.flush()
        return tuple(self._groups)
