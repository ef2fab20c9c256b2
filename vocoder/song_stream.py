"""A waveform stream that sings or raps: a phrase is held up to a pause, then planned as a whole."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from step_audio.core.types import Pcm
from vocoder.hift import HiftGenerator
from vocoder.hift_stream import HiftStream, PitchSum
from vocoder.song import MELODIES, QUIET_MEL, VOICED_HZ, Note, plan
from vocoder.time_warp import TimeWarp

_PAUSE_FRAMES = 14  # 160 ms of quiet end a phrase
_LEAST_FRAMES = 40  # of sound that a phrase has
_MOST_FRAMES = 1000  # 12 s: then it is cut where it stands


class SongStream:
    """A `WaveStream` that sings or raps; it does not depend on how the mel is cut.

    Args:
        generator: weights, shared between streams and not changed.
        seed: of start phases and noise, and of which melody is sung.
        kind: notes, or a beat and a flat pitch.

    Attributes:
        notes: as they were asked for so far.
    """

    def __init__(self, generator: HiftGenerator, seed: int, kind: Literal["sing", "rap"]) -> None:
        self._generator, self._kind = generator, kind
        self._melody = MELODIES[seed % len(MELODIES)]
        self._contour = np.zeros(0)
        self._wave = HiftStream(generator, seed, shape=self._on_note)
        self._held = torch.zeros(0, generator.config.in_channels)
        self._quiet = self._loud = self._seen = 0
        self._base_hz = 0.0
        self.notes: list[Note] = []

    def push(self, mel: Tensor, /, ahead: Tensor | None = None) -> list[Pcm]:
        """Take finished frames (T, 80); return the samples of phrases that are over."""
        self._held = torch.cat((self._held.to(mel), mel))
        out: list[Pcm] = []
        while (end := self._phrase_end()) is not None:
            out += self._sing(self._held[:end])
            self._held = self._held[end:]
            self._quiet = self._loud = self._seen = 0
        return out

    def flush(self) -> list[Pcm]:
        """Return the samples of all frames that were held back."""
        late = self._sing(self._held) if len(self._held) else []
        self._held = self._held[:0]
        return [*late, *self._wave.flush()]

    def _phrase_end(self) -> int | None:
        """Return how many of the held frames are a whole phrase."""
        quiet = (self._held[self._seen :].mean(dim=1) < QUIET_MEL).tolist()
        for silent in quiet:
            self._seen += 1
            self._quiet = self._quiet + 1 if silent else 0
            self._loud += not silent
            over = self._quiet >= _PAUSE_FRAMES and self._loud >= _LEAST_FRAMES
            if over or self._seen >= _MOST_FRAMES:
                return self._seen
        return None

    @torch.inference_mode()
    def _sing(self, mel: Tensor) -> list[Pcm]:
        least = max(0, 3 - len(mel))  # frames that the first convolution needs
        padded = torch.cat((mel, mel[-1:].expand(least, -1)))
        f0 = self._generator.f0_predictor(padded.T[None])[0, : len(mel)].cpu().numpy()
        voiced = f0[f0 > VOICED_HZ]
        if not self._base_hz and len(voiced):
            self._base_hz = float(np.median(voiced))
        planned = plan(
            self._kind,
            mel.cpu().numpy(),
            f0,
            base_hz=self._base_hz or 120.0,
            melody=self._melody,
            first_note=len(self.notes),
            first_frame=len(self._contour),
        )
        warp = TimeWarp()
        frames = [warp.push(mel, torch.from_numpy(planned.lengths))]
        if (rest := warp.flush()) is not None:
            frames.append(rest)
        out = torch.cat(frames)
        short = max(0, len(out) - len(planned.contour))
        contour = np.pad(planned.contour, (0, short), mode="edge")[: len(out)]
        self._contour = np.concatenate((self._contour, contour))
        self.notes += planned.notes
        return self._wave.push(out)

    def _on_note(self, f0: Tensor, first: int, heard: PitchSum, /) -> tuple[Tensor, PitchSum]:
        asked = torch.from_numpy(self._contour[first : first + f0.shape[1]]).to(f0)
        return torch.where(f0 > VOICED_HZ, asked[None], f0), heard
