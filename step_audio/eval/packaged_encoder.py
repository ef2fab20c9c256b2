"""Who speaks, as a vector, by an encoder that comes as a package: Resemblyzer 0.1.4, data alone.

For weights without CAM++, such as nano's. The package's code is never run: it needs a compiled
voice detector and names of SciPy that are gone. Its file is read as plain tensors, by its hash.
What the package does before is left out: it takes silence out by that detector; our examples and
sentences have none to speak of.

Source: resemble-ai/Resemblyzer (Apache-2.0), after GE2E, arXiv:1710.10467.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from step_audio.core.errors import AudioError, WeightsError
from step_audio.core.types import Pcm
from vocoder.mel import MelConfig, mel_filterbank

NAME: Final = "Resemblyzer 0.1.4"
INSTALL: Final = "pip install --no-deps resemblyzer==0.1.4"
SHA256: Final = "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"
RATE_HZ: Final = 16_000
_MEL: Final = MelConfig(
    n_fft=400, num_mels=40, sampling_rate=RATE_HZ, hop_size=160, win_size=400, fmax=8000.0
)
_WINDOW: Final = 160
"""Frames that are looked at together: 1.6 s."""
_STEP: Final = 77
"""Frames from one window to the next: 1.3 windows a second."""
_COVERED: Final = 0.75
"""Share of the last window that must be sound, where there are several."""
_LEVEL: Final = 10 ** (-30 / 20)
"""Root mean square to which quieter sound is raised: -30 dBFS."""


def packaged_weights() -> Path | None:
    """Return the encoder's file in the installed package, None without it; runs no code of it."""
    found = importlib.util.find_spec("resemblyzer")
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder) / "pretrained.pt"
        if path.is_file():
            return path
    return None


class PackagedSpeakerEncoder:
    """Three layers of LSTM over a mel spectrogram. Shared and immutable.

    Args:
        path: `pretrained.pt` of Resemblyzer 0.1.4.

    Raises:
        WeightsError: another file.
    """

    def __init__(self, path: Path) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise WeightsError(f"cannot read {path}: {error.strerror}") from None
        if hashlib.sha256(content).hexdigest() != SHA256:
            raise WeightsError(f"{path} is not the encoder of {NAME}; {INSTALL}")
        kept: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        state: dict[str, Tensor] = kept["model_state"]
        self._lstm = nn.LSTM(_MEL.num_mels, 256, num_layers=3, batch_first=True)
        self._linear = nn.Linear(256, 256)
        for name, module in (("lstm.", self._lstm), ("linear.", self._linear)):
            own = {k.removeprefix(name): v for k, v in state.items() if k.startswith(name)}
            module.load_state_dict(own)

    def embed(self, pcm: Pcm) -> NDArray[np.float32]:
        """Return the speaker vector of a clip at 16 kHz, (256,) float32 of length 1.

        Raises:
            AudioError: not mono, not finite, silent, or shorter than 25 ms.
        """
        if pcm.ndim != 1 or len(pcm) < _MEL.win_size or not np.isfinite(pcm).all():
            raise AudioError(f"a speaker is told from 25 ms of mono sound, not from {pcm.shape}")
        level = float(np.sqrt(np.mean(np.square(pcm, dtype=np.float64))))
        if level == 0.0:
            raise AudioError("no speaker can be told from silence")
        starts, frames = _windows(len(pcm))
        sound = np.pad(pcm, (0, max(0, frames * _MEL.hop_size - len(pcm))))
        raised = torch.from_numpy((sound * max(1.0, _LEVEL / level)).astype(np.float32))
        with torch.inference_mode():
            mel = _spectrogram(raised)
            windows = torch.stack([mel[start : start + _WINDOW] for start in starts])
            _, (hidden, _) = self._lstm(windows)
            raw = torch.relu(self._linear(hidden[-1]))
            vector = (raw / raw.norm(dim=1, keepdim=True)).mean(dim=0)
            made: NDArray[np.float32] = (vector / vector.norm()).numpy()
        return made


def _windows(samples: int) -> tuple[list[int], int]:
    """Return the first frame of each window, and how many frames all windows need."""
    frames = math.ceil((samples + 1) / _MEL.hop_size)
    starts = list(range(0, max(1, frames - _WINDOW + _STEP + 1), _STEP))
    covered = (samples - starts[-1] * _MEL.hop_size) / (_WINDOW * _MEL.hop_size)
    if covered < _COVERED and len(starts) > 1:
        starts.pop()
    return starts, starts[-1] + _WINDOW


def _spectrogram(pcm: Tensor) -> Tensor:
    """Return power in mel bands, (frames, 40): not its logarithm."""
    spectrum = torch.stft(
        pcm,
        _MEL.n_fft,
        _MEL.hop_size,
        _MEL.win_size,
        window=torch.hann_window(_MEL.win_size),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    power = spectrum.real.square() + spectrum.imag.square()
    return (mel_filterbank(_MEL) @ power).T
