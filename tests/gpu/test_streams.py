"""Streams that share a device: each sounds as it does alone, 8 and 32 of them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from step_audio.core.config import load_profile
from step_audio.core.types import Pcm
from step_audio.core.weights import open_weights
from tests.vocoder.test_batching import window as window_of
from tests.vocoder.test_stream import groups, speak, tiny_flow, voice
from vocoder.flow import FlowInput
from vocoder.flow_loading import load_flow
from vocoder.hift_stream import HiftStream
from vocoder.loading import load_hift
from vocoder.stream import FlowVocoder

LIMIT = 2e-3
"""Of log-mel, whose deviation is 1; TF32 and the order of sums, carried on by the solver."""


def moved(window: FlowInput, device: str) -> FlowInput:
    """Return a window on the device."""
    here = {one.name: getattr(window, one.name) for one in fields(window)}
    moving: dict[str, Any] = {k: v.to(device) for k, v in here.items() if isinstance(v, Tensor)}
    return replace(window, **moving)


@pytest.mark.parametrize("streams", [8, 32])
def test_windows_of_a_batch_come_out_as_alone(streams: int, device: str) -> None:
    flow = tiny_flow().to(device)
    windows = [moved(window_of(5 + 3 * n, n, prompt=8 * (n % 3)), device) for n in range(streams)]
    together = flow.generate_all(windows, 2)
    for mel, one in zip(together, windows, strict=True):
        torch.testing.assert_close(mel, flow.generate(one, 2), rtol=0, atol=LIMIT)


def nano_vocoder(device: str, max_batch: int) -> FlowVocoder:
    """Return nano's vocoder on the device."""
    folder = open_weights(load_profile("nano").weights, "").folder / "vocoder"
    flow = load_flow(folder / "flow.safetensors").to(device)
    hift = load_hift(folder / "hift.safetensors").to(device)
    return FlowVocoder(flow, lambda seed: HiftStream(hift, seed), max_batch=max_batch)


def test_eight_voices_at_once_sound_as_each_alone(device: str) -> None:
    said = [groups(6 + n, n) for n in range(8)]
    alone = nano_vocoder(device, max_batch=1)
    wanted = [np.concatenate(speak(alone.open(voice(), n), said[n])) for n in range(8)]
    shared, together = nano_vocoder(device, max_batch=8), threading.Barrier(8, timeout=60)

    def one(number: int) -> Pcm:
        stream = shared.open(voice(), number)
        together.wait()
        return np.concatenate(speak(stream, said[number]))

    with ThreadPoolExecutor(8) as pool:
        heard = list(pool.map(one, range(8)))
    for got, expected in zip(heard, wanted, strict=True):
        # The phase of the source sums the pitch: a difference grows with the length.
        rms = float(np.sqrt(np.mean((got - expected) ** 2) / np.mean(expected**2)))
        assert rms < 0.05
