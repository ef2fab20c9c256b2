"""Batches of machine-made speech for the tokenizers: features of the augmented sound, mel of the
clean sound, phones of the text."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torchaudio
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from step_audio.core.types import Pcm
from step_audio.data.augment import augment, warp
from step_audio.nano.corpus.corpus import CorpusUtterance, read_corpus
from step_audio.nano.domain import pronunciations
from tokenizer.features import log_mel_128, offline_lfr

SAMPLE_RATE_HZ = 16_000
MEL_HOP_SAMPLES = 320
MEL_BANDS = 80
BLANK = "_"


@dataclass(frozen=True, slots=True)
class SpeechBatch:
    """Padded tensors of B utterances.

    features (B, T, 560) at 16.7 Hz, log_mel (B, 128, 100 Hz), mel (B, 50 Hz, 80) of the clean
    sound, statistics (B, 160) its mean and deviation, phones concatenated; lengths in frames.
    """

    features: Tensor
    feature_lengths: Tensor
    log_mel: Tensor
    log_mel_lengths: Tensor
    mel: Tensor
    mel_lengths: Tensor
    statistics: Tensor
    phones: Tensor
    phone_lengths: Tensor

    def to(self, device: torch.device) -> SpeechBatch:
        """Return the batch on a device."""
        return SpeechBatch(*(getattr(self, f.name).to(device) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class _Item:
    features: Tensor
    log_mel: Tensor
    mel: Tensor
    phones: list[int]


class MelTarget:
    """Log-mel at 50 Hz, 80 bands to 8 kHz: what the codes together must be able to rebuild."""

    def __init__(self) -> None:
        self.window = torch.hann_window(640)
        self.bank = torchaudio.functional.melscale_fbanks(
            321, 0.0, 8000.0, MEL_BANDS, SAMPLE_RATE_HZ, norm="slaney", mel_scale="slaney"
        )

    def __call__(self, pcm: Tensor) -> Tensor:
        """(T,) -> (frames, 80)."""
        spectrum = torch.stft(pcm, 640, MEL_HOP_SAMPLES, window=self.window, return_complex=True)
        return torch.log((spectrum.abs().T @ self.bank).clamp(min=1e-5))


class SpeechBatches:
    """Endless, seeded batches of about `batch_seconds` of speech, alike in length."""

    def __init__(
        self, folder: Path, seed: int, batch_seconds: float = 48.0, max_seconds: float = 7.0
    ) -> None:
        self.lexicon = pronunciations()
        names = sorted({phone for ways in self.lexicon.values() for way in ways for phone in way})
        self.phone_names = (BLANK, *names)
        self.phone_index = {name: i for i, name in enumerate(self.phone_names)}
        self.utterances = [
            u
            for u in read_corpus(folder)
            if 0.3 < len(u.pcm) / SAMPLE_RATE_HZ < max_seconds
            and all(word in self.lexicon for word in u.words)
        ]
        self.batch_seconds = batch_seconds
        self.random = random.Random(seed)
        self.numpy = np.random.default_rng(seed)
        self.mel = MelTarget()
        self.shift = torch.zeros(560)
        self.scale = torch.ones(560)
        self._queue = self._batches()

    def set_cmvn(self, shift: list[float], scale: list[float]) -> None:
        """Normalise features as (x + shift) * scale from now on."""
        self.shift, self.scale = torch.tensor(shift), torch.tensor(scale)

    def next(self) -> SpeechBatch:
        """Return the next batch."""
        return next(self._queue)

    def item(self, utterance: CorpusUtterance) -> _Item:
        """Return one augmented utterance with its targets."""
        clean = _normalised(utterance.pcm, self.numpy)
        if self.random.random() < 0.6:
            clean = warp(clean, self.numpy)
        noisy = augment(clean, self.numpy, 0.8) if self.random.random() < 0.5 else clean
        clean = _same_length(clean, len(noisy))
        features = (offline_lfr(torch.from_numpy(noisy)) + self.shift) * self.scale
        if self.random.random() < 0.3:
            features = _mask_time(features, self.random)
        phones = [
            self.phone_index[p]
            for w in utterance.words
            for p in self.random.choice(self.lexicon[w])
        ]
        return _Item(
            features,
            log_mel_128(torch.from_numpy(noisy)),
            self.mel(torch.from_numpy(clean)),
            phones,
        )

    def _batches(self) -> Iterator[SpeechBatch]:
        while True:
            pool = self.random.sample(self.utterances, min(len(self.utterances), 300))
            pool.sort(key=lambda u: len(u.pcm) + self.random.random() * 8000)
            groups: list[list[CorpusUtterance]] = [[]]
            seconds = 0.0
            for utterance in pool:
                length = len(utterance.pcm) / SAMPLE_RATE_HZ
                if seconds + length > self.batch_seconds and groups[-1]:
                    groups.append([])
                    seconds = 0.0
                groups[-1].append(utterance)
                seconds += length
            self.random.shuffle(groups)
            for group in groups:
                items = [self.item(utterance) for utterance in group]
                usable = [i for i in items if len(i.phones) < 3 * len(i.features)]
                if usable:
                    yield _collate(usable)


def estimate_cmvn(batches: SpeechBatches, utterances: int) -> tuple[list[float], list[float]]:
    """Return shift (-mean) and scale (1 / deviation), 560 numbers each, over some utterances."""
    rows = torch.cat([batches.item(u).features for u in batches.utterances[:utterances]])
    shift, scale = -rows.mean(0), 1.0 / rows.std(0).clamp(min=1e-2)
    return shift.tolist(), scale.tolist()


def _normalised(pcm: NDArray[np.int16], rng: np.random.Generator) -> Pcm:
    samples = pcm.astype(np.float32) / 32768.0
    peak = float(np.abs(samples).max())
    return samples / max(peak, 1e-3) * np.float32(rng.uniform(0.25, 0.999))


def _same_length(pcm: Pcm, length: int) -> Pcm:
    return np.pad(pcm, (0, max(0, length - len(pcm))))[:length]


def _mask_time(features: Tensor, rng: random.Random) -> Tensor:
    masked = features.clone()
    width = rng.randint(1, 3)
    start = rng.randrange(max(1, len(features) - width))
    masked[start : start + width] = 0.0
    return masked


def _collate(items: list[_Item]) -> SpeechBatch:
    def padded(rows: list[Tensor], value: float) -> Tensor:
        longest = max(len(r) for r in rows)
        return torch.stack([F.pad(r, (0, 0, 0, longest - len(r)), value=value) for r in rows])

    def lengths(rows: list[Tensor]) -> Tensor:
        return torch.tensor([len(r) for r in rows])

    mels = [i.mel for i in items]
    spectra = [i.log_mel.T for i in items]
    return SpeechBatch(
        features=padded([i.features for i in items], 0.0),
        feature_lengths=lengths([i.features for i in items]),
        log_mel=padded(spectra, 0.0).transpose(1, 2),
        log_mel_lengths=lengths(spectra),
        mel=padded(mels, -11.5),
        mel_lengths=lengths(mels),
        statistics=torch.stack([torch.cat([m.mean(0), m.std(0)]) for m in mels]),
        phones=torch.tensor([p for i in items for p in i.phones]),
        phone_lengths=torch.tensor([len(i.phones) for i in items]),
    )
