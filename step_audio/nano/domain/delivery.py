"""How an answer must sound: speed, loudness and whisper, as earlier requests set them.

nano writes it in front of its answer as style tags ("(fast) It is sunny."), which the voice obeys.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from step_audio.nano.domain.carriers import load
from step_audio.nano.domain.sample import QaSample

NORMAL_LEVEL: Final = 3
_SPEED_TAGS: Final = {1: "(slow2)", 2: "(slow)", 4: "(fast)", 5: "(fast2)"}
_LOUDNESS_TAGS: Final = {1: "(quiet2)", 2: "(quiet)", 4: "(loud)", 5: "(loud2)"}
LEVELS: Final = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}


@dataclass(frozen=True, slots=True)
class Delivery:
    """Speed and loudness from 1 (slow, soft) to 5 (fast, loud); 3 is normal."""

    speed: int = NORMAL_LEVEL
    loudness: int = NORMAL_LEVEL
    whisper: bool = False

    @property
    def tags(self) -> str:
        """The style tags before the answer, "" for plain speech."""
        return " ".join(
            tag
            for tag in (
                _SPEED_TAGS.get(self.speed, ""),
                "(whisper)" if self.whisper else _LOUDNESS_TAGS.get(self.loudness, ""),
            )
            if tag
        )


def delivery(sample: QaSample, now: Delivery = Delivery()) -> Delivery:
    """Return how the answer of `sample` is spoken: its own request counts, and its history's.

    `now`: how answers were spoken before its history.
    """
    for turn in sample.history:
        now = after(now, turn)
    if sample.intent != "style":
        return now
    manner = load("talk")["style_manner"].get(sample.slots[0])
    return _changed(now, (manner,) if manner else sample.slots)


def after(now: Delivery, turn: QaSample) -> Delivery:
    """Return how answers after `turn` are spoken; a manner that was asked for once is gone."""
    lasts = turn.intent == "style" and turn.slots[0] not in load("talk")["style_manner"]
    return _changed(now, turn.slots) if lasts else now


def _changed(now: Delivery, slots: tuple[str, ...]) -> Delivery:
    if slots[0] == "speed":
        return replace(now, speed=LEVELS[slots[1]])
    if slots[0] == "volume":
        return replace(now, loudness=LEVELS[slots[1]], whisper=False)
    if slots[0] == "whisper":
        return replace(now, whisper=True)
    if slots[0] in ("faster", "slower"):
        return replace(now, speed=_level(now.speed, up=slots[0] == "faster"))
    if slots[0] in ("louder", "softer"):
        return replace(now, loudness=_level(now.loudness, up=slots[0] == "louder"), whisper=False)
    return Delivery()


def _level(level: int, *, up: bool) -> int:
    return min(5, level + 1) if up else max(1, level - 1)
