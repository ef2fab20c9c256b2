"""How a text should be spoken, as a tag in front of it: emotion, style, speed, dialect, singing.

The words are those that the published speech model was trained with: "（高兴1）", "（四川话）",
"（慢速2）", "（RAP）". Several tags stand in one pair of brackets. Source: Step-Audio report,
arXiv:2502.11946, and the published system prompts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from step_audio.core.errors import InputError
from step_audio.dialog.prompting.tts_prompts import HUMMING, RAP

SPEEDS: Final = ("慢速2", "慢速1", "", "快速1", "快速2")
"""Of level 1 to 5; 3 is the voice's own speed and has no tag."""

EMOTIONS: Final[dict[str, str]] = {
    "happy": "高兴",
    "angry": "生气",
    "sad": "悲伤",
    "coquettish": "撒娇",
}
DIALECTS: Final[dict[str, str]] = {
    "mandarin": "中文",
    "english": "英文",
    "korean": "韩语",
    "japanese": "日语",
    "sichuan": "四川话",
    "cantonese": "粤语",
}
SINGING: Final[dict[str, str]] = {"rap": RAP, "humming": HUMMING}

RATES: Final = (0.7, 0.85, 1.0, 1.18, 1.4)
"""Factor of the voice's own speed at each level, for engines that take one."""


@dataclass(frozen=True, slots=True)
class Tags:
    """A manner of speaking; the default is the voice's own.

    Attributes:
        emotion: one of `EMOTIONS`, or any word the model knows.
        intensity: of the emotion, 1 to 5; the published model knows 1 and 2.
        style: any word the model knows, such as "whisper".
        speed: 1 (slow) to 5 (fast).
        dialect: one of `DIALECTS`, or any word the model knows.
        singing: "rap", "humming" or "".
    """

    emotion: str = ""
    intensity: int = 1
    style: str = ""
    speed: int = 3
    dialect: str = ""
    singing: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.speed <= len(SPEEDS):
            raise InputError(f"speed is {self.speed}, expected 1 (slow) to 5 (fast)")
        if not 1 <= self.intensity <= 5:
            raise InputError(f"intensity is {self.intensity}, expected 1 to 5")
        if self.singing and self.singing not in SINGING:
            raise InputError(f"singing is {self.singing!r}, expected {' or '.join(SINGING)}")
        for word in (self.emotion, self.style, self.dialect):
            if any(mark in word for mark in "()（）") or len(word) > 40:
                raise InputError(f"{word[:40]!r} cannot stand in a tag")

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Tags:
        """Return the tags of a manifest row. Raises InputError: unknown keys or values."""
        try:
            return cls(**row)
        except TypeError:
            raise InputError(f"tags {dict(row)} have keys or values that do not exist") from None

    def row(self) -> dict[str, Any]:
        """Return what differs from the default, for a manifest."""
        plain = asdict(Tags())
        return {key: value for key, value in asdict(self).items() if value != plain[key]}

    def prefix(self) -> str:
        """Return the tag in front of a text, "" for the voice's own manner."""
        if self.singing:  # the published model takes it alone
            return f"（{SINGING[self.singing]}）"
        emotion = ""
        if self.emotion:
            emotion = f"{EMOTIONS.get(self.emotion, self.emotion)}{self.intensity}"
        dialect = DIALECTS.get(self.dialect, self.dialect)
        words = [w for w in (dialect, emotion, self.style, SPEEDS[self.speed - 1]) if w]
        return f"（{'，'.join(words)}）" if words else ""

    @property
    def rate(self) -> float:
        """Factor of the voice's own speed."""
        return RATES[self.speed - 1]
