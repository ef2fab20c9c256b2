"""`semantic_tokenizer/` and `speaker_embedding/`: log-mel, fbank, and the two ONNX graphs."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from step_audio.voices.speaker_encoder import SpeakerEncoder
from tests.golden_checks.component import (
    Component,
    Errors,
    arrays,
    case_of,
    cases_with,
    differing,
    facts,
    gap,
)
from tokenizer.features import log_mel, whisper_bank
from tokenizer.semantic import SemanticTokenizer


@cache
def tokenizer(folder: Path) -> SemanticTokenizer:
    """Return the recorded graph."""
    return SemanticTokenizer(folder / "semantic_tokenizer" / "speech_tokenizer_v1.onnx")


@cache
def speaker_encoder(folder: Path) -> SpeakerEncoder:
    """Return the recorded graph."""
    return SpeakerEncoder(folder / "speaker_embedding" / "campplus.onnx")


def levelled(folder: Path, clip: str) -> NDArray[np.float32]:
    """Return a clip at 16 kHz with its peak at 0.999."""
    kept = arrays(folder / "token_packing" / "preprocess.safetensors")
    sound: NDArray[np.float32] = kept[f"{clip}.energy_norm"].numpy()
    return sound


def long_signal(samples: int) -> NDArray[np.float32]:
    """Return the signal that the reference's cases of more than 30 s were made of."""
    t = np.arange(samples) / 16000
    carrier = np.sin(2 * np.pi * (180 + 20 * np.sin(2 * np.pi * 0.7 * t)) * t)
    made: NDArray[np.float32] = (0.5 * carrier * np.sin(2 * np.pi * 0.31 * t)).astype(np.float32)
    return made


def _filters(folder: Path) -> Errors:
    kept = arrays(folder / "semantic_tokenizer" / "mel_filters_128.safetensors")
    yield "mel_filters", gap(whisper_bank(), kept["mel_filters"])


def _log_mel(folder: Path) -> Errors:
    kept = arrays(folder / "semantic_tokenizer" / "data.safetensors")
    for clip in cases_with(kept, "logmel"):
        yield clip, gap(log_mel(levelled(folder, clip)), kept[f"{clip}.logmel"])


def _codes(folder: Path) -> Errors:
    kept = arrays(folder / "semantic_tokenizer" / "data.safetensors")
    for clip in cases_with(kept, "tokens"):
        codes = tokenizer(folder).encode(levelled(folder, clip)).tolist()
        yield clip, differing(codes, kept[f"{clip}.tokens"].tolist())


def _short(folder: Path) -> Errors:
    kept = arrays(folder / "semantic_tokenizer" / "data.safetensors")
    edges = facts(folder / "semantic_tokenizer" / "edge_cases.json")
    for samples, want in edges["short"].items():
        pcm = kept["example.wav16k"][: int(samples)].numpy()
        yield f"{samples} samples", differing(tokenizer(folder).encode(pcm).tolist(), want["ids"])


def _long(folder: Path) -> Errors:
    edges = facts(folder / "semantic_tokenizer" / "edge_cases.json")
    for samples, want in edges["long"].items():
        codes = tokenizer(folder).encode(long_signal(int(samples))).tolist()
        shown = {
            "tokens": [len(codes)],
            "first5": codes[:5],
            "around_750": codes[745:755],
            "last5": codes[-5:],
        }
        wrong = sum(
            differing(shown[name], value if isinstance(value, list) else [value])
            for name, value in want.items()
            if name in shown
        )
        yield f"{samples} samples", wrong


def _speaker_features(folder: Path) -> Errors:
    kept = arrays(folder / "speaker_embedding" / "data.safetensors")
    for clip in cases_with(kept, "fbank_meannorm"):
        case = case_of(kept, clip)
        rows = speaker_encoder(folder).features(case["wav16k"].numpy())
        yield clip, gap(rows, case["fbank_meannorm"])


def _speaker(folder: Path) -> Errors:
    kept = arrays(folder / "speaker_embedding" / "data.safetensors")
    for clip in cases_with(kept, "embedding"):
        case = case_of(kept, clip)
        yield clip, gap(speaker_encoder(folder).embed(case["wav16k"].numpy()), case["embedding"])


COMPONENTS = (
    Component("semantic: whisper filters", 1e-6, _filters),
    Component("semantic: log-mel", 1e-4, _log_mel),
    Component("semantic: codes", 0, _codes),
    Component("semantic: codes of short sounds", 0, _short),
    Component("semantic: codes of more than 30 s", 0, _long),
    Component("speaker: features", 2e-3, _speaker_features),
    Component("speaker: embedding", 1e-4, _speaker),
)
