"""Voices that a published model knows by name, made of the recordings that were published.

The recordings are fetched by `step_audio.published.speakers`; the arrays are made on the machine,
because they depend on its weights.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from step_audio.core.audio import read_audio
from step_audio.core.errors import InputError, WeightsError
from step_audio.core.types import Recording, Voice
from step_audio.voices.folder import write_voice
from step_audio.voices.making import VoiceMaker
from step_audio.voices.sample import prepare_sample

_SUFFIX: Final = "_prompt"


def make_named_voice(
    maker: VoiceMaker,
    name: str,
    recordings: Mapping[str, Path],
    words: Mapping[str, Any],
    output: Path,
) -> list[Path]:
    """Write a voice and its examples of rap and humming; return the files.

    Args:
        maker: of the weights.
        name: that the LM was trained on.
        recordings: style tag, "" for plain speech -> sound file `NAME_prompt.wav`.
        words: NAME of each file -> what is said in it, style tag included.
        output: folder of the voice; replaced where it is there.

    Raises:
        AudioError: a recording cannot be used. WeightsError: its words are missing.
        InputError: the folder cannot be written.
    """
    examples = {tag: _example(maker, name, path, words) for tag, path in recordings.items()}
    songs = {tag: example for tag, example in examples.items() if tag}
    voice = replace(examples[""], speaker=name, song_examples=songs)
    part = output.with_name(f".{output.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        write_voice(part, voice)
        shutil.rmtree(output, ignore_errors=True)
        part.rename(output)
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror or error}") from None
    return sorted(path for path in output.rglob("*") if path.is_file())


def _example(maker: VoiceMaker, name: str, path: Path, words: Mapping[str, Any]) -> Voice:
    text = words.get(path.stem.removesuffix(_SUFFIX))
    if not isinstance(text, str) or not text:
        raise WeightsError(
            f"nothing says what is spoken in {path.name}; fetch the recordings again"
        )
    pcm, rate_hz = read_audio(path)
    sample = prepare_sample(Recording(pcm[:, None], rate_hz))
    sound = sample.whole if maker.examples == "reference" else sample.pcm
    voice, _ = maker.make(name, text, sound, sample.rate_hz)
    return voice
