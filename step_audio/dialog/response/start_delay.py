"""When an answer's first sound may go out, so that the rest follows it without a gap.

The first chunk of sound is short, for a quick start. On a machine that is busy with other answers
the next one may not be made before the first has been played. How fast the model writes groups and
how long the vocoder took for its first chunk tell when the following chunks will be ready; the
first one waits for as long as they would be late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from step_audio.core.ports import ChunkSizes

GROUP_S: Final = 0.12
"""Sound of one group."""

LOOKED_AT_S: Final = 4.0
"""So much of the answer is thought ahead: most answers are not longer."""

MOST_S: Final = 0.6
"""Longest delay: past it, waiting is worse than a gap."""

MARGIN_S: Final = 0.03
"""Added to a delay: the estimate is made of the first moments alone."""

FIXED_SHARE: Final = 0.4
"""Share of a first chunk's vocoder time that does not grow with the chunk."""


@dataclass
class WritingPace:
    """What is known of an answer under way. Times are readings of one clock, in seconds.

    `began_s`: when the model wrote the first word or sound of the answer.
    """

    began_s: float | None = None
    groups: int = 0
    latest_s: float = 0.0

    def wrote(self, now_s: float, *, group: bool) -> None:
        """Note that a word or a group was written."""
        if self.began_s is None:
            self.began_s = now_s
        if group:
            self.groups += 1
            self.latest_s = now_s

    @property
    def group_s(self) -> float:
        """Seconds a group, the words between the groups included."""
        if self.began_s is None or not self.groups:
            return 0.0
        return (self.latest_s - self.began_s) / self.groups


def start_delay_s(chunks: ChunkSizes, pace: WritingPace, vocoder_s: float) -> float:
    """Return how long the first sound should wait.

    Args:
        chunks: how the vocoder cuts an answer.
        pace: of the model, when the first chunk was made.
        vocoder_s: what that chunk took.
    """
    late = 0.0
    made_s = played_s = 0.0
    sizes = _first_sizes(chunks.sizes)
    for count, (size, received) in enumerate(zip(sizes, accumulate(sizes), strict=False)):
        if not count:
            continue
        played_s += sizes[count - 1] * GROUP_S
        wanted = received + chunks.lookahead - pace.groups
        share = FIXED_SHARE + (1.0 - FIXED_SHARE) * size / sizes[0]
        made_s = max(made_s, wanted * pace.group_s) + share * vocoder_s
        late = max(late, made_s - played_s)
    return min(MOST_S, late + MARGIN_S) if late > 0.0 else 0.0


def _first_sizes(sizes: Sequence[int]) -> list[int]:
    """Return the sizes of the chunks of the first seconds."""
    listed = list[int]()
    while sum(listed) * GROUP_S < LOOKED_AT_S:
        listed.append(sizes[min(len(listed), len(sizes) - 1)])
    return listed
