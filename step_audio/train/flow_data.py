"""Machine speech to flow shards: codes of each utterance beside its mel.

The codes come from the trained tokenizer, as they will at serving; the mel is of the clean sound
at one loudness, so that answers come out equally loud whatever the voice.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
import soxr
import torch
from numpy.typing import NDArray

from step_audio.core.types import Pcm, TokenGroup
from step_audio.data.flow_shards import (
    EMBEDDING_SIZE,
    FlowItem,
    write_embeddings,
    write_flow_shard,
)
from step_audio.data.spoken import to_codes
from vocoder.grid import HOP_SAMPLES, SAMPLE_RATE_HZ, frames_until
from vocoder.mel import log_mel

Tokenize = Callable[[Pcm], Iterable[TokenGroup]]
"""16 kHz samples to groups; whole utterances at a time."""

RATE_HZ = 16_000
PEAK = 0.8
_log = logging.getLogger(__name__)


class Spoken(Protocol):
    """One utterance of a corpus: who speaks, and the sound, (T,) int16 at 16 kHz."""

    @property
    def speaker(self) -> str: ...
    @property
    def pcm(self) -> NDArray[np.int16]: ...


def prepare(
    spoken: Iterable[Spoken],
    out: Path,
    tokenize: Tokenize,
    *,
    embeddings: Mapping[str, NDArray[np.float32]] | None = None,
    per_shard: int = 500,
) -> int:
    """Write flow shards and speaker vectors; shards that are there are kept.

    Args:
        spoken: the corpus, in the same order whenever it is continued.
        out: folder to write.
        tokenize: the trained tokenizer, offline or streamed.
        embeddings: speaker vectors (192,) by name; a speaker without one gets `speaker_vector`.
        per_shard: utterances per shard.

    Returns:
        Number of utterances seen.
    """
    source, known = iter(spoken), embeddings or {}
    names: set[str] = set()
    total = 0
    for number, block in enumerate(_blocks(source, per_shard)):
        path = out / f"{number:04d}.safetensors"
        names.update(utterance.speaker for utterance in block)
        total += len(block)
        if not path.exists():
            items = [make_item(u.pcm, u.speaker, tokenize) for u in block]
            write_flow_shard(path, [item for item in items if len(item.codes)])
            _log.info("flow shard written: %d, %d utterances so far", number, total)
    vectors = {name: known[name] if name in known else speaker_vector(name) for name in names}
    write_embeddings(out, vectors)
    return total


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
    vector = np.random.default_rng(seed).standard_normal(EMBEDDING_SIZE).astype(np.float32)
    unit: NDArray[np.float32] = vector / np.linalg.norm(vector)
    return unit


def _blocks(source: Iterator[Spoken], size: int) -> Iterator[list[Spoken]]:
    while block := list(islice(source, size)):
        yield block
