"""A spoken question while it is spoken: samples in, its tokens and its sound out at the end."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np

from step_audio.core.errors import AudioError, ShapeError
from step_audio.core.ports import AudioTokenizer
from step_audio.core.resampling import input_resampler
from step_audio.core.types import Pcm, TokenGroup
from step_audio.dialog.recognition.speech import SPEECH_HZ, RecognizedSoFar, Speech


@dataclass(frozen=True, slots=True)
class SpokenQuestion:
    """A question as it was spoken: for models that take token groups, and for those that do not.

    Attributes:
        groups: its token groups; () where there is no audio tokenizer.
        speech: its sound, for a speech recognizer; None where nobody asked for it.
    """

    groups: tuple[TokenGroup, ...] = ()
    speech: Speech | None = field(default=None, compare=False)


class Utterance:
    """Tokenises as the sound arrives, so that at the end of the turn only a flush is left.

    Synchronous and for one turn; the runner calls it in a worker thread.

    Args:
        audio_tokenizer: None: nobody takes groups.
        rate_hz: of the samples that are pushed.
        max_s: longest question.
        keeps_sound: whether the samples are kept for a speech recognizer.
    """

    def __init__(
        self,
        audio_tokenizer: AudioTokenizer | None,
        rate_hz: int,
        *,
        max_s: float = 60.0,
        keeps_sound: bool = False,
    ) -> None:
        wanted_hz = audio_tokenizer.sample_rate_hz if audio_tokenizer else SPEECH_HZ
        if keeps_sound and wanted_hz != SPEECH_HZ:
            raise ShapeError(f"a recognizer takes {SPEECH_HZ} Hz, the tokenizer {wanted_hz} Hz")
        self._resampler = input_resampler(rate_hz, wanted_hz)
        self._stage = audio_tokenizer.open() if audio_tokenizer else None
        self._sound: list[Pcm] | None = [] if keeps_sound else None
        self._recognized = RecognizedSoFar()
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

    @property
    def speech(self) -> Speech | None:
        """The sound so far, None where it is not kept."""
        if self._sound is None:
            return None
        self._sound = [np.concatenate(self._sound)] if self._sound else []
        pcm = self._sound[0] if self._sound else np.zeros(0, np.float32)
        return Speech(pcm, self._recognized)

    def push(self, pcm: Pcm) -> None:
        """Add samples. Raises AudioError: the question becomes too long; nothing is added."""
        if self._samples + len(pcm) > self._max_s * self._rate_hz:
            raise AudioError(f"a question may last {self._max_s:g} s; commit or clear it")
        self._samples += len(pcm)
        for chunk in self._resampler.push(pcm):
            self._take(chunk)

    def so_far(self) -> SpokenQuestion:
        """Return the question as it would be if it ended here; it may go on."""
        # A stage's deep copy is a stage of its own; shared models are not copied (ports.py).
        ending = copy.copy(self)
        ending._resampler, ending._stage = copy.deepcopy((self._resampler, self._stage))
        ending._groups = list(self._groups)
        ending._sound = None if self._sound is None else list(self._sound)
        return ending.finish()

    def finish(self) -> SpokenQuestion:
        """Return the whole question; it takes no more samples."""
        for chunk in self._resampler.flush():
            self._take(chunk)
        if self._stage is not None:
            self._groups += self._stage.flush()
        return SpokenQuestion(tuple(self._groups), self.speech)

    def _take(self, chunk: Pcm) -> None:
        if self._stage is not None:
            self._groups += self._stage.push(chunk)
        if self._sound is not None:
            self._sound.append(chunk)
