"""What every Stage obeys. One line a stage: `laws.chunking_is_invisible(lambda: Stage(), ...)`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from step_audio.core.ports import Stage
from step_audio.core.types import Pcm

MakeStage = Callable[[], Stage[Pcm, Any]]


def run(stage: Stage[Pcm, Any], chunks: Iterable[Pcm]) -> NDArray[Any]:
    """Return everything a stage makes of the chunks: arrays joined, other values in a row."""
    out = [piece for chunk in chunks for piece in stage.push(chunk)]
    return _joined([*out, *stage.flush()])


def _joined(out: Sequence[Any]) -> NDArray[Any]:
    if out and isinstance(out[0], np.ndarray):
        return np.concatenate(out)
    values = np.empty(len(out), dtype=object)
    values[:] = out
    return values


def cut(pcm: Pcm, cuts: Sequence[int]) -> list[Pcm]:
    """Return `pcm` cut at the given places; a place given twice makes an empty chunk."""
    return list(np.split(pcm, sorted(cuts)))


def chunking_is_invisible(
    make: MakeStage, pcm: Pcm, cuts: Sequence[int], atol: float = 0.0
) -> None:
    """The output depends on the samples, not on where the input was cut."""
    whole, pieces = run(make(), [pcm]), run(make(), cut(pcm, cuts))
    if atol:
        np.testing.assert_allclose(pieces, whole, rtol=0, atol=atol)
    else:
        np.testing.assert_array_equal(pieces, whole)


def streams_are_isolated(make: MakeStage, a: Pcm, b: Pcm) -> None:
    """Two streams fed in turn equal two streams fed alone."""
    first, second = make(), make()
    got_a: list[Any] = []
    got_b: list[Any] = []
    for chunk_a, chunk_b in zip(np.array_split(a, 7), np.array_split(b, 7), strict=True):
        got_a += first.push(chunk_a)
        got_b += second.push(chunk_b)
    got_a += first.flush()
    got_b += second.flush()
    np.testing.assert_array_equal(_joined(got_a), run(make(), np.array_split(a, 7)))
    np.testing.assert_array_equal(_joined(got_b), run(make(), np.array_split(b, 7)))


def flush_is_final_and_total(make: MakeStage, pcm: Pcm, expected: int) -> None:
    """In all `expected` outputs come of the samples, and after `flush` there is nothing left."""
    stage = make()
    made = [*stage.push(pcm), *stage.flush()]
    assert len(_joined(made)) == expected
    assert list(stage.flush()) == []


def a_copy_goes_on_alone(make: MakeStage, pcm: Pcm, cut_at: int) -> None:
    """A deep copy of a stage ends as the stage would, and the stage does not notice."""
    stage = make()
    begun = list(stage.push(pcm[:cut_at]))
    copied = copy.deepcopy(stage)
    np.testing.assert_array_equal(_joined([*begun, *copied.flush()]), run(make(), [pcm[:cut_at]]))
    rest = [*stage.push(pcm[cut_at:]), *stage.flush()]
    np.testing.assert_array_equal(_joined([*begun, *rest]), run(make(), [pcm]))
