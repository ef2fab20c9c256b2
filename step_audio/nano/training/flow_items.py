"""Speech to flow items: codes of each utterance beside its mel.

The codes come from the trained tokenizer, as they will at serving; the mel is of the clean sound
at one loudness, so that answers come out equally loud whatever the voice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
import soxr
import torch
from numpy.typing import NDArray

from step_audio.core.types import SPEAKER_SIZE, Pcm, TokenGroup
from step_audio.data.spoken import to_codes
from step_audio.nano.training.flow_shards import (
    FlowItem,
    write_flow_shard,
)
from vocoder.grid import HOP_SAMPLES, SAMPLE_RATE_HZ, frames_until
from vocoder.mel import log_mel

Tokenize = Callable[[Pcm], Iterable[TokenGroup]]
"""16 kHz samples to groups; whole utterances at a time."""

RATE_HZ = 16_000
PEAK = 0.8


class FlowSpeech(Protocol):
    """One utterance of a corpus: who speaks, and the sound, (T,) int16 at 16 kHz."""

    @property
    def speaker(self) -> str: ...
    @property
    def pcm(self) -> NDArray[np.int16]: ...


def prepare(
    speech: Callable[[int], Iterable[FlowSpeech]], shards: int, out: Path, tokenize: Tokenize
) -> None:
    """Write flow shards; those that are there are kept and not spoken again.

    Args:
        speech: the utterances of a shard by its number.
        shards: how many to have.
        out: folder to write.
        tokenize: the trained tokenizer, offline or streamed.
    """
    for number in range(shards):
        path = out / f"{number:04d}.safetensors"
        if not path.exists():
            items = [make_item(u.pcm, u.speaker, tokenize) for u in speech(number)]
            write_flow_shard(path, [item for item in items if len(item.codes)])
            print(f"flow shard {number + 1} of {shards}: {len(items)} utterances", flush=True)


def make_item(pcm: NDArray[np.int16], speaker: str, tokenize: Tokenize) -> FlowItem:
    """Return codes and mel of one utterance (T,) at 16 kHz, the mel cut to the codes' length."""
    samples = pcm.astype(np.float32)
    samples *= np.float32(PEAK / max(float(np.abs(samples).max()), 1.0))
    codes = to_codes(tokenize(samples))
    return FlowItem(speaker, codes, mel_of_groups(samples, len(codes)))


def mel_of_groups(samples: Pcm, groups: int) -> NDArray[np.float16]:
    """Return the mel under the first `groups` groups of 16 kHz speech, (frames, 80)."""
    wav: Pcm = soxr.resample(samples, RATE_HZ, SAMPLE_RATE_HZ, quality="HQ")
    frames = frames_until(groups)
    # The tokenizer may pad its last group: silence is what it then heard.
    wav = np.pad(wav, (0, max(0, (frames + 4) * HOP_SAMPLES - len(wav))))
    mel: NDArray[np.float16] = log_mel(torch.from_numpy(wav)[None])[0, :, :frames].T.half().numpy()
    return mel


def speaker_vector(name: str) -> NDArray[np.float32]:
    """Return a fixed unit vector (192,) for a voice that has no measured one.

    nano ships no speaker encoder: its voices are a closed set, and nearly orthogonal random
    vectors tell them apart as well as measured ones would.
    """
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(SPEAKER_SIZE).astype(np.float32)
    unit: NDArray[np.float32] = vector / np.linalg.norm(vector)
    return unit
