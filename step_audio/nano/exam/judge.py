"""The ears that grade answers: Whisper base for the bars, pocketsphinx where a word list decides.

Nobody here wrote or trained them, so what they hear is what was said, within their own errors;
every score is therefore printed beside its ceiling (the same text spoken by a source voice).
"""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from step_audio.core.errors import AudioError, StepAudioError
from step_audio.core.types import Pcm, TextOptions
from step_audio.dialog.speakable.rules import read_sentence
from step_audio.eval import whisper
from step_audio.eval.wer import normalise
from step_audio.nano.domain import generate, pronunciations, vocabulary
from step_audio.nano.domain.numbers import ordinal_words
from step_audio.nano.exam.language_model import bigram_arpa

if TYPE_CHECKING:
    from pocketsphinx import Decoder

RATE_HZ: Final = 16_000
DOMAIN_WEIGHT: Final = 7.0
_LEAD, _TAIL = 3_200, 4_800
_PEAK = 0.7
_FLOOR = 3e-4
_ORDINAL = re.compile(r"(?<![\d.,])(\d{1,2})(?:st|nd|rd|th)\b")


class JudgeMissing(StepAudioError):
    """pocketsphinx is not installed."""

    code = "judge_missing"

    def __init__(self) -> None:
        super().__init__("pocketsphinx is not installed; pip install 'step-audio[train]'")


class Ear(Protocol):
    """Who judges: sound to the words of it."""

    def hear(self, pcm: Pcm, rate_hz: int, /) -> str: ...


class WhisperJudge:
    """Whisper base; figures that it writes are put into words, as answers hold them."""

    def hear(self, pcm: Pcm, rate_hz: int, /) -> str:
        """Return the words heard, lower case, "" for none; raises as `whisper.hear`."""
        return in_words(whisper.hear(pcm, rate_hz))


def in_words(text: str) -> str:
    """Return a text as words alone: "It's 42, on May 3rd." is "it's forty two on may third"."""
    said = _ORDINAL.sub(lambda found: f" {_ordinal(int(found[1]))} ", text)
    return " ".join(normalise(read_sentence(said, TextOptions(), chinese=False)))


def _ordinal(number: int) -> str:
    return ordinal_words(number) if 1 <= number <= 39 else str(number)


class Judge:
    """pocketsphinx: sound to words. Not thread-safe; equal sound gives equal words."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def hear(self, pcm: Pcm, rate_hz: int) -> str:
        """Return the words heard, "" for none.

        Args:
            pcm: speech, (T,), any level; T may be 0.
            rate_hz: its rate.

        Raises: AudioError: NaN or infinite samples.
        """
        samples = prepare(pcm, rate_hz)
        self._decoder.start_utt()
        self._decoder.process_raw(samples.tobytes(), full_utt=True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr.lower() if hypothesis else ""


def open_judge() -> Judge:
    """Return a judge with its own general language model. Raises JudgeMissing."""
    return Judge(_decoder())


def domain_judge(sentences: int = 6_000, seed: int = 0) -> Judge:
    """Return a judge who knows the words of nano's domain and how they tend to follow.

    Its model comes from questions and answers of the training grammar, and knows no facts (see
    `language_model`). Raises JudgeMissing.
    """
    rng = random.Random(seed)
    samples = (generate(rng, "train") for _ in range(sentences))
    texts = (text for sample in samples for text in (sample.answer, sample.answer, sample.question))
    return judge_of(texts, vocabulary(), pronunciations())


def judge_of(
    texts: Iterable[str],
    words: Iterable[str],
    lexicon: Mapping[str, Sequence[Sequence[str]]],
) -> Judge:
    """Return a judge over exactly these words, with a bigram model of these texts.

    Pronunciations are the judge's own where it has the word, else the lexicon's.
    """
    known = sorted(set(words))
    entries = _dictionary(known, lexicon)
    arpa = bigram_arpa((normalise(text) for text in texts), entries)
    lines = [
        f"{word}{f'({i})' if i > 1 else ''} {' '.join(way)}"
        for word, ways in entries.items()
        for i, way in enumerate(ways, 1)
    ]
    with tempfile.TemporaryDirectory(prefix="judge-") as folder:
        model, spelling = Path(folder) / "domain.arpa", Path(folder) / "domain.dict"
        model.write_text(arpa)
        spelling.write_text("\n".join(lines) + "\n")
        return Judge(_decoder(lm=str(model), dict=str(spelling), lw=DOMAIN_WEIGHT))


def prepare(pcm: Pcm, rate_hz: int) -> NDArray[np.int16]:
    """Return 16 kHz samples at a set level between pauses, with a faint floor.

    The decoder adapts to digital silence badly and has no fixed level of its own.
    """
    if not np.isfinite(pcm).all():
        raise AudioError("the sound to judge holds NaN or infinite samples")
    sound = soxr.resample(pcm, rate_hz, RATE_HZ) if rate_hz != RATE_HZ and len(pcm) else pcm
    peak = float(np.abs(sound).max()) if len(sound) else 0.0
    level = _PEAK / peak if peak > 1e-4 else 0.0
    padded = np.pad(np.asarray(sound, dtype=np.float32) * np.float32(level), (_LEAD, _TAIL))
    padded += np.random.default_rng(0).standard_normal(len(padded), dtype=np.float32) * _FLOOR
    return (np.clip(padded, -1.0, 1.0) * 32767.0).astype(np.int16)


def _decoder(**settings: str | float) -> Decoder:
    try:
        from pocketsphinx import Decoder  # noqa: PLC0415 - optional
    except ImportError:
        raise JudgeMissing from None
    return Decoder(loglevel="FATAL", **settings)


def _dictionary(
    words: Sequence[str], lexicon: Mapping[str, Sequence[Sequence[str]]]
) -> dict[str, list[tuple[str, ...]]]:
    own = _bundled()
    entries: dict[str, list[tuple[str, ...]]] = {}
    for word in words:
        ways = own.get(word) or [
            tuple(phone.upper().rstrip("012") for phone in way) for way in lexicon.get(word, ())
        ]
        if ways:
            entries[word] = ways
    return entries


@cache
def _bundled() -> dict[str, list[tuple[str, ...]]]:
    """Read the dictionary of the wheel: word to its pronunciations."""
    try:
        from pocketsphinx import get_model_path  # noqa: PLC0415 - optional
    except ImportError:
        raise JudgeMissing from None
    found: dict[str, list[tuple[str, ...]]] = {}
    with open(get_model_path("en-us/cmudict-en-us.dict"), encoding="utf-8") as lines:
        for line in lines:
            word, *phones = line.split()
            found.setdefault(word.partition("(")[0], []).append(tuple(phones))
    return found
