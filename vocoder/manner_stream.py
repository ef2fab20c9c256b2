"""A waveform stream that speaks in a manner: mel in, sound of another pitch, pace and colour out.

What it does lies between the flow, whose mel says which words, and the generator, whose
excitation says how: the predicted pitch is moved and spread, the sines give way to noise, mel
frames are stretched in time and tilted. Songs have a stream of their own.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from step_audio.core.delivery import bent
from step_audio.core.types import Pcm
from vocoder.hift import HiftGenerator
from vocoder.hift_stream import HiftStream, PitchSum
from vocoder.manners import Manner
from vocoder.song import QUIET_MEL, VOICED_HZ
from vocoder.song_stream import SongStream
from vocoder.stream import WaveStream
from vocoder.time_warp import TimeWarp
from vocoder.whisper_stream import WhisperStream

_NEPER = math.log(10) / 20  # of log-mel, per dB


def open_manner(generator: HiftGenerator, seed: int, manner: Manner) -> WaveStream:
    """Return a fresh stream that speaks, sings or raps in a manner."""
    if manner.song:
        return SongStream(generator, seed, manner.song)
    return MannerStream(generator, seed, manner)


class MannerStream:
    """A `WaveStream` in a manner of speech; it does not depend on how the mel is cut.

    Args:
        generator: weights, shared between streams and not changed.
        seed: of start phases and noise.
        manner: without a song.
    """

    def __init__(self, generator: HiftGenerator, seed: int, manner: Manner) -> None:
        self._manner = manner
        self._warp = TimeWarp()
        self._colour = _colour(manner, generator.config.in_channels)
        self._wave: WaveStream
        if manner.whispered:
            self._wave = WhisperStream(seed)
        else:
            shape = PitchShape(manner.pitch, manner.span)
            self._wave = HiftStream(generator, seed, shape=shape, breath=manner.breath)
        self._volume = np.float32(10 ** (manner.level_db / 20))

    def push(self, mel: Tensor, /, ahead: Tensor | None = None) -> list[Pcm]:
        """Take finished frames (T, 80) and a guess at those after them; return samples."""
        out = self._warp.push(mel, self._lengths(mel))
        guess = None
        if ahead is not None and len(ahead):
            guess = self._coloured(self._warp.ahead(ahead, self._lengths(ahead)))
        return self._sound(self._wave.push(self._coloured(out), guess))

    def flush(self) -> list[Pcm]:
        """Return the samples of all frames that were held back."""
        rest = self._warp.flush()
        late = [] if rest is None else self._wave.push(self._coloured(rest))
        return self._sound([*late, *self._wave.flush()])

    def _lengths(self, mel: Tensor) -> Tensor:
        quiet = mel.mean(dim=1) < QUIET_MEL
        spoken = torch.full((len(mel),), 1 / self._manner.pace, dtype=torch.float64)
        return torch.where(quiet.cpu(), spoken * self._manner.pause, spoken).to(mel.device)

    def _coloured(self, mel: Tensor) -> Tensor:
        return mel + self._colour.to(mel)

    def _sound(self, pieces: list[Pcm]) -> list[Pcm]:
        return [bent(piece * self._volume) for piece in pieces]


class PitchShape:
    """Moves a pitch and spreads it about its own running mean."""

    def __init__(self, factor: float, span: float) -> None:
        self._factor, self._span = factor, span

    def __call__(self, f0: Tensor, first: int, heard: PitchSum, /) -> tuple[Tensor, PitchSum]:
        """Return the pitch in the manner and the sum that the next piece begins with.

        Args:
            f0: predicted, in Hz, (1, T).
            first: position of its first frame in the stream.
            heard: of the frames before.
        """
        voiced = f0 > VOICED_HZ
        logs = torch.where(voiced, f0.clamp(min=1.0).log(), 0.0).double()
        total = heard.total + logs.cumsum(dim=1)
        count = heard.count + voiced.double().cumsum(dim=1)
        mean = total / count.clamp(min=1.0)
        spread = (mean + self._span * (logs - mean)).exp() * self._factor
        shaped = torch.where(voiced, spread.to(f0.dtype), f0)
        if f0.shape[1]:
            heard = PitchSum(float(total[0, -1]), float(count[0, -1]))
        return shaped, heard


def _colour(manner: Manner, bands: int) -> Tensor:
    """Return what is added to every frame of log-mel, (D,)."""
    return torch.linspace(-0.5, 0.5, bands) * manner.tilt_db * _NEPER
