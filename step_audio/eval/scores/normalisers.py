"""Texts to the units that error rates count, by the rules of each set.

| rule | set | units | rate |
|---|---|---|---|
| wer_en | LibriSpeech | Whisper's English normaliser, then its basic one; words | pooled |
| cer_zh | AISHELL, WenetSpeech | as WeText reads it; Chinese characters, else words | pooled |
| seed_en, seed_zh | SEED-TTS | punctuation out; words in lower case, or characters | mean |
| uro_en, uro_zh | URO-Bench | Whisper's English normaliser; characters, numbers in words | mean |

Pooled: errors of all texts over units of all texts. Mean: the rates of the texts, averaged.
Sources: Kimi-Audio-Evalkit `metrics/wer.py` (after Qwen2-Audio), BytedanceSpeech/seed-tts-eval
`run_wer.py`, URO-Bench. Where those use chinese_text_normalization or cn2an, WeText stands here,
and OpenCC for zhconv.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from step_audio.core.error_rates import edits
from step_audio.core.errors import StepAudioError

_TAG: Final = re.compile(r"<\|[^|>]*\|>")
_HAN: Final = "\u3400-\u4dbf\u4e00-\u9fff"
_UNIT: Final = re.compile(rf"[{_HAN}]|[^\s{_HAN}]+")


class NormalisersMissing(StepAudioError):
    """The packages that normalise texts are not installed."""

    code = "normalisers_missing"

    def __init__(self, package: str) -> None:
        super().__init__(f"{package} is not installed; pip install 'step-audio[eval]'")


def whisper_english(text: str) -> str:
    """Return English text as Whisper's authors compare it: "twenty-two" is 22, "won't" is will not.

    Source: arXiv:2212.04356, appendix C; the package whisper-normalizer.
    """
    english, basic = _whisper_normalisers()
    return " ".join(str(basic(english(_untagged(text)))).split())


def chinese_units(text: str) -> list[str]:
    """Return Chinese text as it is read aloud, simplified: one unit a character, else words."""
    said = _untagged(text)
    # Spaces go, but not those that part two words of another script.
    said = re.sub(rf"(?<=[{_HAN}])\s+|\s+(?=[{_HAN}])", "", " ".join(said.split()))
    read = str(_wetext().normalize(said)).lower()
    return _UNIT.findall(_without_marks(read))


def seed_english(text: str) -> list[str]:
    """Return SEED-TTS's words: marks out but the apostrophe, lower case."""
    return _without(text, _seed_marks()).replace("  ", " ").lower().split()


def seed_chinese(text: str) -> list[str]:
    """Return SEED-TTS's characters: simplified, marks out; spaces between them do not count."""
    plain = _without(_simplified(text), _seed_marks()).replace("  ", " ")
    return " ".join(plain).split()


def uro_english(text: str) -> list[str]:
    """Return URO-Bench's words."""
    return str(_whisper_normalisers()[0](text)).split()


def uro_chinese(text: str) -> list[str]:
    """Return URO-Bench's characters: marks out, figures as they are said."""
    marks = _hanzi_marks() + string.punctuation
    read = str(_wetext().normalize(_without(text, marks)))
    return [char for char in read if not char.isspace()]


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """How two texts are compared.

    Attributes:
        units: a text to what is counted.
        pooled: whether errors of all texts are added up before they are divided.
    """

    units: Callable[[str], list[str]]
    pooled: bool

    def errors(self, reference: str, hypothesis: str) -> tuple[float, float]:
        """Return what a text adds to the numerator and to the denominator of the rate."""
        said, heard = self.units(reference), self.units(hypothesis)
        if not said:
            return (float(len(heard)), 0.0) if self.pooled else (float(bool(heard)), 1.0)
        wrong = float(edits(said, heard))
        return (wrong, float(len(said))) if self.pooled else (wrong / len(said), 1.0)


ERROR_RULES: Final[Mapping[str, ErrorRule]] = {
    "wer_en": ErrorRule(lambda text: whisper_english(text).split(), pooled=True),
    "cer_zh": ErrorRule(chinese_units, pooled=True),
    "seed_en": ErrorRule(seed_english, pooled=False),
    "seed_zh": ErrorRule(seed_chinese, pooled=False),
    "uro_en": ErrorRule(uro_english, pooled=False),
    "uro_zh": ErrorRule(uro_chinese, pooled=False),
}


def is_chinese(text: str) -> bool:
    """Return whether a text holds a Chinese character."""
    return bool(re.search(f"[{_HAN}]", text))


def _untagged(text: str) -> str:
    return _TAG.sub(" ", text)


def _without(text: str, marks: str) -> str:
    return text.translate({ord(mark): None for mark in marks})


def _without_marks(text: str) -> str:
    """Return a text whose marks are spaces, but for apostrophes within words."""
    kept = [
        char if char == "'" or unicodedata.category(char)[0] not in "PSZC" else " " for char in text
    ]
    return re.sub(r"(?<!\w)'|'(?!\w)", " ", "".join(kept))


def _seed_marks() -> str:
    return (_hanzi_marks() + string.punctuation).replace("'", "")


@cache
def _hanzi_marks() -> str:
    try:
        from zhon.hanzi import punctuation  # noqa: PLC0415 - an extra
    except ImportError:
        raise NormalisersMissing("zhon") from None
    return str(punctuation)


def _simplified(text: str) -> str:
    return str(_opencc().convert(text))


@cache
def _opencc() -> Any:
    try:
        from opencc import OpenCC  # noqa: PLC0415 - an extra
    except ImportError:
        raise NormalisersMissing("opencc") from None
    return OpenCC("t2s")


@cache
def _whisper_normalisers() -> tuple[Any, Any]:
    try:
        from whisper_normalizer.basic import BasicTextNormalizer  # noqa: PLC0415 - an extra
        from whisper_normalizer.english import EnglishTextNormalizer  # noqa: PLC0415
    except ImportError:
        raise NormalisersMissing("whisper-normalizer") from None
    return EnglishTextNormalizer(), BasicTextNormalizer()


@cache
def _wetext() -> Any:
    from wetext import Normalizer  # noqa: PLC0415 - half a second

    return Normalizer(lang="zh", operator="tn", traditional_to_simple=True, full_to_half=True)
