"""Voices from a weights folder: one sub-folder of `voices/` each, listed by the manifest.

    embedding.npy    speaker vector, (192,) float32
    prompt.json      optional: {"text": str, "groups": [[l, l, s, s, s], ...]}
    prompt_mel.npy   optional: mel of the prompt, (T, 80) float32, 22.05 kHz

A name is only ever looked up among the names listed; it never becomes a path.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from step_audio.core.errors import InputError, VoiceNotFound, WeightsError
from step_audio.core.json_files import groups_from_lists, read_object
from step_audio.core.types import TokenGroup, Voice
from step_audio.core.weights import Weights

EMBEDDING_SIZE = 192
MELS = 80


class FolderVoices:
    """All voices of a weights folder, read once. Shared and immutable.

    Raises:
        WeightsError: a listed voice does not have the shapes above.
    """

    def __init__(self, weights: Weights) -> None:
        found = (name.split("/") for name in weights.files)
        names = sorted(
            parts[1]
            for parts in found
            if len(parts) == 3 and parts[0] == "voices" and parts[2] == "embedding.npy"
        )
        self._voices = {name: _read(weights, name) for name in names}

    def get(self, name: str) -> Voice:
        """Return a voice. Raises VoiceNotFound, which lists those there are."""
        try:
            return self._voices[name]
        except KeyError:
            raise VoiceNotFound(name, self.names()) from None

    def names(self) -> tuple[str, ...]:
        """Return the names, in alphabetical order."""
        return tuple(self._voices)


def _read(weights: Weights, name: str) -> Voice:
    embedding = _array(weights.path(f"voices/{name}/embedding.npy"), (EMBEDDING_SIZE,))
    text, groups = "", tuple[TokenGroup, ...]()
    mel = np.zeros((0, MELS), dtype=np.float32)
    if f"voices/{name}/prompt.json" in weights.files:
        text, groups = _prompt(weights.path(f"voices/{name}/prompt.json"))
    if f"voices/{name}/prompt_mel.npy" in weights.files:
        mel = _array(weights.path(f"voices/{name}/prompt_mel.npy"), (-1, MELS))
    return Voice(name, embedding, text, groups, mel)


def _array(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return a finite float32 array; -1 in `shape` is any length."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise WeightsError(f"{path} is not an array: {error}") from None
    fits = array.ndim == len(shape) and all(
        wanted in {-1, size} for size, wanted in zip(array.shape, shape, strict=True)
    )
    if not fits or array.dtype != np.float32 or not np.isfinite(array).all():
        raise WeightsError(
            f"{path} must be finite float32 of shape {shape}, not {array.dtype} {array.shape}"
        )
    read: NDArray[np.float32] = array
    return read


def _prompt(path: Path) -> tuple[str, tuple[TokenGroup, ...]]:
    match read_object(path, WeightsError):
        case {"text": str(text), "groups": groups}:
            try:
                return text, groups_from_lists(groups)
            except InputError as error:
                raise WeightsError(f"{path}: {error}") from None
        case _:
            raise WeightsError(f"{path} must hold text and groups")
