"""One real person: numbers, days and months out of Debian's telephone prompts.

`asterisk-core-sounds-en-g722` (CC BY-SA 3.0) is 25 minutes of one professional speaker at 16 kHz.
It is for examining only: nothing here is trained on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import av
import numpy as np

from step_audio.core.errors import StepAudioError
from step_audio.core.types import Pcm
from step_audio.nano.domain.numbers import number_words, ordinal_words

PACKAGE: Final = "asterisk-core-sounds-en-g722"
SOUNDS: Final = Path("/usr/share/asterisk/sounds")
RATE_HZ: Final = 16_000

_DAYS: Final = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june", "july", "august"),
    *("september", "october", "november", "december"),
)
_NUMBERS: Final = (*range(21), *range(30, 100, 10))

PROMPTS: Final[dict[str, str]] = {
    **{str(n): number_words(n) for n in _NUMBERS},
    **{f"h-{n}": ordinal_words(n) for n in range(1, 21)},
    **{f"day-{i}": day for i, day in enumerate(_DAYS)},
    **{f"mon-{i}": month for i, month in enumerate(_MONTHS)},
    **{word: word for word in ("hundred", "thousand", "minus", "today", "tomorrow")},
}
"""File of `digits` to the word that is said there."""


class PromptsMissing(StepAudioError):
    """The telephone prompts are not installed."""

    code = "prompts_missing"

    def __init__(self) -> None:
        super().__init__(f"telephone prompts are not installed; on Debian: apt install {PACKAGE}")


def prompts(folder: Path = SOUNDS) -> Iterator[tuple[str, Pcm]]:
    """Yield every word with its sound at 16 kHz, (T,). Raises PromptsMissing."""
    for name, word in PROMPTS.items():
        found = sorted(folder.glob(f"**/digits/{name}.g722"))
        if not found:
            raise PromptsMissing
        yield word, _decoded(found[0])


def _decoded(path: Path) -> Pcm:
    with av.open(str(path), format="g722") as container:
        frames = [frame.to_ndarray().ravel() for frame in container.decode(audio=0)]
    samples: Pcm = np.concatenate(frames).astype(np.float32) / np.float32(32768)
    return samples
