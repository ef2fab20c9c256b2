"""Mel chunks in, waveform chunks out, without seams.

Every output frame is decoded inside a window that holds its neighbours, so that cuts between
chunks cannot be heard. Pitch phase is carried in float64 and noise is a function of position, so
the excitation is the same however the mel arrives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from step_audio.core.errors import ShapeError, StepAudioError
from step_audio.core.types import Pcm
from vocoder.f0 import CONTEXT_FRAMES as PITCH_FRAMES
from vocoder.hift import HiftGenerator, context_frames
from vocoder.source import SourceNoise


@dataclass(frozen=True, slots=True)
class PitchSum:
    """Sum of the log-pitch of the voiced frames of a stream so far, and their number."""

    total: float = 0.0
    count: float = 0.0


class PitchChange(Protocol):
    """Another pitch in place of the predicted one; a function of its arguments alone."""

    def __call__(self, f0: Tensor, first: int, heard: PitchSum, /) -> tuple[Tensor, PitchSum]:
        """Return the pitch of frames, (1, T) in Hz, and the sum after them.

        Args:
            f0: predicted for the frames, (1, T).
            first: position of the first one in the stream.
            heard: of all frames before.
        """


class HiftStream:
    """One stream through a shared generator: a `Stage[Tensor, Pcm]`.

    With the default contexts the joined output equals one decoding of the whole mel to float
    rounding. Fewer frames of look-ahead answer sooner and are exact except near chunk ends.

    Args:
        generator: weights, shared between streams and not changed.
        seed: of start phases and noise.
        left_frames: mel frames before a chunk that are decoded again with it.
        right_frames: mel frames after a chunk that are decoded with it; the chunk waits for
            them and for the pitch's own look-ahead, `lookahead_frames` in all.
        shape: changes the predicted pitch; None leaves it.
        breath: share of the excitation that is noise everywhere, in [0, 1].
    """

    def __init__(
        self,
        generator: HiftGenerator,
        seed: int = 0,
        *,
        left_frames: int | None = None,
        right_frames: int | None = None,
        shape: PitchChange | None = None,
        breath: float = 0.0,
    ) -> None:
        exact = context_frames(generator.config)
        self._generator = generator
        self._left = exact if left_frames is None else left_frames
        self._right = exact if right_frames is None else right_frames
        self._hop = generator.config.hop_size
        self._randomness = SourceNoise(seed, generator.config.nb_harmonics + 1)
        device = next(generator.parameters()).device
        self._phase = self._randomness.phase().to(device)
        self._mel = torch.zeros(1, generator.config.in_channels, 0, device=device)
        self._source = torch.zeros(1, 1, 0, device=device)
        self._first = 0  # stream position of the first frame kept in _mel and _source
        self._sourced = 0  # frames that have an excitation
        self._emitted = 0  # frames whose samples have left
        self._cycles: Tensor | float = 0.0
        self._shape, self._breath = shape, breath
        self._heard = PitchSum()
        self._flushed = False

    @property
    def lookahead_frames(self) -> int:
        """Mel frames after a frame that must have arrived before its samples leave."""
        return self._right + PITCH_FRAMES

    def push(self, mel: Tensor, /, ahead: Tensor | None = None) -> list[Pcm]:
        """Take mel frames, (T, 80), T may be 0; return the samples that became final.

        Args:
            mel: the next frames.
            ahead: a guess at the frames after them, (A, 80), when the caller has one. It stands
                in for the look-ahead, so that every sample of `mel` leaves at once, and is then
                forgotten: the frames themselves come with the next push.

        Raises:
            ShapeError: not (T, 80).
            StepAudioError: after `flush`.
        """
        if self._flushed:
            raise StepAudioError("push after flush: open a new stream")
        self._append(mel)
        arrived = self._first + self._mel.shape[2]
        if ahead is not None and len(ahead):
            return self._guess(arrived, ahead)
        self._extend_source(arrived - PITCH_FRAMES)
        return self._decode(self._sourced - self._right)

    def _append(self, mel: Tensor) -> None:
        bands = self._mel.shape[1]
        if mel.ndim != 2 or mel.shape[1] != bands:
            raise ShapeError(f"mel has shape {tuple(mel.shape)}, not (T, {bands})")
        self._mel = torch.cat([self._mel, mel.T[None].to(self._mel)], dim=2)

    def _guess(self, arrived: int, ahead: Tensor) -> list[Pcm]:
        """Decode all frames up to `arrived` as if `ahead` had followed, then forget it."""
        self._append(ahead)
        self._extend_source(arrived)
        cycles, heard = self._cycles, self._heard
        self._extend_source(arrived + len(ahead))
        pcm = self._decode(arrived)
        held = arrived - self._first
        self._mel, self._source = self._mel[:, :, :held], self._source[:, :, : held * self._hop]
        self._sourced, self._cycles, self._heard = arrived, cycles, heard
        return pcm

    def flush(self) -> list[Pcm]:
        """Return the samples of all frames that are still held back; 256 a frame in all."""
        self._flushed = True
        self._extend_source(self._first + self._mel.shape[2])
        return self._decode(self._sourced)

    @torch.inference_mode()
    def _extend_source(self, until: int) -> None:
        """Compute the excitation of frames up to stream position `until`."""
        if until <= self._sourced:
            return
        begin = max(self._first, self._sourced - PITCH_FRAMES)
        f0 = self._generator.f0_predictor(self._mel[:, :, begin - self._first :])
        f0 = f0[:, self._sourced - begin : until - begin]
        if self._shape is not None:
            f0, self._heard = self._shape(f0, self._sourced, self._heard)
        source = self._generator.m_source
        noise = self._randomness.noise(self._sourced * self._hop, until * self._hop).to(f0.device)
        made = source(f0, self._phase, noise, self._cycles)
        if self._breath:
            unvoiced = source(torch.zeros_like(f0), self._phase, noise)
            made = torch.lerp(made, unvoiced, self._breath)
        # Whole cycles do not matter, and dropping them keeps the sum small for ever.
        self._cycles = source.cycles(f0, self._cycles)[:, -1:] % 1.0
        self._source = torch.cat([self._source, made], dim=2)
        self._sourced = until

    @torch.inference_mode()
    def _decode(self, until: int) -> list[Pcm]:
        """Return the samples of frames [emitted, until) and forget what is no longer needed."""
        if until <= self._emitted:
            return []
        begin = max(self._first, self._emitted - self._left)
        end = min(until + self._right, self._sourced)
        window = slice(begin - self._first, end - self._first)
        samples = slice(window.start * self._hop, window.stop * self._hop)
        wav = self._generator.wave(self._mel[:, :, window], self._source[:, :, samples])[0]
        pcm: Pcm = (
            wav[(self._emitted - begin) * self._hop : (until - begin) * self._hop].cpu().numpy()
        )
        self._emitted = until
        keep = max(self._first, until - max(self._left, PITCH_FRAMES))
        self._mel = self._mel[:, :, keep - self._first :]
        self._source = self._source[:, :, (keep - self._first) * self._hop :]
        self._first = keep
        return [pcm]
