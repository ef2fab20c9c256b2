"""What a microphone brings: a question from its first word to its end. Synchronous, no clock.

With a turn detector the ear finds the questions itself; without one the caller says where a
question ends. The session calls it in a worker thread, one call after the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from step_audio.core.ports import AudioTokenizer, TurnDetector
from step_audio.core.resampling import StreamResampler
from step_audio.core.types import Pcm, SpeechEventKind
from step_audio.dialog.turns.utterance import SpokenQuestion, Utterance

_DETECTOR_DELAY_MS: Final = 1000
"""How long after a first word the detector may speak up; sound is kept that much longer."""
PAUSE_MS: Final = 240
"""Silence after which a detector finds a pause."""
_PIECE_MS: Final = 20
"""Sound is heard in such pieces, shorter than a frame of any detector: a turn's end and the next
one's start never stand in the same piece, and what follows an end belongs to the next turn."""


@dataclass(frozen=True, slots=True)
class Detection:
    """What a session chose of its turn detector.

    Attributes:
        silence_ms: quiet that ends a turn. threshold: how sure of speech, in [0, 1].
        prefix_ms: sound from before the first word that joins the question.
        guess: whether a pause may begin an answer.
    """

    silence_ms: int | None = None
    threshold: float | None = None
    prefix_ms: int = 300
    guess: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """Speech began, or goes on after a pause; the question begins at `at_ms`."""

    at_ms: int
    again: bool = False


@dataclass(frozen=True, slots=True)
class Paused:
    """A short silence.

    Attributes:
        at_ms: where it began.
        question: what was asked if it ended here.
        guess: whether an answer may be begun.
        spoken_ms: length of the speech.
    """

    at_ms: int
    question: SpokenQuestion
    guess: bool = False
    spoken_ms: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Stopped:
    """The question is over; `duration_s` includes the silence that ended it."""

    at_ms: int
    question: SpokenQuestion
    duration_s: float


TurnEvent = Started | Paused | Stopped


