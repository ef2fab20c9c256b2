"""Text ids and groups -> one sequence: 10 text ids, 15 audio ids, 10 text ids, and so on.

Used for the history and for training data; the parser reads ids by range and never counts.
Source: Step-Audio-AQAA report, arXiv:2506.08967 (10:15 was the best ratio of its ablation).
"""

from __future__ import annotations

from collections.abc import Sequence

from step_audio.core.types import TokenGroup
from step_audio.core.vocab import Vocab

TEXT_RUN = 10
GROUP_RUN = 3


def interleave(
    text_ids: Sequence[int],
    groups: Sequence[TokenGroup],
    vocab: Vocab,
    *,
    text_run: int = TEXT_RUN,
    group_run: int = GROUP_RUN,
) -> list[int]:
    """Return `text_run` text ids, then the 5 ids of each of `group_run` groups, repeatedly.

    Text comes first. When one side is used up the rest of the other follows in one run.
    """
    out: list[int] = []
    text_at = group_at = 0
    while text_at < len(text_ids) or group_at < len(groups):
        out += text_ids[text_at : text_at + text_run]
        out += vocab.ids(groups[group_at : group_at + group_run])
        text_at += text_run
        group_at += group_run
    return out
