"""Voices from a weights folder: one sub-folder of `voices/` each, listed by the manifest.

    embedding.npy    speaker vector, (192,) float32
    prompt.json      optional: {"text": str, "groups": [[l, l, s, s, s], ...], "speaker": str};
                     the speaker only where the LM was trained on a name
    prompt_mel.npy   optional: mel of the prompt, (T, 80) float32, 22.05 kHz
    rap/ humming/    optional: the same three files of recordings in which the speaker does so

A name is only ever looked up among the names listed; it never becomes a path.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from step_audio.core.errors import InputError, VoiceNotFound, WeightsError
from step_audio.core.json_files import groups_from_lists, groups_to_lists, read_object
from step_audio.core.types import GROUP_MS, MEL_BANDS, SPEAKER_SIZE, TokenGroup, Voice, VoiceFacts
from step_audio.core.weights import Weights

SONG_FOLDERS: Final = {"RAP": "rap", "哼唱": "humming"}
"""Style tag -> folder of the example that goes with it."""


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
        self._voices = {name: _listed(weights, f"voices/{name}", name) for name in names}

    def get(self, name: str) -> Voice:
        """Return a voice. Raises VoiceNotFound, which lists those there are."""
        try:
            return self._voices[name]
        except KeyError:
            raise VoiceNotFound(name, self.names()) from None

    def names(self) -> tuple[str, ...]:
        """Return the names, in alphabetical order."""
        return tuple(self._voices)

    def facts(self, name: str) -> VoiceFacts:
        """Return what is known of a voice. Raises VoiceNotFound."""
        voice = self.get(name)
        prompt_s = len(voice.prompt_groups) * GROUP_MS / 1000
        return VoiceFacts(name, built_in=True, text=voice.prompt_text, prompt_s=prompt_s)


def _listed(weights: Weights, place: str, name: str) -> Voice:
    """Return the voice whose files the manifest lists below `place`."""
    voice = read_voice(
        weights.path(f"{place}/embedding.npy").parent,
        name,
        prompt=f"{place}/prompt.json" in weights.files,
        mel=f"{place}/prompt_mel.npy" in weights.files,
    )
    songs = {
        tag: _listed(weights, f"{place}/{inner}", name)
        for tag, inner in SONG_FOLDERS.items()
        if f"{place}/{inner}/embedding.npy" in weights.files
    }
    return replace(voice, song_examples=songs)


def read_voice(folder: Path, name: str, *, prompt: bool, mel: bool) -> Voice:
    """Return the voice in `folder`.

    Args:
        folder: holds the files above.
        name: of the voice; not used to find anything.
        prompt, mel: whether the optional files are there.

    Raises:
        WeightsError: a file is missing or not of the shape above.
    """
    text, groups, speaker = _prompt(folder / "prompt.json") if prompt else ("", (), "")
    prompt_mel = np.zeros((0, MEL_BANDS), dtype=np.float32)
    if mel:
        prompt_mel = _array(folder / "prompt_mel.npy", (-1, MEL_BANDS))
    embedding = _array(folder / "embedding.npy", (SPEAKER_SIZE,))
    return Voice(name, embedding, text, groups, prompt_mel, speaker)


def write_voice(folder: Path, voice: Voice) -> None:
    """Write what `read_voice` reads, prompt included, into an existing folder."""
    np.save(folder / "embedding.npy", voice.embedding.astype(np.float32))
    np.save(folder / "prompt_mel.npy", voice.prompt_mel.astype(np.float32))
    prompt: dict[str, object] = {
        "text": voice.prompt_text,
        "groups": groups_to_lists(voice.prompt_groups),
    }
    if voice.speaker:
        prompt["speaker"] = voice.speaker
    (folder / "prompt.json").write_text(json.dumps(prompt), encoding="utf-8")
    for tag, example in voice.song_examples.items():
        (folder / SONG_FOLDERS[tag]).mkdir(exist_ok=True)
        write_voice(folder / SONG_FOLDERS[tag], example)


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


def _prompt(path: Path) -> tuple[str, tuple[TokenGroup, ...], str]:
    """Return text, groups and the speaker's name, "" for none."""
    match read_object(path, WeightsError):
        case {"text": str(text), "groups": groups, **rest} if isinstance(
            rest.get("speaker", ""), str
        ):
            try:
                return text, groups_from_lists(groups), rest.get("speaker", "")
            except InputError as error:
                raise WeightsError(f"{path}: {error}") from None
        case _:
            raise WeightsError(f"{path} must hold text and groups")