class TurnAudio:
    """One session's input. Times count from the first sample that was ever pushed.

    Args:
        audio_tokenizer: of questions.
        rate_hz: of the samples.
        detector: finds the turns once `detect` was called; None: nobody does.
        max_s: longest question. A detected turn ends there; else a longer one is refused.
        keeps_sound: whether the samples of a question are kept beside its groups.
        heard_ms: length of what a former ear of the same session heard.
    """

    def __init__(
        self,
        audio_tokenizer: AudioTokenizer | None,
        rate_hz: int,
        detector: TurnDetector | None = None,
        *,
        max_s: float = 60.0,
        heard_ms: int = 0,
        keeps_sound: bool = False,
    ) -> None:
        self._audio_tokenizer, self._detector = audio_tokenizer, detector
        self._keeps_sound = keeps_sound
        self._rate_hz, self._max_s = rate_hz, max_s
        self._samples = heard_ms * rate_hz // 1000
        self._question: Utterance | None = None
        self._paused: SpokenQuestion | None = None  # the question, if it ended here
        self._detection: Detection | None = None
        self._turns: _Turns | None = None
        self._recent = _Recent(rate_hz)
        self._began_ms = 0
        self._paused_ms: int | None = None  # where the pause began, in one

    @property
    def now_ms(self) -> int:
        """Length of everything that was pushed."""
        return self._samples * 1000 // self._rate_hz

    @property
    def question(self) -> Utterance | None:
        """What is being said."""
        return self._question

    @property
    def duration_ms(self) -> int:
        """Length of the question so far."""
        return self._question.duration_ms if self._question else 0

    @property
    def speaking(self) -> bool:
        """Whether a detected turn is under way."""
        return self._detection is not None and self._question is not None

    @property
    def silent_ms(self) -> int:
        """How long the detected turn has been in a pause, 0 when it is in none."""
        return 0 if self._paused_ms is None else self.now_ms - self._paused_ms

    @property
    def spoken_ms(self) -> int:
        """How long the detected turn has certainly lasted, prefix left out.

        The newest sound may be the silence behind it, which is known only when it is a pause.
        """
        return max(0, self.now_ms - self._began_ms - PAUSE_MS) if self.speaking else 0

    def detect(self, detection: Detection | None) -> None:
        """Find turns from now on, or leave that to the caller; an open question is dropped."""
        if detection != self._detection:
            self._detection = detection
            self.clear()

    def clear(self) -> None:
        """Forget the question and what was heard before it."""
        self._question, self._paused, self._paused_ms = None, None, None
        self._recent = _Recent(self._rate_hz)
        self._turns = None

    def push(self, pcm: Pcm) -> list[TurnEvent]:
        """Take samples and return what was decided.

        Raises:
            AudioError: a question that the caller has to end becomes too long; nothing is added.
        """
        if self._detection is None or self._detector is None:
            self._question = self._question or self._open()
            self._question.push(pcm)
            self._samples += len(pcm)
            return []
        out: list[TurnEvent] = []
        piece = self._rate_hz * _PIECE_MS // 1000
        for at in range(0, len(pcm), piece):
            out += self._detected(pcm[at : at + piece], self._detection, self._detector)
        return out

    def take(self) -> tuple[SpokenQuestion, float] | None:
        """End the question here and return it and its seconds; None without one."""
        self._turns = None
        return self._finish()

    def end(self) -> Stopped:
        """End the detected turn in its pause, sooner than the detector does."""
        assert self._paused_ms is not None
        return self._stop(self._paused_ms)

    def take_silence(self) -> tuple[SpokenQuestion, float]:
        """Return the newest second or so as a question in which nobody was heard; at least one
        chunk was pushed, and no question is open."""
        question = self._open()
        question.push(self._recent.since(0)[1])
        self._recent = _Recent(self._rate_hz)
        return question.finish(), question.duration_ms / 1000

    def _finish(self) -> tuple[SpokenQuestion, float] | None:
        question, self._question = self._question, None
        if question is None:
            return None
        # What belongs to this question must not come again as the next one's prefix.
        self._recent = _Recent(self._rate_hz)
        paused, self._paused, self._paused_ms = self._paused, None, None
        return paused or question.finish(), question.duration_ms / 1000

    def _open(self) -> Utterance:
        return Utterance(
            self._audio_tokenizer,
            self._rate_hz,
            max_s=self._max_s,
            keeps_sound=self._keeps_sound,
        )

    def _detected(self, pcm: Pcm, detection: Detection, detector: TurnDetector) -> list[TurnEvent]:
        if self._turns is None:
            self._turns = _Turns(detector, detection, self._rate_hz, self.now_ms)
        if self._question is not None and not self._fits(self._question, pcm):
            ended = self._stop(self.now_ms)
            self._turns = None  # who goes on speaking starts a new turn
            return [ended, *self._detected(pcm, detection, detector)]
        keep_ms = detection.prefix_ms + _DETECTOR_DELAY_MS
        self._recent.add(pcm, self._samples, keep_ms)
        self._samples += len(pcm)
        if self._question is not None:
            self._question.push(pcm)
        out: list[TurnEvent] = []
        for kind, at_ms in self._turns.push(pcm):
            if kind is SpeechEventKind.STARTED:
                out.append(self._start(at_ms, detection.prefix_ms))
            elif self._question is None:
                continue
            elif kind is SpeechEventKind.PAUSED:
                # Whoever is guessed at or not, the question is the same: without the silence that
                # is waited for, in which a model hears words that nobody said.
                self._paused, self._paused_ms = self._question.so_far(), at_ms
                spoken_ms = max(0, at_ms - self._began_ms)
                paused = Paused(at_ms, self._paused, guess=detection.guess, spoken_ms=spoken_ms)
                out.append(paused)
            else:
                out.append(self._stop(at_ms))
        return out

    def _fits(self, question: Utterance, pcm: Pcm) -> bool:
        return question.duration_ms + len(pcm) * 1000 / self._rate_hz <= self._max_s * 1000

    def _start(self, at_ms: int, prefix_ms: int) -> Started:
        self._paused, self._paused_ms = None, None
        if self._question is not None:
            return Started(at_ms, again=True)
        self._question = self._open()
        self._began_ms = at_ms
        first, pcm = self._recent.since((at_ms - prefix_ms) * self._rate_hz // 1000)
        self._question.push(pcm[-int(self._max_s * self._rate_hz) :])
        return Started(first * 1000 // self._rate_hz)

    def _stop(self, at_ms: int) -> Stopped:
        taken = self._finish()
        assert taken is not None
        return Stopped(at_ms, *taken)


class _Turns:
    """A detector's stream at the session's rate; times are the session's."""

    def __init__(
        self, detector: TurnDetector, detection: Detection, rate_hz: int, offset_ms: int
    ) -> None:
        self._stage = detector.open(silence_ms=detection.silence_ms, threshold=detection.threshold)
        self._resampler = StreamResampler(rate_hz, detector.sample_rate_hz)
        self._offset_ms = offset_ms

    def push(self, pcm: Pcm) -> Iterable[tuple[SpeechEventKind, int]]:
        for chunk in self._resampler.push(pcm):
            for event in self._stage.push(chunk):
                yield event.kind, self._offset_ms + event.at_ms


class _Recent:
    """The newest samples."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._chunks: deque[tuple[int, Pcm]] = deque()

    def add(self, pcm: Pcm, at: int, keep_ms: int) -> None:
        """Keep a chunk that starts at sample `at`, forget what is older than `keep_ms`."""
        self._chunks.append((at, pcm))
        oldest = at + len(pcm) - keep_ms * self._rate_hz // 1000
        while self._chunks[0][0] + len(self._chunks[0][1]) < oldest:
            self._chunks.popleft()

    def since(self, sample: int) -> tuple[int, Pcm]:
        """Return what is kept from `sample` on, and where that begins; at first nothing is kept."""
        if not self._chunks:
            return sample, np.zeros(0, np.float32)
        first = self._chunks[0][0]
        pcm = np.concatenate([chunk for _, chunk in self._chunks])
        start = max(first, sample)
        return start, pcm[start - first :]
