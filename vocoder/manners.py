"""Manners of speaking as what they do to pitch, time and spectrum: numbers, no weights.

A manner is done between the flow and the waveform generator, whose excitation follows any pitch
that it is given; see `vocoder.manner_stream`. The emotions' directions are those of the literature
on acted speech: joy and anger are higher, wider, faster, louder and brighter, sadness the opposite
and breathier. Source: Scherer, Speech Communication 40 (2003), table 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from step_audio.core.errors import InputError

Song = Literal["", "sing", "rap"]


@dataclass(frozen=True, slots=True)
class Manner:
    """How to speak; the defaults change nothing.

    Attributes:
        pitch: factor on the fundamental.
        span: factor on how far the pitch goes from its running mean, in octaves.
        pace: 2.0 takes half the time. pause: factor on the time of quiet frames.
        level_db: of the sound; what would leave [-1, 1] is bent.
        tilt_db: between the lowest and the highest band; above 0 is brighter.
        breath: share of the excitation that is noise, in [0, 1]; at 1 nothing is voiced.
        song: notes or a beat instead of the pitch and the time of speech.
    """

    pitch: float = 1.0
    span: float = 1.0
    pace: float = 1.0
    pause: float = 1.0
    level_db: float = 0.0
    tilt_db: float = 0.0
    breath: float = 0.0
    song: Song = ""

    @property
    def whispered(self) -> bool:
        """Whether nothing is voiced."""
        return self.breath >= 1.0


PLAIN: Final = Manner()
MANNERS: Final = {
    "happy1": Manner(pitch=1.14, span=1.3, pace=1.06, pause=0.9, level_db=1.5, tilt_db=3.0),
    "happy2": Manner(pitch=1.28, span=1.6, pace=1.12, pause=0.8, level_db=2.5, tilt_db=5.0),
    "sad1": Manner(
        pitch=0.94, span=0.7, pace=0.87, pause=1.3, level_db=-3.0, tilt_db=-4.0, breath=0.15
    ),
    "sad2": Manner(
        pitch=0.89, span=0.45, pace=0.77, pause=1.6, level_db=-5.0, tilt_db=-8.0, breath=0.3
    ),
    "angry1": Manner(pitch=1.08, span=1.4, pace=1.1, pause=0.8, level_db=2.5, tilt_db=5.0),
    "angry2": Manner(pitch=1.16, span=1.9, pace=1.2, pause=0.6, level_db=4.0, tilt_db=9.0),
    "whisper": Manner(pace=0.95, breath=1.0),
    "sing": Manner(song="sing"),
    "rap": Manner(song="rap"),
}
"""By the names that `Style.manners` has; a number is the strength."""


def manner_of(names: Iterable[str]) -> Manner:
    """Return manners that hold together, such as sad1 and whisper; a song stands alone.

    Raises:
        InputError: there is none of that name.
    """
    joined = PLAIN
    for name in names:
        more = MANNERS.get(name)
        if more is None:
            raise InputError(f"no manner {name!r}; there are {', '.join(MANNERS)}")
        if more.song:
            return more
        joined = Manner(
            pitch=joined.pitch * more.pitch,
            span=joined.span * more.span,
            pace=joined.pace * more.pace,
            pause=joined.pause * more.pause,
            level_db=joined.level_db + more.level_db,
            tilt_db=joined.tilt_db + more.tilt_db,
            breath=max(joined.breath, more.breath),
        )
    return joined
