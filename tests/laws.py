"""What every Stage obeys. One line a stage: `laws.chunking_is_invisible(lambda: Stage(), ...)`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from step_audio.core.ports import Stage
from step_audio.core.types import Pcm


def run(stage: Stage[Pcm, Pcm], chunks: Iterable[Pcm]) -> Pcm:
    """Return everything a stage makes of the chunks, joined."""
    out = [piece for chunk in chunks for piece in stage.push(chunk)]
    out += stage.flush()
    return np.concatenate(out) if out else np.zeros(0, dtype=np.float32)


def cut(pcm: Pcm, cuts: Sequence[int]) -> list[Pcm]:
    """Return `pcm` cut at the given places; a place given twice makes an empty chunk."""
    return list(np.split(pcm, sorted(cuts)))


def chunking_is_invisible(
    make: Callable[[], Stage[Pcm, Pcm]], pcm: Pcm, cuts: Sequence[int], atol: float = 0.0
) -> None:
    """The output depends on the samples, not on where the input was cut."""
    whole, pieces = run(make(), [pcm]), run(make(), cut(pcm, cuts))
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=atol)


def streams_are_isolated(make: Callable[[], Stage[Pcm, Pcm]], a: Pcm, b: Pcm) -> None:
    """Two streams fed in turn equal two streams fed alone."""
    first, second = make(), make()
    got_a: list[Pcm] = []
    got_b: list[Pcm] = []
    for chunk_a, chunk_b in zip(np.array_split(a, 7), np.array_split(b, 7), strict=True):
        got_a += first.push(chunk_a)
        got_b += second.push(chunk_b)
    got_a += first.flush()
    got_b += second.flush()
    np.testing.assert_array_equal(np.concatenate(got_a), run(make(), np.array_split(a, 7)))
    np.testing.assert_array_equal(np.concatenate(got_b), run(make(), np.array_split(b, 7)))
